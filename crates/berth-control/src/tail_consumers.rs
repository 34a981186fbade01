//! Workers that are told what another Worker does: its `tail_consumers`.
//!
//! They belong to a Worker and to none of its versions, as on Cloudflare, and are kept in
//! [`Worker::settings`] in the API's own form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::upload::UploadError;
use crate::worker::Worker;

/// The setting.
pub(crate) const KEY: &str = "tail_consumers";

/// A Worker whose `tail()` handler is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TailConsumer {
    /// Its name.
    pub service: String,
    /// A Worker has one environment here, `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Dispatch namespaces: there are none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl TailConsumer {
    /// Refuses what does not exist here.
    pub(crate) fn check(&self) -> Result<(), UploadError> {
        let environment = self.environment.as_deref();
        if environment.is_some_and(|environment| environment != "production") {
            let text = "is an environment of a Worker, which there are none of";
            return Err(UploadError::TailConsumer(self.service.clone(), text));
        }
        if self.namespace.is_some() {
            let text = "is in a dispatch namespace, which there are none of";
            return Err(UploadError::TailConsumer(self.service.clone(), text));
        }
        Ok(())
    }
}

/// What `script-settings` say of it, if they do; an empty list is none at all.
pub(crate) fn of_settings(
    settings: &Map<String, Value>,
) -> Result<Option<Vec<TailConsumer>>, UploadError> {
    let Some(value) = settings.get(KEY) else {
        return Ok(None);
    };
    let read = serde_json::from_value::<Option<Vec<TailConsumer>>>(value.clone());
    let consumers = read.map_err(|error| UploadError::Metadata(format!("`{KEY}`: {error}")))?;
    let consumers = consumers.unwrap_or_default();
    consumers.iter().try_for_each(TailConsumer::check)?;
    Ok(Some(consumers))
}

impl Worker {
    /// Names of the Workers that are told what it does.
    pub fn tail_consumers(&self) -> Vec<String> {
        let consumers = of_settings(&self.settings).ok().flatten();
        let consumers = consumers.unwrap_or_default().into_iter();
        consumers.map(|consumer| consumer.service).collect()
    }

    /// Sets them.
    pub(crate) fn set_tail_consumers(&mut self, consumers: &[TailConsumer]) {
        let value = serde_json::to_value(consumers).unwrap_or_default();
        match consumers {
            [] => self.settings.remove(KEY),
            _ => self.settings.insert(KEY.to_owned(), value),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Option<Vec<TailConsumer>>, String> {
        let settings = Map::from_iter([(KEY.to_owned(), value)]);
        of_settings(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn what_does_not_exist_here_is_refused() {
        let one = read(json!([{"service": "b", "environment": "production"}]));
        assert_eq!(one.unwrap().unwrap()[0].service, "b");
        assert_eq!(read(json!([])).unwrap(), Some(Vec::new()));
        assert_eq!(read(json!(null)).unwrap(), Some(Vec::new()));
        let staging = read(json!([{"service": "b", "environment": "staging"}]));
        assert!(staging.unwrap_err().contains("`b`"));
        let namespace = read(json!([{"service": "b", "namespace": "n"}]));
        assert!(namespace.unwrap_err().contains("dispatch namespace"));
        assert!(read(json!("b")).unwrap_err().contains("tail_consumers"));
        assert_eq!(of_settings(&Map::new()).unwrap(), None);
    }
}
