//! The bindings of an upload. Each type is understood here, or refused by name.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Upload, UploadError};
use crate::worker::Binding;

/// Bindings of a Worker.
const MOST: usize = 1000;

/// A binding as it was sent.
type Sent = Map<String, Value>;

impl Upload {
    /// Sorts the bindings into what is recorded as it is, secrets, and what is inherited.
    ///
    /// # Errors
    /// The first that makes no sense, or whose type Berth does not have.
    pub(super) fn take_bindings(&mut self, bindings: Vec<Sent>) -> Result<(), UploadError> {
        if bindings.len() > MOST {
            let count = bindings.len();
            let text = format!("there are {count} bindings, {MOST} are allowed");
            return Err(UploadError::Bindings(text));
        }
        let mut names = BTreeSet::new();
        for binding in bindings {
            let name = word(&binding, "name").filter(|name| !name.is_empty());
            let name =
                name.ok_or_else(|| UploadError::Bindings("a binding has no name".to_owned()))?;
            if !names.insert(name.to_owned()) {
                let text = format!("there are two bindings `{name}`");
                return Err(UploadError::Bindings(text));
            }
            let name = name.to_owned();
            self.take(&name, binding)?;
        }
        Ok(())
    }

    fn take(&mut self, name: &str, binding: Sent) -> Result<(), UploadError> {
        match word(&binding, "type").unwrap_or("none") {
            "inherit" => self.inherited.push(name.to_owned()),
            "secret_text" => {
                let text = word(&binding, "text").ok_or_else(|| {
                    UploadError::Bindings(format!("the secret `{name}` has no text"))
                })?;
                self.secrets.insert(name.to_owned(), text.to_owned());
            }
            "durable_object_namespace" if foreign(&binding) => {
                let text = format!(
                    "the binding `{name}` is for a Durable Object of another Worker, which is not supported"
                );
                return Err(UploadError::Bindings(text));
            }
            "service" if elsewhere(&binding) => {
                let text = format!(
                    "the binding `{name}` is for an environment of a Worker, which there are none of"
                );
                return Err(UploadError::Bindings(text));
            }
            "plain_text"
            | "assets"
            | "json"
            | "durable_object_namespace"
            | "version_metadata"
            | "kv_namespace"
            | "d1"
            | "r2_bucket"
            | "queue"
            | "workflow"
            | "service"
            | "secrets_store_secret" => {
                self.bindings.push(recorded(name, binding)?);
            }
            kind => {
                return Err(UploadError::BindingKind {
                    name: name.to_owned(),
                    kind: kind.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn word<'a>(binding: &'a Sent, key: &str) -> Option<&'a str> {
    binding.get(key).and_then(Value::as_str)
}

/// Whether it is for something of another Worker.
fn foreign(binding: &Sent) -> bool {
    word(binding, "script_name").is_some() || word(binding, "environment").is_some()
}

/// Whether it is for a Worker's environment other than the one that every Worker has.
fn elsewhere(binding: &Sent) -> bool {
    word(binding, "environment").is_some_and(|environment| environment != "production")
}

/// A binding that is recorded in the API's own form.
fn recorded(name: &str, binding: Sent) -> Result<Binding, UploadError> {
    serde_json::from_value(Value::Object(binding))
        .map_err(|error| UploadError::Bindings(format!("the binding `{name}`: {error}")))
}
