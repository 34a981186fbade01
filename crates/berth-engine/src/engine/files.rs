//! The engine's calls about a container's files: archives in and out, and commits.

use std::io::{self, Read as _};
use std::sync::atomic::Ordering;

use berth_image::Image;
use tokio::sync::{mpsc, oneshot};

use super::Engine;
use crate::actor::Handle;
use crate::archive::{PIECES, PathStat, PieceReader, PieceWriter, Pieces, Place, WriteOptions};
use crate::visit::Failed;
use crate::volumes::Volumes;
use crate::{CommitSpec, EngineError, Status, commit, trust};

impl Engine {
    /// The volumes of this machine. Their functions block.
    pub fn volumes(&self) -> &Volumes {
        &self.means.volumes
    }

    /// What is at a path of a container, running or not. A link at the end is not followed, unless
    /// the path ends with a slash.
    ///
    /// # Errors
    /// [`EngineError::NoSuchContainer`], [`EngineError::NoSuchPath`],
    /// [`EngineError::NotADirectory`].
    pub async fn path_stat(&self, name: &str, path: &str) -> Result<PathStat, EngineError> {
        let path = path.to_owned();
        let look = move |place: Place| place.find(&path).map(|found| found.stat);
        self.in_root(&self.find(name)?, look).await?
    }

    /// What is at a path of a container, running or not, as a tar stream. Entries begin with the
    /// path's last name, or with `./` if it ends with `/.`. Drop the receiver to stop; the removal
    /// of the container ends the stream with an error.
    ///
    /// # Errors
    /// As [`Engine::path_stat`].
    pub async fn read_archive(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathStat, Pieces), EngineError> {
        let handle = self.find(name)?;
        let (head, found_what) = oneshot::channel();
        let (pieces, body) = mpsc::channel(PIECES);
        let (engine, path) = (self.clone(), path.to_owned());
        let gone = handle.gate().gone();
        tokio::spawn(async move {
            let read = move |place: Place| {
                let found = match place.find(&path) {
                    Ok(found) => found,
                    Err(error) => return drop(head.send(Err(error))),
                };
                if head.send(Ok(found.stat.clone())).is_err() {
                    return;
                }
                if let Err(error) = place.read(&found, PieceWriter::new(pieces.clone())) {
                    // The reader may have gone: that was the error.
                    let _ = pieces.blocking_send(Err(error));
                }
            };
            // `head` is dropped with the work; the caller learns that there is no answer.
            engine.in_root(&handle, read).await
        });
        let stat = match found_what.await {
            Ok(stat) => stat?,
            Err(_) => return Err(EngineError::BeingRemoved(name.to_owned())),
        };
        Ok((stat, until(gone, body)))
    }

    /// Unpacks a tar stream (plain, gzip or zstd) below an existing directory of a container,
    /// running or not. If it brought the authority of intercepted HTTPS, the image's own trust
    /// stores get that, too.
    ///
    /// # Errors
    /// As [`Engine::path_stat`]; [`EngineError::ReadOnly`]; [`EngineError::Unpack`], after which a
    /// part is there.
    pub async fn write_archive(
        &self,
        name: &str,
        path: &str,
        archive: Pieces,
        options: WriteOptions,
    ) -> Result<(), EngineError> {
        let handle = self.find(name)?;
        let archive = until(handle.gate().gone(), archive);
        let path = path.to_owned();
        let write = move |place: Place| -> Result<bool, EngineError> {
            let mut reader = PieceReader::new(archive);
            place.write(&path, &mut reader, options)?;
            // What follows the archive's end is padding.
            let _ = io::copy(&mut reader.take(u64::MAX), &mut io::sink());
            Ok(trust::may_hold_ca(&path) && trusted(place))
        };
        if self.in_root(&handle, write).await?? {
            handle.shared().trusts_ca.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes an image of what a container has written, under a name. Volumes are not part of it.
    ///
    /// # Errors
    /// [`EngineError::NoSuchContainer`], [`EngineError::Commit`].
    pub async fn commit(&self, name: &str, spec: CommitSpec) -> Result<Image, EngineError> {
        let handle = self.find(name)?;
        // Awake, and kept awake: what is frozen here is thawed here. Whoever paused it keeps that.
        let using = handle.shared().activity.begin();
        let spec = CommitSpec {
            pause: spec.pause && handle.wake().await.is_ok(),
            ..spec
        };
        let (visit, origin) = (handle.visit().await?, handle.shared().origin.get().cloned());
        let origin = origin.ok_or_else(|| EngineError::NoSuchContainer(name.to_owned()))?;
        let images = self.means.images.clone();
        // Runs to its end although the caller goes away: a frozen container is thawed again.
        let turn = visit.turn().await?;
        let made = tokio::spawn(async move {
            let made = commit::commit(images, turn, origin, spec).await;
            drop(using);
            made
        });
        made.await.unwrap_or(Err(EngineError::ShuttingDown))
    }

    /// Runs blocking work in a container's root.
    async fn in_root<T, W>(&self, handle: &Handle, work: W) -> Result<T, EngineError>
    where
        T: Send + 'static,
        W: FnOnce(Place) -> T + Send + 'static,
    {
        let mut work = work;
        loop {
            let turn = handle.visit().await?.turn().await?;
            let pid = turn.visit.sandbox.as_ref().map(berth_jail::Sandbox::pid);
            let done = tokio::task::spawn_blocking(move || turn.run(work)).await;
            match done {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(Failed::Ended(again))) => {
                    work = again;
                    // Until the actor knows it, too.
                    let mut info = handle.shared().info.subscribe();
                    let ended = info.wait_for(|info| {
                        info.as_deref()
                            .is_none_or(|info| info.pid != pid || info.status != Status::Running)
                    });
                    // An error means that the container is gone, which the next round finds.
                    let _ = ended.await;
                }
                Ok(Err(Failed::Other(error))) => return Err(error),
                Err(error) => {
                    return Err(EngineError::Kernel {
                        step: "work in the files",
                        name: handle.shared().name.clone(),
                        source: error.into(),
                    });
                }
            }
        }
    }
}

/// Puts the authority into the root's trust stores; a failure does not fail the archive.
fn trusted(place: Place) -> bool {
    trust::install(&mut place.into_root()).unwrap_or_else(|error| {
        tracing::warn!(%error, "an image's trust store does not get the certificate authority");
        false
    })
}

/// Passes pieces on until the container is to be removed.
fn until(gone: tokio_util::sync::CancellationToken, mut from: Pieces) -> Pieces {
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let pass = async {
            while let Some(piece) = from.recv().await {
                if to.send(piece).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = gone.cancelled() => {
                let removed = io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the container was removed meanwhile",
                );
                // Full, if nobody reads: dropping the channel must do then.
                let _ = to.try_send(Err(removed));
            }
            () = pass => {}
        }
    });
    pieces
}
