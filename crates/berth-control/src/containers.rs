//! Container applications: which image and size the containers of a Durable Object class have.
//!
//! What a client sent is kept word for word: wrangler compares it with what it would send, and rolls
//! out when anything differs. What instances run with is another thing: it changes with a rollout.
//!
//! Which image a version of the Worker ran with is remembered here, so that going back to it brings the
//! image back, too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use berth_config::{InstanceTypes, MAX_DISK_MB, MAX_MEMORY_MIB, MAX_VCPU, MIN_VCPU, Resources};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::request::checked;
pub use crate::rollout::Rollout;

mod request;

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
    /// What instances run with, unless a rollout that is under way says otherwise.
    pub live: Instance,
    /// The version that brought it; 0 in records of old, which have no rollout under way.
    #[serde(default)]
    pub live_version: u64,
    /// Newest first.
    pub rollouts: Vec<Rollout>,
    /// `configuration` by the Worker's version that ran with it.
    #[serde(default)]
    pub by_version: BTreeMap<String, Map<String, Value>>,
    /// The last deployment that brought a `configuration` back, and has been obeyed.
    #[serde(default)]
    pub obeyed: Option<String>,
}

/// Who decides on image and size of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The application, for all.
    Application,
    /// The Durable Object, at each start: `scheduling_policy: "durable_object"`.
    Object,
}

impl Application {
    /// Who decides on image and size of an instance.
    pub fn policy(&self) -> Policy {
        policy(&self.sent)
    }

    /// The rollout that is under way.
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollouts.first().filter(|rollout| rollout.is_active())
    }

    /// What the instance of an object runs with when it starts now, and which version brought that.
    pub fn wanted(&self, object: &str) -> (&Instance, u64) {
        match self.rollout() {
            Some(rollout) if rollout.has(object) => match &rollout.target {
                Some(target) => (target, rollout.to_version),
                None => (&self.live, self.live_version()),
            },
            _ => (&self.live, self.live_version()),
        }
    }

    /// The version that instances run with unless a rollout says otherwise.
    pub fn live_version(&self) -> u64 {
        match self.live_version {
            0 => self.version,
            version => version,
        }
    }

    /// Seconds that an instance may run at least before a rollout ends it.
    pub fn grace_seconds(&self) -> u64 {
        let sent = self.sent.get("rollout_active_grace_period");
        sent.and_then(Value::as_u64).unwrap_or(0)
    }

    /// Every image that an instance may need: now, and after going back to a version that is kept.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let target = self.rollout().and_then(|rollout| rollout.target.as_ref());
        let kept = self.by_version.values();
        let kept = kept.filter_map(|configuration| configuration.get("image")?.as_str());
        std::iter::once(self.live.image.as_str())
            .chain(target.map(|target| target.image.as_str()))
            .chain(kept)
            .filter(|image| !image.is_empty())
    }

    /// The rollout has reached everything, or is given up: what instances run with is what it says.
    pub(crate) fn settle(&mut self) {
        let Some(rollout) = self.rollouts.first() else {
            return;
        };
        match rollout.status {
            crate::rollout::Status::Completed => {
                if let Some(target) = &rollout.target {
                    self.live = target.clone();
                    self.live_version = rollout.to_version;
                }
            }
            crate::rollout::Status::Reverted => {
                let former = rollout.former.clone();
                self.sent.insert("configuration".to_owned(), former.into());
            }
            _ => {}
        }
    }

    /// The rollout that has just begun reaches everything; it is done when its instances have been seen to be well.
    pub(crate) fn begin_together(&mut self) {
        if let Some(rollout) = self.rollouts.first_mut() {
            rollout.begin_together();
        }
    }

    /// The rollout that has just begun reaches everything.
    pub(crate) fn complete_at_once(&mut self) {
        if let Some(rollout) = self.rollouts.first_mut() {
            rollout.complete();
        }
        self.settle();
    }

    /// Most instances at the same time.
    pub fn max_instances(&self) -> u32 {
        if self.policy() == Policy::Object {
            return u32::MAX;
        }
        let sent = self.sent.get("max_instances").and_then(Value::as_u64);
        sent.map_or(MAX_INSTANCES, |most| {
            u32::try_from(most).unwrap_or(u32::MAX)
        })
    }
}

/// Who may log in to an application's containers by SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// `ssh.enabled`: nobody may otherwise.
    pub enabled: bool,
    /// `authorized_keys`, in OpenSSH's format.
    pub keys: Vec<String>,
    /// `trusted_user_ca_keys`, likewise.
    pub authorities: Vec<String>,
}

impl Application {
    /// Who may log in. SSH is enabled unless the configuration says otherwise, as on Cloudflare.
    pub fn ssh(&self) -> Ssh {
        let configuration = self.sent.get("configuration");
        let field = |name: &str| configuration.and_then(|configuration| configuration.get(name));
        let lines = |name: &str| {
            let keys = field(name).and_then(Value::as_array).into_iter().flatten();
            let lines = keys.filter_map(|key| key.get("public_key")?.as_str());
            lines.map(str::to_owned).collect()
        };
        let enabled = field("wrangler_ssh").and_then(|ssh| ssh.get("enabled"));
        Ssh {
            enabled: enabled.and_then(Value::as_bool).unwrap_or(true),
            keys: lines("authorized_keys"),
            authorities: lines("trusted_user_ca_keys"),
        }
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

/// Why an application is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApplicationError {
    /// A field is missing or wrong.
    #[error("`{field}` {problem}")]
    Field {
        /// Which.
        field: Cow<'static, str>,
        /// What is wrong with it.
        problem: String,
    },
    /// Its objects decide themselves.
    #[error(
        "the container application `{0}` has no rollouts: its objects choose their images when they start"
    )]
    NoRollouts(String),
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

/// Who decides, by a request.
pub(crate) fn policy(sent: &Map<String, Value>) -> Policy {
    match sent.get("scheduling_policy").and_then(Value::as_str) {
        Some("durable_object") => Policy::Object,
        _ => Policy::Application,
    }
}

/// The size of an instance whose object says nothing.
pub(crate) fn unsized_instance(types: &InstanceTypes) -> Instance {
    let lite = types.get("lite");
    let (vcpu, memory_mib, disk_mb) = lite.map_or((MIN_VCPU, 256, 2000), |lite| {
        (lite.vcpu, lite.memory_mib, lite.disk_mb)
    });
    Instance {
        image: String::new(),
        vcpu,
        memory_mib,
        disk_mb,
    }
}

/// What an object asks for with `instance` of `ctx.container.start()`: the name of an instance type, or
/// `{vcpu, memoryMib, diskMb}`, what is left out being that of `lite`. `None`: neither.
pub fn asked(instance: &Value, types: &InstanceTypes) -> Option<Instance> {
    let mut found = unsized_instance(types);
    if let Some(name) = instance.as_str() {
        let named = types.get(name)?;
        (found.vcpu, found.memory_mib, found.disk_mb) =
            (named.vcpu, named.memory_mib, named.disk_mb);
        return Some(found);
    }
    let fields = instance.as_object()?;
    if let Some(vcpu) = fields.get("vcpu") {
        let range = MIN_VCPU..=MAX_VCPU;
        found.vcpu = vcpu.as_f64().filter(|vcpu| range.contains(vcpu))?;
    }
    let whole = |name: &str, most: u32| match fields.get(name) {
        None => Some(None),
        Some(value) => {
            let range = 1..=u64::from(most);
            Some(Some(value.as_u64().filter(|value| range.contains(value))?))
        }
    };
    if let Some(memory) = whole("memoryMib", MAX_MEMORY_MIB)? {
        found.memory_mib = memory;
    }
    if let Some(disk) = whole("diskMb", MAX_DISK_MB)? {
        found.disk_mb = disk;
    }
    Some(found)
}

/// What a `configuration` says of image and size.
///
/// # Errors
/// A field that is missing or out of range.
pub(crate) fn instance(
    configuration: &Map<String, Value>,
    types: &InstanceTypes,
) -> Result<Instance, ApplicationError> {
    let wrong = |field: &'static str, problem: &str| ApplicationError::Field {
        field: field.into(),
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
    } = types.get(base).ok_or_else(|| {
        let known: Vec<&str> = types.iter().map(|(name, _)| name).collect();
        ApplicationError::Field {
            field: "configuration.instance_type".into(),
            problem: format!(
                "names `{base}`, which this server does not have: it has {}",
                known.join(", ")
            ),
        }
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
        instance(json.as_object().unwrap(), &InstanceTypes::default())
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
    fn objects_ask_for_a_name_or_for_numbers() {
        let asked = |instance: &Value| asked(instance, &InstanceTypes::default());
        let standard = asked(&json!("standard-1")).unwrap();
        assert_eq!((standard.vcpu, standard.memory_mib), (0.5, 4096));
        let own = asked(&json!({"vcpu": 1, "memoryMib": 512})).unwrap();
        assert_eq!((own.vcpu, own.memory_mib, own.disk_mb), (1.0, 512, 2000));
        for wrong in [
            json!("huge"),
            json!(3),
            json!({"vcpu": 100}),
            json!({"diskMb": 1.5}),
        ] {
            assert_eq!(asked(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_server_has_sizes_of_its_own() {
        let mut types = InstanceTypes::default();
        let size = Resources {
            vcpu: 16.0,
            memory_mib: 65_536,
            disk_mb: 100,
        };
        types.set("big", size);
        types.set("lite", Resources { vcpu: 0.5, ..size });
        let big = asked(&json!("big"), &types).unwrap();
        assert_eq!((big.vcpu, big.memory_mib, big.disk_mb), (16.0, 65_536, 100));
        let unnamed = json!({"image": "a"});
        let unnamed = instance(unnamed.as_object().unwrap(), &types).unwrap();
        assert_eq!(unnamed.vcpu, 0.5, "what says nothing is lite");
        let unknown = json!({"image": "a", "instance_type": "huge"});
        let error = instance(unknown.as_object().unwrap(), &types).unwrap_err();
        assert!(error.to_string().contains("big"), "{error}");
        let names: Vec<&str> = types.iter().map(|(name, _)| name).collect();
        assert!(
            !names.contains(&"dev"),
            "old names are not offered: {names:?}"
        );
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
