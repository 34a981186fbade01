//! What wrangler uploads of a Worker: the metadata and the modules, checked.
//!
//! Source: `deploy-helpers/src/deploy/helpers/create-worker-upload-form.ts` of workers-sdk. What
//! Berth does not have is refused by name, never left out.

mod bindings;
mod error;
mod modules;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

pub use error::UploadError;

use crate::assets::NewAssets;
use crate::migrations::Migrations;
use crate::tail_consumers::TailConsumer;
use crate::worker::{Binding, BindingKind, ModuleKind};

/// Bytes of all modules together, as for paid accounts.
pub const MOST_BYTES: u64 = 64 << 20;

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
    /// Static assets that come with it.
    pub assets: Option<NewAssets>,
    /// Those of the version before stay.
    pub keep_assets: bool,
    /// As sent.
    pub containers: Vec<serde_json::Value>,
    /// As sent.
    pub annotations: BTreeMap<String, String>,
    /// As sent; it is the Worker's with the version that is live at once.
    pub observability: Option<serde_json::Value>,
    /// Who is told what it does; the Worker's with the version that is live at once.
    pub tail_consumers: Vec<TailConsumer>,
    /// Its containers are to change together with it.
    pub atomic: bool,
}

/// The metadata's form. What is not named here is not for us.
#[derive(Deserialize, JsonSchema)]
pub struct Metadata {
    main_module: Option<String>,
    body_part: Option<String>,
    #[serde(default)]
    bindings: Vec<serde_json::Map<String, serde_json::Value>>,
    compatibility_date: Option<String>,
    #[serde(default)]
    compatibility_flags: Vec<String>,
    migrations: Option<Migrations>,
    exports: Option<serde_json::Value>,
    assets: Option<NewAssets>,
    #[serde(default)]
    keep_assets: bool,
    #[serde(default)]
    containers: Vec<serde_json::Value>,
    #[serde(default)]
    keep_bindings: BTreeSet<String>,
    #[serde(default)]
    annotations: BTreeMap<String, Option<String>>,
    observability: Option<serde_json::Value>,
    tail_consumers: Option<Vec<TailConsumer>>,
    streaming_tail_consumers: Option<Vec<serde_json::Value>>,
    berth: Option<Own>,
}

/// What only Berth has. wrangler passes on what `unsafe.metadata.berth` of its configuration says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Own {
    rollout: Rollout,
}

/// How containers change with a new version.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Rollout {
    /// In steps, after the Worker.
    Gradual,
    /// All at once, at the same moment as the Worker.
    Atomic,
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
        let streaming = metadata.streaming_tail_consumers;
        if streaming.is_some_and(|consumers| !consumers.is_empty()) {
            return Err(UploadError::Unsupported("streaming_tail_consumers"));
        }
        let tail_consumers = metadata.tail_consumers.unwrap_or_default();
        tail_consumers.iter().try_for_each(TailConsumer::check)?;
        let modules = modules::modules(parts)?;
        match &metadata.main_module {
            Some(main) if modules.iter().any(|module| module.name == *main) => {}
            Some(main) => return Err(UploadError::NoMain(main.clone())),
            None if metadata.assets.is_some() && modules.is_empty() => {}
            None => return Err(UploadError::NothingToRun),
        }
        let compatibility_date = metadata
            .compatibility_date
            .unwrap_or_else(|| NO_DATE.to_owned());
        if !is_date(&compatibility_date) {
            return Err(UploadError::Date(compatibility_date));
        }
        let mut upload = Self {
            main_module: metadata.main_module,
            modules,
            bindings: Vec::new(),
            secrets: BTreeMap::new(),
            inherited: Vec::new(),
            keep: metadata.keep_bindings,
            compatibility_date,
            compatibility_flags: metadata.compatibility_flags,
            migrations: metadata.migrations,
            assets: metadata.assets,
            keep_assets: metadata.keep_assets,
            containers: metadata.containers,
            annotations: metadata
                .annotations
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            observability: metadata.observability.filter(|value| !value.is_null()),
            tail_consumers,
            atomic: metadata
                .berth
                .is_some_and(|own| own.rollout == Rollout::Atomic),
        };
        upload.take_bindings(metadata.bindings)?;
        upload.check_assets()?;
        Ok(upload)
    }

    /// What of an upload with assets needs a Worker, or needs assets.
    fn check_assets(&self) -> Result<(), UploadError> {
        let files = self.assets.is_some() || self.keep_assets;
        let is_assets = |binding: &&Binding| matches!(binding.kind, BindingKind::Assets {});
        if let Some(binding) = self.bindings.iter().find(is_assets)
            && !files
        {
            let text = format!(
                "the binding `{}` is for assets, and there are none",
                binding.name
            );
            return Err(UploadError::Bindings(text));
        }
        if self.main_module.is_some() {
            return Ok(());
        }
        let objects = self.migrations.is_some() || !self.containers.is_empty();
        let first = self.assets.as_ref().and_then(NewAssets::worker_first);
        if !self.bindings.is_empty() || objects || first.is_some() {
            return Err(UploadError::OnlyAssets);
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

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests;
