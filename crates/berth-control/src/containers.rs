//! Container applications: which image and size the containers of a Durable Object class have.
//!
//! What a client sent is kept word for word: wrangler compares it with what it would send, and rolls
//! out when anything differs. What instances run with is another thing: it changes with a rollout.

use berth_config::{MAX_DISK_MB, MAX_MEMORY_MIB, MAX_VCPU, MIN_VCPU, Resources, instance_type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kind of record.
pub(crate) const KIND: &str = "container_application";
/// Rollouts that are remembered.
pub(crate) const ROLLOUTS_KEPT: usize = 50;
/// `max_instances` of an application that says nothing (wrangler's default).
const MAX_INSTANCES: u32 = 20;

/// A container application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// A UUID.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub modified: String,
    /// Counts rollouts from 1.
    pub version: u64,
    /// The Durable Object class whose containers these are.
    pub namespace_id: String,
    /// Unique; wrangler finds it by this.
    pub name: String,
    /// The request, word for word.
    pub sent: Map<String, Value>,
    /// What instances run with.
    pub live: Instance,
    /// Newest first.
    pub rollouts: Vec<Rollout>,
}

impl Application {
    /// Most instances at the same time.
    pub fn max_instances(&self) -> u32 {
        let sent = self.sent.get("max_instances").and_then(Value::as_u64);
        sent.map_or(MAX_INSTANCES, |most| {
            u32::try_from(most).unwrap_or(u32::MAX)
        })
    }
}

/// Image and size of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The image's name.
    pub image: String,
    /// Shares of a CPU.
    pub vcpu: f64,
    /// MiB.
    pub memory_mib: u64,
    /// MB (10^6 bytes).
    pub disk_mb: u64,
}

/// A change of what instances run with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// A UUID.
    pub id: String,
    /// When it was asked for, RFC 3339.
    pub created: String,
    /// For people.
    pub description: String,
    /// The application's version before.
    pub from_version: u64,
    /// And with it.
    pub to_version: u64,
    /// As sent.
    pub configuration: Map<String, Value>,
}

/// Why an application is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApplicationError {
    /// A field is missing or wrong.
    #[error("`{field}` {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No class of any Worker.
    #[error("there is no Durable Object namespace `{0}`")]
    NoNamespace(String),
    /// A class without SQLite.
    #[error("the Durable Object class `{0}` has no SQLite storage, which containers need")]
    NotSqlite(String),
    /// Another application has it.
    #[error("the Durable Object namespace has the container application `{0}` already")]
    Taken(String),
    /// Another application has the name.
    #[error("there is a container application `{0}` already")]
    NameTaken(String),
}

/// What a `configuration` says of image and size.
///
/// # Errors
/// A field that is missing or out of range.
pub(crate) fn instance(configuration: &Map<String, Value>) -> Result<Instance, ApplicationError> {
    let wrong = |field, problem: &str| ApplicationError::Field {
        field,
        problem: problem.to_owned(),
    };
    let image = configuration.get("image").and_then(Value::as_str);
    let image = image.filter(|image| !image.is_empty());
    let image = image.ok_or_else(|| wrong("configuration.image", "is missing"))?;
    let named = configuration.get("instance_type").and_then(Value::as_str);
    let base = named.unwrap_or("lite");
    let Resources {
        mut vcpu,
        mut memory_mib,
        mut disk_mb,
    } = instance_type(base).ok_or_else(|| ApplicationError::Field {
        field: "configuration.instance_type",
        problem: format!("`{base}` is not known"),
    })?;
    if let Some(own) = configuration.get("vcpu") {
        vcpu = own.as_f64().unwrap_or(0.0);
        if !(MIN_VCPU..=MAX_VCPU).contains(&vcpu) {
            let range = format!("must be {MIN_VCPU} to {MAX_VCPU}");
            return Err(wrong("configuration.vcpu", &range));
        }
    }
    let number = |value: &Value, field, most: u32| {
        let value = value
            .as_u64()
            .filter(|value| (1..=u64::from(most)).contains(value));
        value.ok_or_else(|| wrong(field, &format!("must be a whole number, at most {most}")))
    };
    if let Some(own) = configuration.get("memory_mib") {
        memory_mib = number(own, "configuration.memory_mib", MAX_MEMORY_MIB)?;
    }
    if let Some(own) = configuration
        .get("disk")
        .and_then(|disk| disk.get("size_mb"))
    {
        disk_mb = number(own, "configuration.disk.size_mb", MAX_DISK_MB)?;
    }
    Ok(Instance {
        image: image.to_owned(),
        vcpu,
        memory_mib,
        disk_mb,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(json: Value) -> Result<Instance, ApplicationError> {
        instance(json.as_object().unwrap())
    }

    #[test]
    fn sizes_are_named_or_given() {
        let lite = parse(json!({"image": "a"})).unwrap();
        assert_eq!(
            (lite.vcpu, lite.memory_mib, lite.disk_mb),
            (0.0625, 256, 2000)
        );
        let named = parse(json!({"image": "a", "instance_type": "standard-1"})).unwrap();
        assert_eq!((named.vcpu, named.memory_mib), (0.5, 4096));
        let own = json!({"image": "a", "vcpu": 1, "memory_mib": 512, "disk": {"size_mb": 100}});
        let own = parse(own).unwrap();
        assert_eq!((own.vcpu, own.memory_mib, own.disk_mb), (1.0, 512, 100));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, field) in [
            (json!({}), "configuration.image"),
            (json!({"image": ""}), "configuration.image"),
            (
                json!({"image": "a", "instance_type": "huge"}),
                "configuration.instance_type",
            ),
            (json!({"image": "a", "vcpu": 100}), "configuration.vcpu"),
            (json!({"image": "a", "vcpu": "1"}), "configuration.vcpu"),
            (
                json!({"image": "a", "memory_mib": 0}),
                "configuration.memory_mib",
            ),
            (
                json!({"image": "a", "disk": {"size_mb": 1.5}}),
                "configuration.disk.size_mb",
            ),
        ] {
            let error = parse(json.clone()).unwrap_err().to_string();
            assert!(error.contains(field), "{json}: {error}");
        }
    }
}
