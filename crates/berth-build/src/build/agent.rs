//! An ssh agent inside a step: a socket of ours, whose connections go to the user's.
//!
//! Invariant: a step can ask for the keys and have something signed, and nothing else: it neither
//! removes nor adds keys, nor locks the agent, as in BuildKit. Protocol: draft-miller-ssh-agent.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use berth_image::ImageStore;
use rustix::fs::{CWD, Mode, OFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::dockerfile::mount::Owner;

/// Ends with the step.
pub(super) struct Agent {
    directory: tempfile::TempDir,
    forwarding: JoinHandle<()>,
}

const NAME: &str = "agent";
/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const ALLOWED: [u8; 2] = [11, 13];
/// `SSH_AGENT_FAILURE`.
const FAILURE: u8 = 5;
/// Longest message, in bytes; OpenSSH's agent takes no longer ones either.
const MAX_MESSAGE: u32 = 256 << 10;

impl Agent {
    /// Forwards to the agent at `socket`.
    pub(super) fn forward(store: &ImageStore, socket: PathBuf, owner: Owner) -> io::Result<Self> {
        if !fs_err::metadata(&socket)?.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
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
fn bind(directory: &Path) -> io::Result<UnixListener> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))
}

/// Asks the agent what a step asks, one request after the other, as far as it may.
async fn pass(mut inside: UnixStream, socket: &Path) -> io::Result<()> {
    let mut outside = UnixStream::connect(socket).await?;
    while let Some(request) = read(&mut inside).await? {
        let answer = if request.first().is_some_and(|kind| ALLOWED.contains(kind)) {
            write(&mut outside, &request).await?;
            read(&mut outside).await?
        } else {
            Some(vec![FAILURE])
        };
        match answer {
            Some(answer) => write(&mut inside, &answer).await?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// A message of the agent protocol, without its length; `None` at the end.
async fn read(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_MESSAGE {
        return Err(io::Error::other("a message is longer than agents send"));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), message].concat())
        .await
}
