//! What a build asks of this program: images from elsewhere, and sandboxes, made when the first `RUN`
//! step needs one.

use std::path::{Path, PathBuf};

use berth_build::{BuildHost, HostError, HostFuture};
use berth_engine::Session;
use berth_error::Report;
use berth_image::ImageStore;
use berth_jail::Zygote;
use tokio::sync::OnceCell;

use crate::base;
use crate::host::launch_zygote;

/// The host of a build that has no session of its own yet.
pub(crate) struct Sandboxes {
    data: PathBuf,
    context: PathBuf,
    store: ImageStore,
    started: OnceCell<(Session, Zygote)>,
}

impl Sandboxes {
    pub(crate) fn new(data: &Path, context: &Path, store: ImageStore) -> Self {
        Self {
            data: data.to_owned(),
            context: context.to_owned(),
            store,
            started: OnceCell::new(),
        }
    }

    async fn start(&self) -> Result<(Session, Zygote), Report> {
        let sessions = self.data.join("sessions");
        berth_engine::sweep(&sessions)?;
        let session = Session::create(&sessions, &self.context)?;
        match launch_zygote(&session).await {
            Ok(zygote) => Ok((session, zygote)),
            Err(report) => {
                remove(session);
                Err(report)
            }
        }
    }

    /// Ends what was started; nothing of it remains.
    pub(crate) async fn end(self) {
        if let Some((session, zygote)) = self.started.into_inner() {
            zygote.shutdown().await;
            remove(session);
        }
    }
}

fn remove(session: Session) {
    if let Err(error) = session.remove() {
        tracing::warn!(%error, "the build's directory stays behind");
    }
}

impl BuildHost for Sandboxes {
    fn zygote(&self) -> HostFuture<'_, Zygote> {
        Box::pin(async {
            let started = self.started.get_or_try_init(|| self.start()).await;
            started
                .map(|(_, zygote)| zygote.clone())
                .map_err(|report| host_error(&report))
        })
    }

    fn provide<'a>(
        &'a self,
        reference: &'a str,
        progress: &'a (dyn Fn(String) + Send + Sync),
    ) -> HostFuture<'a, ()> {
        Box::pin(provide(&self.store, reference, progress))
    }
}

/// Brings an image into the store.
pub(crate) async fn provide(
    store: &ImageStore,
    reference: &str,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), HostError> {
    base::provide(store, reference, "", progress)
        .await
        .map_err(|report| host_error(&report))
}

/// A report as a part of a build's error.
fn host_error(report: &Report) -> HostError {
    HostError {
        message: report.chain().join(": "),
        hint: (!report.hints().is_empty()).then(|| report.hints().join("; ")),
        source: None,
    }
}
