//! workerd's helper containers, which are none: they only move files between volumes.
//!
//! workerd 1.20261117.1 makes them of the sidecar's image, which does not exist here. For a
//! snapshot it creates one with a volume at `/mnt`, uploads an archive and deletes it without ever
//! starting it; for a restore it runs `/bin/cp -a /src/. /dst/` in one with two volumes. Both are
//! done in this process. A helper keeps its volumes in use until it is deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use berth_engine::{
    ContainerMount, ContainerMountSource, EngineError, Pieces, VolumeLease, Volumes, WriteOptions,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::{lock, random_id};
use crate::body::{CreateContainer, StringOrList};
use crate::error::ApiError;
use crate::sidecar::is_sidecar_image;
use crate::{mounts, time};

/// Exit code of what was killed: 128 + SIGKILL.
const KILLED: i32 = 137;
/// Exit code of a copy that failed.
const FAILED: i32 = 1;

/// Where a helper is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelperStatus {
    Created,
    Running,
    Exited(i32),
}

/// One helper.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) id: String,
    pub(crate) name: String,
    image: String,
    command: Vec<String>,
    created_ms: u64,
    volumes: Vec<Mounted>,
    status: watch::Sender<HelperStatus>,
    removed: watch::Sender<bool>,
}

/// A volume at a path.
#[derive(Debug)]
struct Mounted {
    target: String,
    lease: VolumeLease,
    read_only: bool,
}

/// Whether a create request asks for a helper: the sidecar's image with something mounted.
pub(crate) fn is_helper(body: &CreateContainer) -> bool {
    let host = &body.host_config;
    is_sidecar_image(&body.image) && !(host.binds.is_empty() && host.mounts.is_empty())
}

impl Helper {
    /// Unpacks an archive at a path, which must lie in one of the volumes.
    pub(crate) async fn write_archive(
        self: Arc<Self>,
        path: &str,
        archive: Pieces,
        options: WriteOptions,
    ) -> Result<(), ApiError> {
        let path = path.to_owned();
        blocking(move || {
            let (volume, inside) = self.volume(&path)?;
            if volume.read_only {
                return Err(EngineError::ReadOnly(path));
            }
            volume.lease.write_archive(inside, archive, options)?;
            // A snapshot is whole: it outlives the session.
            volume.lease.keep()
        })
        .await
    }

    /// Copies. `false`: it has been started before.
    pub(crate) fn start(self: &Arc<Self>) -> Result<bool, ApiError> {
        let (from, to) = match self.command.as_slice() {
            [program, all, from, to] if program == "/bin/cp" && all == "-a" => {
                (from.clone(), to.clone())
            }
            _ => {
                return Err(ApiError::bad_request(format!(
                    "a helper container can only run `/bin/cp -a <from> <to>`, not {:?}",
                    self.command
                )));
            }
        };
        let first = self.status.send_if_modified(|status| {
            let first = *status == HelperStatus::Created;
            if first {
                *status = HelperStatus::Running;
            }
            first
        });
        if first {
            let helper = Arc::clone(self);
            tokio::spawn(async move {
                let copier = Arc::clone(&helper);
                let copied = blocking(move || copier.copy(&from, &to)).await;
                if let Err(error) = &copied {
                    tracing::warn!(error = error.message, "a snapshot could not be copied");
                }
                let code = if copied.is_ok() { 0 } else { FAILED };
                helper.status.send_replace(HelperStatus::Exited(code));
            });
        }
        Ok(first)
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), EngineError> {
        let (source, below_source) = self.volume(from)?;
        let (target, below_target) = self.volume(to)?;
        if target.read_only {
            return Err(EngineError::ReadOnly(to.to_owned()));
        }
        target
            .lease
            .copy_from(below_target, &source.lease, below_source)
    }

    /// The volume at a path, and the path in it.
    fn volume<'a>(&self, path: &'a str) -> Result<(&Mounted, &'a str), EngineError> {
        let holds = |mounted: &&Mounted| {
            let rest = path.strip_prefix(&mounted.target);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let deepest = |mounted: &&Mounted| mounted.target.len();
        let found = self.volumes.iter().filter(holds).max_by_key(deepest);
        let found = found.ok_or_else(|| EngineError::NoSuchPath(path.to_owned()))?;
        Ok((found, &path[found.target.len()..]))
    }

    pub(crate) fn status(&self) -> HelperStatus {
        *self.status.borrow()
    }

    /// The exit code; of one that is deleted before, 137.
    pub(crate) async fn exit(self: Arc<Self>) -> i32 {
        let (mut status, mut removed) = (self.status.subscribe(), self.removed.subscribe());
        tokio::select! {
            biased;
            ended = status.wait_for(|status| matches!(status, HelperStatus::Exited(_))) => {
                match ended.map(|status| *status) {
                    Ok(HelperStatus::Exited(code)) => code,
                    _ => KILLED,
                }
            }
            _ = removed.wait_for(|removed| *removed) => KILLED,
        }
    }

    /// Resolves when it is deleted.
    pub(crate) async fn removed(self: Arc<Self>) -> i32 {
        // The sender lives in `self`.
        let _ = self.removed.subscribe().wait_for(|removed| *removed).await;
        match self.status() {
            HelperStatus::Exited(code) => code,
            _ => KILLED,
        }
    }

    /// `GET /containers/{id}/json`.
    pub(crate) fn json(&self) -> Value {
        let status = self.status();
        let (word, code) = match status {
            HelperStatus::Created => ("created", 0),
            HelperStatus::Running => ("running", 0),
            HelperStatus::Exited(code) => ("exited", code),
        };
        let mounts: Vec<Value> = self
            .volumes
            .iter()
            .map(|mounted| {
                json!({
                    "Type": "volume",
                    "Name": mounted.lease.name(),
                    "Destination": mounted.target,
                    "RW": !mounted.read_only,
                })
            })
            .collect();
        json!({
            "Id": self.id,
            "Name": format!("/{}", self.name),
            "Created": time::rfc3339(self.created_ms),
            "State": {
                "Status": word,
                "Running": status == HelperStatus::Running,
                "Pid": 0,
                "ExitCode": code,
            },
            "Config": {"Image": self.image, "Cmd": self.command, "Labels": {}},
            "HostConfig": {},
            "NetworkSettings": {"Ports": {}},
            "Mounts": mounts,
        })
    }
}

/// The helpers of a server, by name.
#[derive(Debug, Default)]
pub(crate) struct Helpers {
    by_name: Mutex<HashMap<String, Arc<Helper>>>,
}

impl Helpers {
    /// By name or id.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Helper>> {
        let by_name = lock(&self.by_name);
        let found = by_name.get(name);
        found
            .or_else(|| by_name.values().find(|helper| helper.id == name))
            .cloned()
    }

    /// Takes the volumes into use; those that do not exist are made, as Docker does.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: CreateContainer,
        volumes: Volumes,
    ) -> Result<Arc<Helper>, ApiError> {
        let in_use =
            || ApiError::conflict(format!("the container name `{name}` is already in use"));
        let wanted = mounts::mounts(&body.host_config)?;
        let mounted = blocking(move || lease(&volumes, &wanted)).await?;
        let list = |value: Option<StringOrList>| value.map(StringOrList::into_vec);
        let mut command = list(body.entrypoint).unwrap_or_default();
        command.extend(list(body.cmd).unwrap_or_default());
        let helper = Arc::new(Helper {
            id: random_id(),
            name: name.to_owned(),
            image: body.image,
            command,
            created_ms: time::now_ms(),
            volumes: mounted,
            status: watch::Sender::new(HelperStatus::Created),
            removed: watch::Sender::new(false),
        });
        let mut by_name = lock(&self.by_name);
        if by_name.contains_key(name) {
            return Err(in_use());
        }
        by_name.insert(name.to_owned(), Arc::clone(&helper));
        Ok(helper)
    }

    /// Lets go of a helper; a copy under way is finished.
    pub(crate) fn remove(&self, helper: &Helper) {
        let removed = lock(&self.by_name).remove(&helper.name);
        if let Some(removed) = removed {
            removed.removed.send_replace(true);
        }
    }

    /// Lets go of all of them.
    pub(crate) fn clear(&self) {
        for (_, helper) in lock(&self.by_name).drain() {
            helper.removed.send_replace(true);
        }
    }
}

fn lease(volumes: &Volumes, wanted: &[ContainerMount]) -> Result<Vec<Mounted>, EngineError> {
    let mut mounted = Vec::new();
    for mount in wanted {
        if let ContainerMountSource::Volume { name, .. } = &mount.source {
            mounted.push(Mounted {
                target: mount.target.trim_end_matches('/').to_owned(),
                lease: volumes.lease(name)?,
                read_only: mount.read_only,
            });
        }
    }
    Ok(mounted)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| ApiError::internal(format!("a helper container: {error}")))??)
}
