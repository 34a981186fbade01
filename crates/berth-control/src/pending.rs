//! A version that goes live together with what its containers run with: `rollout: "atomic"`.
//!
//! wrangler uploads the Worker first and changes its container applications afterwards. What it sends is
//! kept here, beside what is live, until the client is done; then all of it is live in one write
//! ([`Control::go_live`](crate::Control::go_live)). A client that dies in between leaves it here, where it
//! changes nothing, until something else is deployed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::containers::Application;
use crate::migrations::Classes;
use crate::tail_consumers::TailConsumer;
use crate::worker::{Version, Worker};

/// What waits to be live.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// One of the Worker's versions.
    pub version_id: String,
    /// When it was uploaded, RFC 3339.
    pub created: String,
    /// The token's name.
    pub author: String,
    /// `workers/message` and the like.
    pub annotations: BTreeMap<String, String>,
    /// The Worker's classes after its migrations.
    pub classes: Classes,
    /// The last of those.
    pub migration_tag: Option<String>,
    /// Keys of the classes that they give up.
    pub discarded: Vec<String>,
    /// `observability` of the upload.
    pub observability: Option<Value>,
    /// `tail_consumers` of the upload.
    #[serde(default)]
    pub tail_consumers: Vec<TailConsumer>,
    /// `target_configuration` of the rollouts that were asked for, by namespace.
    #[serde(default)]
    pub configurations: BTreeMap<String, Map<String, Value>>,
    /// Container applications that are new.
    #[serde(default)]
    pub made: Vec<Application>,
}

impl Pending {
    /// The images that its containers are to run with.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let configured = self.configurations.values();
        let configured = configured.filter_map(|one| one.get("image")?.as_str());
        configured.chain(self.made.iter().flat_map(Application::images))
    }

    /// Whether a class is one of the version's.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        let mut classes = self.classes.values();
        classes.any(|class| class.namespace_id == namespace)
    }
}

impl Worker {
    /// The classes that a version has: those that wait with it, or the Worker's.
    pub fn classes_of(&self, version: &Version) -> &Classes {
        match &self.pending {
            Some(pending) if pending.version_id == version.id => &pending.classes,
            _ => &self.classes,
        }
    }

    /// Every class, those that wait to be made included.
    pub fn all_classes(&self) -> Classes {
        let mut all = self
            .pending
            .as_ref()
            .map(|pending| pending.classes.clone())
            .unwrap_or_default();
        all.extend(self.classes.clone());
        all
    }
}
