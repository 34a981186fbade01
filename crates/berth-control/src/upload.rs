//! What wrangler uploads of a Worker: the metadata and the modules, checked.
//!
//! Source: `deploy-helpers/src/deploy/helpers/create-worker-upload-form.ts` of workers-sdk. What
//! Berth does not have is refused by name, never left out.

use std::collections::{BTreeMap, BTreeSet};

use berth_error::Hint;
use serde::Deserialize;

use crate::migrations::Migrations;
use crate::worker::{Binding, BindingKind, ModuleKind};

/// Bytes of all modules together, as for paid accounts.
pub const MOST_BYTES: u64 = 64 << 20;
/// Bindings of a Worker.
const MOST_BINDINGS: usize = 1000;

/// A module as it was sent.
#[derive(Clone, Debug)]
pub struct Part {
    /// The part's name, which is the module's.
    pub name: String,
    /// The part's `Content-Type`.
    pub content_type: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// A module whose kind is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewModule {
    /// By which others import it.
    pub name: String,
    /// What importing it gives.
    pub kind: ModuleKind,
    /// The content.
    pub bytes: Vec<u8>,
}

/// An upload that makes sense in itself.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The module that is run.
    pub main_module: Option<String>,
    /// All modules.
    pub modules: Vec<NewModule>,
    /// Bindings apart from secrets and inherited ones.
    pub bindings: Vec<Binding>,
    /// Secrets that are set anew.
    pub secrets: BTreeMap<String, String>,
    /// Names of bindings that are what they were in the version before.
    pub inherited: Vec<String>,
    /// Types of bindings that stay though the upload does not name them.
    pub keep: BTreeSet<String>,
    /// `YYYY-MM-DD`.
    pub compatibility_date: String,
    /// As written.
    pub compatibility_flags: Vec<String>,
    /// Of Durable Objects.
    pub migrations: Option<Migrations>,
    /// As sent.
    pub containers: Vec<serde_json::Value>,
    /// As sent.
    pub annotations: BTreeMap<String, String>,
}

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is not JSON, or not of the right form.
    #[error("the part `metadata` cannot be understood: {0}")]
    Metadata(String),
    /// The main module is not there.
    #[error("there is no module `{0}`, which the metadata call the main module")]
    NoMain(String),
    /// Neither a main module nor assets.
    #[error("the metadata name no main module")]
    NothingToRun,
    /// A Worker of the old syntax.
    #[error("Workers in service worker syntax are not supported")]
    ServiceWorker,
    /// A module of a kind that is not loaded.
    #[error("the module `{name}` has the type `{kind}`, which is not supported")]
    ModuleKind {
        /// The module.
        name: String,
        /// Its `Content-Type`.
        kind: String,
    },
    /// Two modules of one name.
    #[error("there are two modules `{0}`")]
    Twice(String),
    /// Too much of everything.
    #[error("the modules have {bytes} bytes, {most} are allowed")]
    TooLarge {
        /// Of all modules.
        bytes: u64,
        /// At most.
        most: u64,
    },
    /// A binding that Berth does not have.
    #[error("the binding `{name}` has the type `{kind}`, which is not supported")]
    BindingKind {
        /// The binding.
        name: String,
        /// Its type.
        kind: String,
    },
    /// Two bindings of one name, one without a name, or too many.
    #[error("{0}")]
    Bindings(String),
    /// An inherited binding that was not there before.
    #[error("inherit binding '{0}' is invalid: the version before has no such binding")]
    Inherit(String),
    /// Part of the upload that Berth does not do.
    #[error("`{0}` is not supported")]
    Unsupported(&'static str),
    /// No date, or not one.
    #[error("the compatibility date `{0}` is not of the form YYYY-MM-DD")]
    Date(String),
}

impl Hint for UploadError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::ServiceWorker => {
                Some("write it as a module: `export default { fetch() { … } }`".to_owned())
            }
            Self::BindingKind { name, .. } => {
                Some(format!("take `{name}` out of the configuration"))
            }
            Self::Inherit(name) => Some(format!("set `{name}` in the configuration")),
            _ => None,
        }
    }
}

/// The metadata's form. What is not named here is not for us.
#[derive(Deserialize)]
struct Metadata {
    main_module: Option<String>,
    body_part: Option<String>,
    #[serde(default)]
    bindings: Vec<serde_json::Map<String, serde_json::Value>>,
    compatibility_date: Option<String>,
    #[serde(default)]
    compatibility_flags: Vec<String>,
    migrations: Option<Migrations>,
    exports: Option<serde_json::Value>,
    assets: Option<serde_json::Value>,
    #[serde(default)]
    containers: Vec<serde_json::Value>,
    #[serde(default)]
    keep_bindings: BTreeSet<String>,
    #[serde(default)]
    annotations: BTreeMap<String, Option<String>>,
}

/// The date of a Worker that names none.
const NO_DATE: &str = "2021-11-02";

impl Upload {
    /// Understands an upload.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(metadata: &[u8], parts: Vec<Part>) -> Result<Self, UploadError> {
        let metadata: Metadata = serde_json::from_slice(metadata)
            .map_err(|error| UploadError::Metadata(error.to_string()))?;
        if metadata.body_part.is_some() {
            return Err(UploadError::ServiceWorker);
        }
        if metadata.exports.is_some_and(|exports| !exports.is_null()) {
            return Err(UploadError::Unsupported("exports"));
        }
        if metadata.assets.is_some_and(|assets| !assets.is_null()) {
            return Err(UploadError::Unsupported("assets"));
        }
        let modules = modules(parts)?;
        let main_module = metadata.main_module.ok_or(UploadError::NothingToRun)?;
        let is_main = |module: &&NewModule| module.name == main_module;
        if !modules.iter().any(|module| is_main(&module)) {
            return Err(UploadError::NoMain(main_module));
        }
        let compatibility_date = metadata
            .compatibility_date
            .unwrap_or_else(|| NO_DATE.to_owned());
        if !is_date(&compatibility_date) {
            return Err(UploadError::Date(compatibility_date));
        }
        let mut upload = Self {
            main_module: Some(main_module),
            modules,
            bindings: Vec::new(),
            secrets: BTreeMap::new(),
            inherited: Vec::new(),
            keep: metadata.keep_bindings,
            compatibility_date,
            compatibility_flags: metadata.compatibility_flags,
            migrations: metadata.migrations,
            containers: metadata.containers,
            annotations: metadata
                .annotations
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        };
        upload.take_bindings(metadata.bindings)?;
        Ok(upload)
    }

    fn take_bindings(
        &mut self,
        bindings: Vec<serde_json::Map<String, serde_json::Value>>,
    ) -> Result<(), UploadError> {
        if bindings.len() > MOST_BINDINGS {
            let text = format!(
                "there are {} bindings, {MOST_BINDINGS} are allowed",
                bindings.len()
            );
            return Err(UploadError::Bindings(text));
        }
        let mut names = BTreeSet::new();
        for binding in bindings {
            let word = |key: &str| binding.get(key).and_then(serde_json::Value::as_str);
            let name = word("name").filter(|name| !name.is_empty());
            let name =
                name.ok_or_else(|| UploadError::Bindings("a binding has no name".to_owned()))?;
            let kind = word("type").unwrap_or("none");
            if !names.insert(name.to_owned()) {
                return Err(UploadError::Bindings(format!(
                    "there are two bindings `{name}`"
                )));
            }
            let foreign = word("script_name").is_some() || word("environment").is_some();
            let unsupported = || UploadError::BindingKind {
                name: name.to_owned(),
                kind: kind.to_owned(),
            };
            match kind {
                "inherit" => self.inherited.push(name.to_owned()),
                "secret_text" => {
                    let text = word("text").ok_or_else(|| {
                        UploadError::Bindings(format!("the secret `{name}` has no text"))
                    })?;
                    self.secrets.insert(name.to_owned(), text.to_owned());
                }
                "durable_object_namespace" if foreign => {
                    let text = format!(
                        "the binding `{name}` is for a Durable Object of another Worker, which is not supported"
                    );
                    return Err(UploadError::Bindings(text));
                }
                "plain_text" | "json" | "durable_object_namespace" | "version_metadata" => {
                    let value = serde_json::Value::Object(binding.clone());
                    let parsed: Binding = serde_json::from_value(value).map_err(|error| {
                        UploadError::Bindings(format!("the binding `{name}`: {error}"))
                    })?;
                    self.bindings.push(parsed);
                }
                _ => return Err(unsupported()),
            }
        }
        Ok(())
    }

    /// The binding that is for a Durable Object class, of each.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&str, &str)> {
        self.bindings
            .iter()
            .filter_map(|binding| match &binding.kind {
                BindingKind::DurableObjectNamespace { class_name } => {
                    Some((binding.name.as_str(), class_name.as_str()))
                }
                _ => None,
            })
    }
}

fn modules(parts: Vec<Part>) -> Result<Vec<NewModule>, UploadError> {
    let bytes = parts.iter().map(|part| part.bytes.len() as u64).sum();
    if bytes > MOST_BYTES {
        let most = MOST_BYTES;
        return Err(UploadError::TooLarge { bytes, most });
    }
    let mut names = BTreeSet::new();
    parts
        .into_iter()
        .map(|part| {
            if !names.insert(part.name.clone()) {
                return Err(UploadError::Twice(part.name));
            }
            let kind = part.content_type.split(';').next().unwrap_or_default();
            let kind = match kind.trim() {
                "application/javascript+module" => ModuleKind::EsModule,
                "application/javascript" => ModuleKind::CommonJs,
                "application/wasm" => ModuleKind::Wasm,
                "text/plain" => ModuleKind::Text,
                "application/octet-stream" => ModuleKind::Data,
                "application/source-map" => ModuleKind::SourceMap,
                _ => {
                    return Err(UploadError::ModuleKind {
                        name: part.name,
                        kind: part.content_type,
                    });
                }
            };
            Ok(NewModule {
                name: part.name,
                kind,
                bytes: part.bytes,
            })
        })
        .collect()
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(name: &str, content_type: &str) -> Part {
        Part {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes: b"export default {}".to_vec(),
        }
    }

    fn parse(metadata: &serde_json::Value) -> Result<Upload, UploadError> {
        let parts = vec![
            part("index.js", "application/javascript+module"),
            part("index.js.map", "application/source-map"),
        ];
        Upload::parse(metadata.to_string().as_bytes(), parts)
    }

    #[test]
    fn what_wrangler_sends_is_understood() {
        let upload = parse(&json!({
            "main_module": "index.js",
            "compatibility_date": "2026-01-02",
            "compatibility_flags": ["nodejs_compat"],
            "bindings": [
                {"name": "TEXT", "type": "plain_text", "text": "x"},
                {"name": "JSON", "type": "json", "json": {"a": [1]}},
                {"name": "KEY", "type": "secret_text", "text": "hunter2"},
                {"name": "OBJ", "type": "durable_object_namespace", "class_name": "Obj"},
                {"name": "OLD", "type": "inherit"},
                {"name": "VERSION", "type": "version_metadata"},
            ],
            "migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["Obj"]}]},
            "containers": [{"name": "app", "class_name": "Obj"}],
            "keep_bindings": ["secret_text", "secret_key"],
            "annotations": {"workers/message": "hello"},
            "logpush": false, "placement": {"mode": "smart"}, "observability": {"enabled": true},
        }))
        .unwrap();
        assert_eq!(upload.bindings.len(), 4);
        assert_eq!(upload.secrets["KEY"], "hunter2");
        assert_eq!(upload.inherited, ["OLD"]);
        assert_eq!(upload.objects().collect::<Vec<_>>(), [("OBJ", "Obj")]);
        assert_eq!(upload.modules[1].kind, ModuleKind::SourceMap);
        assert_eq!(upload.annotations["workers/message"], "hello");
        assert_eq!(upload.migrations.unwrap().new_tag.as_deref(), Some("v1"));
    }

    #[test]
    fn what_cannot_run_is_refused_by_name() {
        for (metadata, expected) in [
            (json!([]), "`metadata`"),
            (json!({}), "no main module"),
            (json!({"body_part": "index.js"}), "service worker"),
            (json!({"main_module": "other.js"}), "`other.js`"),
            (
                json!({"main_module": "index.js", "compatibility_date": "today"}),
                "`today`",
            ),
            (
                json!({"main_module": "index.js", "bindings": [{"name": "AI", "type": "ai"}]}),
                "`AI` has the type `ai`",
            ),
            (
                json!({"main_module": "index.js", "bindings": [{"type": "json", "json": 1}]}),
                "no name",
            ),
            (
                json!({"main_module": "index.js", "bindings": [
                    {"name": "A", "type": "json", "json": 1}, {"name": "A", "type": "inherit"}]}),
                "two bindings `A`",
            ),
            (
                json!({"main_module": "index.js", "bindings": [
                    {"name": "A", "type": "durable_object_namespace", "class_name": "C", "script_name": "w"}]}),
                "of another Worker",
            ),
            (
                json!({"main_module": "index.js", "bindings": [{"name": "A", "type": "plain_text"}]}),
                "`A`",
            ),
            (
                json!({"main_module": "index.js", "migrations": {"steps": [{"new": []}]}}),
                "unknown field",
            ),
        ] {
            let error = parse(&metadata).unwrap_err().to_string();
            assert!(error.contains(expected), "{metadata}: {error}");
        }
        let metadata = json!({"main_module": "index.js"}).to_string();
        let twice = vec![
            part("index.js", "application/javascript+module"),
            part("index.js", "text/plain"),
        ];
        let error = Upload::parse(metadata.as_bytes(), twice).unwrap_err();
        assert!(matches!(error, UploadError::Twice(_)));
        let python = vec![part("index.js", "text/x-python")];
        let error = Upload::parse(metadata.as_bytes(), python).unwrap_err();
        assert!(error.to_string().contains("text/x-python"), "{error}");
    }
}
