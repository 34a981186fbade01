//! The daemon's side: a handle on the zygote, on sandboxes and on processes in them.
//!
//! Owner: whoever launched the zygote. Invariants: one task reads the socket and is the only writer
//! of what processes are known to be; when the zygote dies, every pending call fails and every
//! process counts as killed (the kernel does kill them: they die with their parent).

mod connection;
mod process;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::cgroup::{Capabilities, Session};
use crate::error::JailError;
use crate::protocol::Request;
use crate::spec::SandboxSpec;
use crate::zygote::{KEEP, KILL_ALL, ZYGOTE_ARG};
use connection::Connection;
pub use process::{ExecFds, ExecProcess, Sandbox, SandboxFds};

/// Settings of the zygote.
#[derive(Clone, Debug)]
pub struct ZygoteConfig {
    /// The binary to execute with [`ZYGOTE_ARG`]; normally `/proc/self/exe`.
    pub executable: PathBuf,
    /// Path of the session's cgroups below each controller's root, such as `berth/<session>`.
    pub cgroup: String,
    /// What becomes of the sandboxes when the daemon's connection closes.
    pub on_disconnect: OnDisconnect,
}

/// What the zygote does when the daemon is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Kill every sandbox, remove its cgroups and leave (`berth dev`).
    KillAll,
    /// Keep them for the next daemon.
    Keep,
}

/// The daemon's handle on the zygote. Cheap to clone. With [`OnDisconnect::KillAll`], dropping the
/// last handle (sandboxes and processes hold one each) ends the zygote and all it started.
#[derive(Clone, Debug)]
pub struct Zygote {
    connection: Arc<Connection>,
}

impl Zygote {
    /// Starts the helper and connects to it.
    pub async fn launch(config: ZygoteConfig) -> Result<Self, JailError> {
        let launch = |error: std::io::Error| JailError::Launch(error);
        let session = Session::open(&config.cgroup).map_err(launch)?;
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| launch(error.into()))?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|error| launch(error.into()))?;
        let mode = match config.on_disconnect {
            OnDisconnect::KillAll => KILL_ALL,
            OnDisconnect::Keep => KEEP,
        };
        let child = tokio::process::Command::new(&config.executable)
            .arg0("berth-zygote")
            .args([ZYGOTE_ARG, &config.cgroup, mode])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(launch)?;
        let connection = Connection::open(ours, child, session).await?;
        Ok(Self { connection })
    }

    /// What this machine's control groups can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.connection.capabilities()
    }

    /// Starts a sandbox; returns when its first process has been exec'ed, or why it was not.
    ///
    /// Dropping the future may leave a sandbox half-way; it is killed as soon as it runs.
    pub async fn spawn(&self, spec: SandboxSpec, fds: SandboxFds) -> Result<Sandbox, JailError> {
        use std::os::fd::AsFd as _;
        let id = spec.id.clone();
        let ticket = self.connection.ticket();
        let request = Request::Spawn {
            ticket,
            stdin: fds.stdin.is_some(),
            disk: fds.disk.is_some(),
            spec: Box::new(spec),
        };
        let mut passed = vec![fds.netns.as_fd()];
        passed.extend(fds.stdin.iter().map(std::os::fd::AsFd::as_fd));
        passed.extend([fds.stdout.as_fd(), fds.stderr.as_fd()]);
        passed.extend(fds.disk.iter().map(std::os::fd::AsFd::as_fd));
        let started = self.connection.start(ticket, &request, &passed).await?;
        Ok(Sandbox::new(
            id,
            ticket,
            started,
            Arc::clone(&self.connection),
        ))
    }

    /// Kills all sandboxes, removes their cgroups and ends the helper.
    pub async fn shutdown(&self) {
        self.connection.shutdown().await;
    }
}
