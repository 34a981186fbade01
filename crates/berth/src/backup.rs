//! Backups of a data directory, while its server runs or not, and their way back.
//!
//! | module | its job |
//! |---|---|
//! | `stage` | copies that are of one instant |
//! | `archive` | the archive: a tar that says what it is, and at its end that it is whole |
//! | `restore` | from an archive to a data directory |
//!
//! What is in it: records (a snapshot by SQLite), modules and other content (hard links, taken before and
//! after the snapshot, so that what it names is there), and what each Worker keeps (copied, and what has
//! changed since copied again while its workerd stands still for a moment). Not in it: what is made again
//! (layers, caches, directories of assets, generated configurations), and volumes.

mod archive;
mod restore;
mod stage;

use std::path::PathBuf;

use berth_api::Backup;
use berth_error::{Report, ResultExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use crate::lock::Lock;
use archive::Archive;
pub(crate) use restore::restore;
use stage::Stage;

/// Where copies are made, below the data directory: hard links need the same disk.
const STAGE: &str = ".backup";
/// Directories of `server` whose files change in place: what is copied while somebody stands still.
const CHANGING: &str = "apps";
/// The workerd that Workers share for KV, D1, queues and Workflows.
pub(crate) const PLANE: &str = "data";

/// What is backed up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) data: PathBuf,
    /// With what opens secrets.
    pub(crate) keys: bool,
    /// With the registry.
    pub(crate) images: bool,
}

/// Keeps somebody still until it is dropped.
pub(crate) type Guard = Box<dyn Send>;

/// Begins a backup. `pause` lets whoever changes the files of a Worker (by its id) or of the shared
/// services (`data`) stand still; `None`: nobody does.
pub(crate) async fn stream<P, F>(options: Options, pause: P) -> Result<Backup, Report>
where
    P: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Guard>> + Send + 'static,
{
    let lock = Lock::take(&options.data.join(STAGE).join("lock"))?;
    let lock = lock.ok_or_else(|| {
        Report::new(
            "another backup is under way",
            Some("wait until it has ended".to_owned()),
        )
    })?;
    let (pieces, received) = mpsc::channel(4);
    let failed = pieces.clone();
    tokio::spawn(async move {
        let _lock = lock;
        let outcome = Box::pin(make(&options, Archive::new(pieces), pause)).await;
        // Whatever happened, nothing stays.
        let _ = fs_err::remove_dir_all(options.data.join(STAGE).join("stage"));
        if let Err(report) = outcome {
            let text = report.chain().join(": ");
            tracing::error!(error = text, "a backup failed");
            let _ = failed.send(Err(std::io::Error::other(text))).await;
        }
    });
    Ok(Box::pin(futures_util::stream::unfold(
        received,
        async |mut received| received.recv().await.map(|piece| (piece, received)),
    )))
}

async fn make<P, F>(options: &Options, archive: Archive, pause: P) -> Result<(), Report>
where
    P: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Guard>> + Send + 'static,
{
    let server = options.data.join("server");
    let stage = Stage::new(options.data.join(STAGE).join("stage"));
    let about = json!({
        "format": archive::FORMAT,
        "berth": env!("CARGO_PKG_VERSION"),
        "created": berth_control::clock::now(),
        "keys": options.keys,
        "images": options.images,
    });
    let (from, data, stage_of) = (server.clone(), options.data.clone(), stage.clone());
    let with = options.clone();
    let mut archive = blocking(move || {
        let mut archive = archive;
        archive.begin(&about)?;
        // Records and what they name.
        let skipped = [CHANGING, PLANE, "assets"];
        let records = stage_of.linked(&from, &skipped)?;
        archive.tree(&records, "server")?;
        stage_of.clear()?;
        if with.images {
            let registry = stage_of.linked(&data.join("registry"), &[])?;
            archive.tree(&registry, "registry")?;
            stage_of.clear()?;
        }
        if with.keys {
            archive.tree(&data.join("keys"), "keys")?;
        }
        archive.file(&data.join(berth_config::SERVER_CONFIG_NAME))?;
        Ok(archive)
    })
    .await?;
    for id in stage::names(&server.join(CHANGING)) {
        let (from, name) = (server.join(CHANGING).join(&id), format!("server/apps/{id}"));
        archive = still(archive, &stage, from, name, pause(id)).await?;
    }
    if server.join(PLANE).is_dir() {
        let name = format!("server/{PLANE}");
        let pause = pause(PLANE.to_owned());
        archive = still(archive, &stage, server.join(PLANE), name, pause).await?;
    }
    blocking(move || archive.end()).await
}

/// Copies a directory in which somebody writes, who stands still for the end of it.
async fn still(
    mut archive: Archive,
    stage: &Stage,
    from: PathBuf,
    name: String,
    pause: impl Future<Output = Option<Guard>>,
) -> Result<Archive, Report> {
    let (first, source) = (stage.clone(), from.clone());
    let seen = blocking(move || first.copied(&source)).await?;
    let guard = pause.await;
    let second = stage.clone();
    let copy = blocking(move || second.brought_up_to_date(&from, &seen)).await?;
    drop(guard);
    let stage = stage.clone();
    blocking(move || {
        archive.tree(&copy, &name)?;
        stage.clear()?;
        Ok(archive)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Report> + Send + 'static,
) -> Result<T, Report> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("the backup broke off")?
}
