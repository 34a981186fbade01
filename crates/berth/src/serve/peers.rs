//! Calls between Workers: a socket for each entrypoint that another Worker binds, which is there as long
//! as somebody binds it, whether its Worker runs or not.
//!
//! A connection waits (bounded) for a Worker that starts or is replaced; then bytes are passed on, HTTP
//! and workerd's RPC alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_workerd::Entrypoint;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::reach::{self, Reach};

/// Pause before a socket that is not there yet is tried again: its Worker runs, but an earlier version.
const RETRY: Duration = Duration::from_millis(20);

/// What a socket leads to.
pub(super) struct Target {
    pub(super) reach: watch::Receiver<Reach>,
    pub(super) entrypoint: Entrypoint,
    pub(super) hold: Duration,
}

/// The sockets.
#[derive(Debug, Default)]
pub(super) struct Peers {
    listening: Mutex<BTreeMap<PathBuf, JoinHandle<()>>>,
}

impl Peers {
    /// Makes those sockets that are not there yet, takes away those that nobody binds any more.
    pub(super) fn replace(&self, wanted: BTreeMap<PathBuf, Target>) {
        let mut listening = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listening.retain(|path, task| {
            let keep = wanted.contains_key(path) && !task.is_finished();
            if !keep {
                task.abort();
                let _ = std::fs::remove_file(path);
            }
            keep
        });
        for (path, target) in wanted {
            if listening.contains_key(&path) {
                continue;
            }
            match UnixListener::bind(&path) {
                Ok(listener) => {
                    listening.insert(path, tokio::spawn(accept(listener, target)));
                }
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "no socket between Workers");
                }
            }
        }
    }

    /// Closes all of them.
    pub(super) fn end(&self) {
        self.replace(BTreeMap::new());
    }
}

async fn accept(listener: UnixListener, target: Target) {
    // Until the Worker is deleted: nobody changes where it is any more.
    while target.reach.has_changed().is_ok() {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (reach, entrypoint) = (target.reach.clone(), target.entrypoint.clone());
                tokio::spawn(pass(stream, reach, entrypoint, target.hold));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection of another Worker");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn pass(
    mut stream: UnixStream,
    mut reach: watch::Receiver<Reach>,
    entrypoint: Entrypoint,
    hold: Duration,
) {
    let Some(mut callee) = connect(&mut reach, &entrypoint, hold).await else {
        // The caller's fetch or call fails.
        return;
    };
    if let Err(error) = tokio::io::copy_bidirectional(&mut stream, &mut callee).await {
        tracing::trace!(%error, "a connection between Workers broke");
    }
}

async fn connect(
    reach: &mut watch::Receiver<Reach>,
    entrypoint: &Entrypoint,
    hold: Duration,
) -> Option<UnixStream> {
    let deadline = Instant::now() + hold;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (listen, _) = reach::running(reach, left).await?;
        if let Ok(stream) = UnixStream::connect(entrypoint.socket(&listen)).await {
            return Some(stream);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Path of the socket for an entrypoint of the Worker of this id.
pub(super) fn socket(session: &Path, worker: &str, entrypoint: &Entrypoint) -> PathBuf {
    entrypoint.socket(&session.join(format!("p-{}", &worker[..12.min(worker.len())])))
}
