//! An ssh agent inside a step: a socket of ours, whose connections go to the user's.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use berth_image::ImageStore;
use rustix::fs::{CWD, Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::dockerfile::mount::Owner;

/// Ends with the step.
pub(super) struct Agent {
    directory: tempfile::TempDir,
    forwarding: JoinHandle<()>,
}

const NAME: &str = "agent";

impl Agent {
    /// Forwards to the agent at `socket`.
    pub(super) fn forward(
        store: &ImageStore,
        socket: PathBuf,
        owner: Owner,
    ) -> std::io::Result<Self> {
        if !fs_err::metadata(&socket)?.file_type().is_socket() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                format!(
                    "`{}` is no agent's socket; start `ssh-agent`, add the key with `ssh-add`, and forward that",
                    socket.display()
                ),
            ));
        }
        let directory = tempfile::Builder::new()
            .prefix("agent-")
            .tempdir_in(store.scratch_dir())?;
        let listener = bind(directory.path())?;
        let path = directory.path().join(NAME);
        std::os::unix::fs::chown(&path, owner.uid.or(Some(0)), owner.gid.or(Some(0)))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(owner.mode.unwrap_or(0o600));
        fs_err::set_permissions(&path, mode)?;
        let forwarding = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((inside, _)) = listener.accept().await {
                let socket = socket.clone();
                connections.spawn(async move {
                    if let Err(error) = pass(inside, &socket).await {
                        tracing::debug!(%error, "a connection to the ssh agent ended");
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            directory,
            forwarding,
        })
    }

    /// The socket to mount.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.forwarding.abort();
    }
}

/// Listens in a directory whose path may be longer than a socket's address can be.
fn bind(directory: &Path) -> std::io::Result<UnixListener> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))
}

async fn pass(mut inside: UnixStream, socket: &Path) -> std::io::Result<()> {
    let mut outside = UnixStream::connect(socket).await?;
    tokio::io::copy_bidirectional(&mut inside, &mut outside).await?;
    Ok(())
}
