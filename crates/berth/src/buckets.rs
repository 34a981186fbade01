//! The R2 buckets of a dev session, or of a server, at a socket for its Workers.

use std::path::{Path, PathBuf};

use berth_config::Project;
use berth_error::{Report, ResultExt as _};
use berth_r2::R2;
use berth_r2::binding::{self, Unmade};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Buckets that are served when the first Worker needs one.
#[derive(Debug)]
pub(crate) struct Buckets {
    directory: PathBuf,
    socket: PathBuf,
    serving: Option<Serving>,
}

/// A store that is served.
#[derive(Debug)]
pub(crate) struct Serving {
    stop: CancellationToken,
    serving: JoinHandle<()>,
    tidying: JoinHandle<()>,
}

impl Serving {
    /// Serves a store at a socket, and keeps it tidy.
    pub(crate) fn start(store: &R2, socket: &Path, unmade: Unmade) -> Result<Self, Report> {
        let stop = CancellationToken::new();
        let serving = binding::serve(store.clone(), socket, unmade, stop.clone());
        let serving = serving.context("could not serve R2 buckets")?;
        let store = store.clone();
        Ok(Self {
            stop,
            serving,
            tidying: tokio::spawn(async move { store.keep_tidy().await }),
        })
    }

    /// Finishes what is asked, and ends.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tidying.abort();
        let _ = self.tidying.await;
        // Only tells that it was cancelled or aborted.
        let _ = self.serving.await;
    }
}

impl Buckets {
    /// Those that are kept in `r2` of a state directory.
    pub(crate) fn new(state: &Path, session: &Path) -> Self {
        Self {
            directory: state.join("r2"),
            socket: session.join("r2.sock"),
            serving: None,
        }
    }

    /// Where they are served.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Serves them if a project has any. Those that are not there are made when they are used.
    pub(crate) async fn provide(&mut self, project: &Project) -> Result<(), Report> {
        if project.r2_buckets.is_empty() || self.serving.is_some() {
            return Ok(());
        }
        let directory = self.directory.clone();
        let opened = tokio::task::spawn_blocking(move || R2::open(&directory)).await;
        let store = opened
            .context("could not open R2 buckets")?
            .context("could not open R2 buckets")?;
        self.serving = Some(Serving::start(&store, &self.socket, Unmade::Made)?);
        Ok(())
    }

    /// Ends serving; what they have stays.
    pub(crate) async fn end(self) {
        if let Some(serving) = self.serving {
            serving.end().await;
        }
    }
}
