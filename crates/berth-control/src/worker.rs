//! A Worker as it is recorded: its versions, which of them is live, its Durable Object classes and
//! what else belongs to the Worker and not to a version.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use berth_store::Sealed;
use serde::{Deserialize, Serialize};

use crate::assets::Assets;
use crate::containers::Application;
use crate::migrations::Classes;
use crate::pending::Pending;

/// The kind of record.
pub(crate) const KIND: &str = "worker";
/// Versions that are kept unless somebody says otherwise.
pub const VERSIONS_KEPT: usize = 100;

/// A Worker. All of it is one record: what changes together is written together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// 32 hexadecimal digits; another Worker of the same name later has another.
    pub id: String,
    /// Its name; the record's key, too.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub modified: String,
    /// The last migration that was applied.
    pub migration_tag: Option<String>,
    /// Its Durable Object classes.
    pub classes: Classes,
    /// Oldest first. The number of the next one is greater than all before it.
    pub versions: Vec<Version>,
    /// Number of the version that was made last.
    pub last_number: u64,
    /// Newest first.
    pub deployments: Vec<Deployment>,
    /// Whether it answers at `<name>.<base domain>`.
    pub subdomain: Subdomain,
    /// When it is woken: cron expressions.
    pub crons: Vec<String>,
    /// What it answers besides its own host: patterns that no other Worker has.
    pub routes: Vec<Route>,
    /// Hosts that are its own and no other Worker's.
    pub domains: Vec<Domain>,
    /// What wrangler sets beside versions (`script-settings`): tags, observability and so on.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Keys of classes whose objects are given up; whoever runs the Worker deletes them and says so.
    #[serde(default)]
    pub discarded: Vec<String>,
    /// A version that waits for its containers, to be live together with them.
    #[serde(default)]
    pub pending: Option<Box<Pending>>,
}

impl Worker {
    /// Sets `observability`: that of an upload which is live at once; one that says nothing ends it.
    pub(crate) fn observe(&mut self, observability: Option<serde_json::Value>) {
        const KEY: &str = "observability";
        match observability {
            Some(value) => self.settings.insert(KEY.to_owned(), value),
            None => self.settings.remove(KEY),
        };
    }
}

/// `subdomain` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subdomain {
    /// It answers there.
    pub enabled: bool,
    /// Its versions do, too.
    pub previews_enabled: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// 32 hexadecimal digits.
    pub id: String,
    /// As it was written; it can be parsed.
    pub pattern: String,
}

/// A custom domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Lower-case.
    pub hostname: String,
    /// Whether the Worker answers there.
    pub enabled: bool,
}

/// Code and bindings, as they were uploaded. Never changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// A UUID in lower case, whose first group is no decimal number that fits a port: wrangler makes it
    /// an image's tag, and takes `name:123` for a host and a port.
    pub id: String,
    /// Counts a Worker's versions from 1.
    pub number: u64,
    /// When it was uploaded, RFC 3339.
    pub created: String,
    /// Who uploaded it: the token's name.
    pub author: String,
    /// `workers/message` and the like.
    pub annotations: BTreeMap<String, String>,
    /// The module that is run; `None`: assets only.
    pub main_module: Option<String>,
    /// All modules.
    pub modules: Vec<Module>,
    /// Bindings apart from secrets, in the order of the upload.
    pub bindings: Vec<Binding>,
    /// Values of its secrets.
    pub secrets: BTreeMap<String, Sealed>,
    /// `YYYY-MM-DD`.
    pub compatibility_date: String,
    /// As written.
    pub compatibility_flags: Vec<String>,
    /// `containers` of the metadata, as uploaded.
    pub containers: Vec<serde_json::Value>,
    /// Its static assets.
    #[serde(default)]
    pub assets: Option<Assets>,
    /// Changes with the modules and the assets.
    pub etag: String,
    /// Its containers change together with it.
    #[serde(default)]
    pub atomic: bool,
}

/// One module of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// By which others import it.
    pub name: String,
    /// What importing it gives.
    pub kind: ModuleKind,
    /// Of its content.
    pub digest: String,
    /// Bytes of its content.
    pub size: u64,
}

/// Kinds of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleKind {
    /// An ES module.
    EsModule,
    /// A CommonJS module.
    CommonJs,
    /// WebAssembly.
    Wasm,
    /// Text.
    Text,
    /// Bytes.
    Data,
    /// Source map of the module of the same name without `.map`; it is not loaded.
    SourceMap,
}

/// One binding of `env`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// In `env`.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: BindingKind,
}

/// What a binding is, in the API's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BindingKind {
    /// A string.
    PlainText {
        /// Its value.
        text: String,
    },
    /// A value.
    Json {
        /// It.
        json: serde_json::Value,
    },
    /// Durable Objects of this Worker.
    DurableObjectNamespace {
        /// The class.
        class_name: String,
    },
    /// What version runs.
    VersionMetadata {},
    /// An R2 bucket of the account.
    R2Bucket {
        /// Its name.
        bucket_name: String,
    },
    /// A KV namespace of the account.
    KvNamespace {
        /// Its id.
        namespace_id: String,
    },
    /// A D1 database of the account.
    D1 {
        /// Its id.
        id: String,
    },
    /// A queue of the account, to send to.
    Queue {
        /// Its name.
        queue_name: String,
        /// Seconds before a message is delivered, unless it says otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery_delay: Option<u32>,
    },
    /// A Workflow of this Worker.
    Workflow {
        /// Its name.
        workflow_name: String,
        /// The class.
        class_name: String,
        /// The Worker that has the class, if it was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script_name: Option<String>,
    },
    /// A Worker of the account.
    Service {
        /// Its name.
        service: String,
        /// The class that is called instead of the default export.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entrypoint: Option<String>,
        /// `ctx.props` there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        props: Option<serde_json::Value>,
    },
    /// A secret of a store of the account.
    SecretsStoreSecret {
        /// The store's id.
        store_id: String,
        /// The secret's name.
        secret_name: String,
    },
    /// Its static assets.
    Assets {},
}

impl BindingKind {
    /// The API's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::PlainText { .. } => "plain_text",
            Self::Json { .. } => "json",
            Self::DurableObjectNamespace { .. } => "durable_object_namespace",
            Self::VersionMetadata {} => "version_metadata",
            Self::R2Bucket { .. } => "r2_bucket",
            Self::KvNamespace { .. } => "kv_namespace",
            Self::D1 { .. } => "d1",
            Self::Queue { .. } => "queue",
            Self::Workflow { .. } => "workflow",
            Self::Service { .. } => "service",
            Self::SecretsStoreSecret { .. } => "secrets_store_secret",
            Self::Assets {} => "assets",
        }
    }
}

/// Which version was made live when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployment {
    /// A UUID.
    pub id: String,
    /// The version that has all of the traffic.
    pub version_id: String,
    /// When, RFC 3339.
    pub created: String,
    /// The token's name.
    pub author: String,
    /// `workers/message` and the like.
    pub annotations: BTreeMap<String, String>,
    /// Container configurations that it brings back, by namespace.
    #[serde(default)]
    pub configurations: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Container applications that it makes, and which are not there yet.
    #[serde(default)]
    pub made: Vec<Application>,
    /// The containers change at the same moment as the Worker.
    #[serde(default)]
    pub atomic: bool,
    /// The version that is live again if the new containers fail.
    #[serde(default)]
    pub back_to: Option<String>,
}

impl Worker {
    pub(crate) fn new(name: &str) -> Self {
        let now = crate::clock::now();
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            name: name.to_owned(),
            created: now.clone(),
            modified: now,
            migration_tag: None,
            classes: Classes::new(),
            versions: Vec::new(),
            last_number: 0,
            deployments: Vec::new(),
            subdomain: Subdomain {
                enabled: false,
                previews_enabled: false,
            },
            crons: Vec::new(),
            routes: Vec::new(),
            domains: Vec::new(),
            settings: serde_json::Map::new(),
            discarded: Vec::new(),
            pending: None,
        }
    }

    /// The version of this id.
    pub fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// The version that is live.
    pub fn live(&self) -> Option<&Version> {
        self.version(&self.deployments.first()?.version_id)
    }

    /// The version that was made last.
    pub fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Forgets the deployments and versions that are not to be kept.
    pub(crate) fn forget(&mut self, retention: &Retention) {
        self.deployments.truncate(retention.versions.max(1));
        let named: HashSet<&str> = self
            .deployments
            .iter()
            .map(|deployment| deployment.version_id.as_str())
            .collect();
        let surplus = self.versions.len().saturating_sub(retention.versions);
        let live = self.deployments.first();
        let live = live.map(|deployment| deployment.version_id.as_str());
        let latest = self.versions.last().map(|version| version.id.as_str());
        let pending = self.pending.as_ref();
        let pending = pending.map(|pending| pending.version_id.as_str());
        let is_kept = |index: usize, version: &Version| {
            let id = version.id.as_str();
            if [live, latest, pending].contains(&Some(id)) {
                return true;
            }
            let recent = index >= surplus || named.contains(id);
            recent && !retention.is_over(self.last_used(version))
        };
        let numbered = self.versions.iter().enumerate();
        let kept: HashSet<String> = numbered
            .filter(|(index, version)| is_kept(*index, version))
            .map(|(_, version)| version.id.clone())
            .collect();
        self.versions.retain(|version| kept.contains(&version.id));
        self.deployments
            .retain(|deployment| kept.contains(&deployment.version_id));
    }

    /// When a version was last live, or else made.
    fn last_used<'a>(&'a self, version: &'a Version) -> &'a str {
        let mut replaced = self.deployments.windows(2);
        let replaced = replaced.find(|two| two[1].version_id == version.id);
        replaced.map_or(&version.created, |two| &two[0].created)
    }
}

/// Which versions are kept besides the live and the latest one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many, and those of as many deployments.
    pub versions: usize,
    /// None that was live, or made, longer ago; `None`: any age.
    pub max_age: Option<Duration>,
}

impl Retention {
    fn is_over(&self, last_used: &str) -> bool {
        self.max_age
            .is_some_and(|max| crate::clock::age(last_used).is_none_or(|age| age > max))
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            versions: VERSIONS_KEPT,
            max_age: None,
        }
    }
}

impl Version {
    /// The images that objects of a class may start with, by the names that their code uses (`images` of
    /// `containers` in the metadata).
    pub fn images(&self, class: &str) -> BTreeMap<String, String> {
        let of_class = |one: &&serde_json::Value| one["class_name"] == class;
        let containers = self.containers.iter().find(of_class);
        let images = containers.and_then(|one| one.get("images")?.as_object());
        let images = images.into_iter().flatten();
        images
            .filter_map(|(name, image)| Some((name.clone(), image.as_str()?.to_owned())))
            .collect()
    }
}

/// An id for a version; see [`Version::id`].
pub(crate) fn version_id() -> String {
    loop {
        let id = uuid::Uuid::new_v4().hyphenated().to_string();
        if !id.as_bytes()[..8].iter().all(u8::is_ascii_digit) {
            return id;
        }
    }
}

/// Whether a Worker may have this name (wrangler's own rule; it is a host name's label, too).
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |char: char| {
        char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_')
    };
    (1..=63).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for name in ["a", "my-worker", "my_worker1", &"x".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "é",
            "..",
            &"x".repeat(64),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn bindings_are_written_as_the_api_has_them() {
        let json = serde_json::json!({"name": "COUNTER", "type": "durable_object_namespace", "class_name": "Counter"});
        let binding: Binding = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&binding).unwrap(), json);
        let json = serde_json::json!({"name": "V", "type": "version_metadata"});
        let binding: Binding = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&binding).unwrap(), json);
    }
}
