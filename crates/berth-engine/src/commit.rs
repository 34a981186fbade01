//! What a container has written becomes a layer, and with the image below and the container's
//! configuration an image.
//!
//! A running container is frozen while its writable layer is copied, and runs again while the copy
//! is packed. Left out: what is mounted (volumes are not in the writable layer), the empty files on
//! which the engine's own are mounted, and the certificate authority of this container's sidecar.

use std::path::Path;
use std::sync::Arc;

use berth_image::{Hold, Image, ImageError, ImageStore, Layer, Root};
use berth_jail::{JailError, Sandbox};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::visit::Turn;
use crate::{CommitSpec, ContainerSpec, EngineError, trust};

/// Where the engine mounts files of its own.
const ENGINE_FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// What a container was made of, as far as an image of it needs to know.
#[derive(Debug)]
pub(crate) struct Origin {
    record: OriginRecord,
    image: Image,
    /// So that the image is not collected, and others are told why.
    _in_use: Hold,
}

/// The same without the image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OriginRecord {
    name: String,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    env: Vec<String>,
    working_dir: Option<String>,
    user: Option<String>,
    labels: Vec<(String, String)>,
}

impl OriginRecord {
    /// `env` is the effective one.
    pub(crate) fn new(spec: &ContainerSpec, image: &Image, env: &[String]) -> Self {
        // The engine's, unless somebody asked for it.
        let host_name = format!("HOSTNAME={}", spec.hostname);
        let asked = |entry: &String| image.env().contains(entry) || spec.env.contains(entry);
        Self {
            name: spec.name.clone(),
            entrypoint: spec.entrypoint.clone(),
            command: spec.command.clone(),
            env: env
                .iter()
                .filter(|entry| **entry != host_name || asked(entry))
                .cloned()
                .collect(),
            working_dir: spec.working_dir.clone(),
            user: spec.user.clone(),
            labels: spec.labels.clone().into_iter().collect(),
        }
    }
}

impl Origin {
    pub(crate) fn new(record: OriginRecord, image: Image, in_use: Hold) -> Self {
        Self {
            record,
            image,
            _in_use: in_use,
        }
    }

    /// The configuration of an image of the container.
    fn configuration(&self, base: Value, spec: &CommitSpec, empty_layer: bool) -> Value {
        let mut image = base;
        let mut config = match image["config"].take() {
            Value::Object(config) => config,
            _ => serde_json::Map::new(),
        };
        config.insert("Env".to_owned(), json!(self.record.env));
        if let Some(entrypoint) = &self.record.entrypoint {
            // An entrypoint of the container's own also drops the image's command.
            config.insert("Entrypoint".to_owned(), json!(entrypoint));
            config.insert("Cmd".to_owned(), json!(self.record.command));
        } else if let Some(command) = self.record.command.as_ref().filter(|list| !list.is_empty()) {
            config.insert("Cmd".to_owned(), json!(command));
        }
        for (key, value) in [
            ("WorkingDir", &self.record.working_dir),
            ("User", &self.record.user),
        ] {
            if let Some(value) = value {
                config.insert(key.to_owned(), json!(value));
            }
        }
        let mut labels: IndexMap<String, Value> = match config.remove("Labels") {
            Some(Value::Object(labels)) => labels.into_iter().collect(),
            _ => IndexMap::new(),
        };
        labels.extend(
            self.record
                .labels
                .iter()
                .map(|(key, value)| (key.clone(), json!(value))),
        );
        if !labels.is_empty() {
            config.insert("Labels".to_owned(), json!(labels));
        }
        image["config"] = Value::Object(config);
        image["created"] = json!(spec.created);
        image["parent"] = json!(self.image.id.to_string());
        if !spec.author.is_empty() {
            image["author"] = json!(spec.author);
        }
        let mut history = match image["history"].take() {
            Value::Array(history) => history,
            _ => Vec::new(),
        };
        history.push(json!({
            "created": spec.created,
            "created_by": "commit",
            "comment": spec.comment,
            "empty_layer": empty_layer,
        }));
        image["history"] = Value::Array(history);
        image
    }

    fn failed(&self) -> impl Fn(ImageError) -> EngineError + '_ {
        |source| EngineError::Commit {
            name: self.record.name.clone(),
            source,
        }
    }
}

/// Commits. The turn keeps others away from the writable layer until it is copied.
pub(crate) async fn commit(
    images: ImageStore,
    turn: Turn,
    origin: Arc<Origin>,
    spec: CommitSpec,
) -> Result<Image, EngineError> {
    let frozen = match &turn.visit.sandbox {
        Some(sandbox) if spec.pause => freeze(sandbox, &origin.record.name).await?,
        _ => None,
    };
    let (store, source) = (images.clone(), Arc::clone(&origin));
    let copied = tokio::task::spawn_blocking(move || {
        let (upper, _disk) = turn
            .visit
            .parts
            .upper()
            .map_err(|source| EngineError::Kernel {
                step: "find the disk",
                name: origin.record.name.clone(),
                source,
            })?;
        let copied = store.copy_layer(&upper).map_err(origin.failed());
        drop(turn);
        copied
    })
    .await;
    if let Some(sandbox) = frozen
        && let Err(error) = sandbox.freeze(false).await
        && !matches!(error, JailError::Gone)
    {
        tracing::error!(container = %source.record.name, %error, "a committed container stays frozen");
    }
    let copy = copied.map_err(|_| EngineError::ShuttingDown)??;
    berth_jail::crash_point("commit.copied");
    tokio::task::spawn_blocking(move || {
        clean(&copy.path()).map_err(|error| EngineError::File {
            step: "clean",
            path: copy.path(),
            source: error,
        })?;
        let layer = copy.into_layer().map_err(source.failed())?;
        berth_jail::crash_point("commit.layered");
        store_image(&images, &source, layer, &spec).map_err(source.failed())
    })
    .await
    .map_err(|_| EngineError::ShuttingDown)?
}

/// `None`: it has ended meanwhile, and nobody writes.
async fn freeze(sandbox: &Sandbox, name: &str) -> Result<Option<Sandbox>, EngineError> {
    match sandbox.freeze(true).await {
        Ok(()) => Ok(Some(sandbox.clone())),
        Err(JailError::Gone) => Ok(None),
        Err(source) => {
            // Half frozen would be worse than either.
            let _ = sandbox.freeze(false).await;
            Err(EngineError::Jail {
                step: "pause",
                name: name.to_owned(),
                source,
            })
        }
    }
}

/// Takes out of the copy what belongs to this container only.
fn clean(copy: &Path) -> std::io::Result<()> {
    for file in ENGINE_FILES {
        let path = copy.join(file);
        // Nothing of the copy is in use, but links in it may lead anywhere.
        if std::fs::symlink_metadata(copy.join("etc")).is_ok_and(|etc| etc.is_dir())
            && std::fs::symlink_metadata(&path).is_ok_and(|at| at.is_file() && at.len() == 0)
        {
            std::fs::remove_file(&path)?;
        }
    }
    trust::remove(&mut Root::open(copy)?)
}

fn store_image(
    images: &ImageStore,
    origin: &Origin,
    layer: Option<Layer>,
    spec: &CommitSpec,
) -> Result<Image, ImageError> {
    let base = images.config_json(&origin.image)?;
    let config = origin.configuration(base, spec, layer.is_none());
    let mut layers = origin.image.layers.clone();
    layers.extend(layer);
    let image = images.put_image_json(config, layers)?;
    if let Some(reference) = &spec.reference {
        images.tag(&image, reference)?;
    }
    Ok(image)
}
