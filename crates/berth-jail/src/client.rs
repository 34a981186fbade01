//! The daemon's side: a handle on the zygote, on sandboxes and on processes in them.
//!
//! Owner: whoever launched the zygote. Invariants: one task reads the socket and is the only writer
//! of what processes are known to be; when the zygote dies, every pending call fails and every
//! process counts as killed (the kernel does kill them: they die with their parent).

mod attach;
mod connection;
mod process;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::cgroup::Capabilities;
use crate::error::JailError;
use crate::protocol::Request;
use crate::spec::SandboxSpec;
pub use attach::{Survivor, Survivors};
use connection::Connection;
pub use process::{ExecFds, ExecProcess, Sandbox, SandboxFds};

/// Settings of the zygote.
#[derive(Clone, Debug)]
pub struct ZygoteConfig {
    /// The binary to execute with [`ZYGOTE_ARG`]; normally `/proc/self/exe`. A zygote goes on
    /// running when the file is replaced.
    ///
    /// [`ZYGOTE_ARG`]: crate::ZYGOTE_ARG
    pub executable: PathBuf,
    /// Path of the session's cgroups below each controller's root, such as `berth/<session>`.
    pub cgroup: String,
    /// What becomes of the sandboxes when the daemon's connection closes.
    pub on_disconnect: OnDisconnect,
}

/// What the zygote does when the daemon is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Kill every sandbox, remove its cgroups and leave (`berth dev`).
    KillAll,
    /// Keep them for the next daemon.
    Keep {
        /// Where that finds the zygote: in a directory that only root can write.
        socket: PathBuf,
        /// How long, in whole seconds, it is waited for. Then they end as with
        /// [`OnDisconnect::KillAll`].
        patience: Duration,
    },
}

/// The daemon's handle on the zygote. Cheap to clone. With [`OnDisconnect::KillAll`], dropping the
/// last handle (sandboxes and processes hold one each) ends the zygote and all it started.
///
/// Should the zygote die, all its sandboxes die with it and are reported as ended (137,
/// [`Sandbox::is_lost`]); the next call of [`Zygote::spawn`] starts another one.
#[derive(Clone, Debug)]
pub struct Zygote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ZygoteConfig,
    capabilities: Capabilities,
    current: Mutex<Current>,
    /// Deposits that belong to no sandbox: the next zygote gets them, too.
    standing: std::sync::Mutex<BTreeMap<String, Vec<OwnedFd>>>,
}

#[derive(Debug)]
struct Current {
    connection: Arc<Connection>,
    /// No other one is to be started.
    shut_down: bool,
}

impl Zygote {
    /// Starts the helper and connects to it.
    ///
    /// # Errors
    /// [`JailError::Launch`].
    pub async fn launch(config: ZygoteConfig) -> Result<Self, JailError> {
        let connection = attach::launch(&config).await?;
        Ok(Self::new(config, connection))
    }

    /// Connects to the helper that an earlier daemon left; `None` if there is none, or if the
    /// configuration is not [`OnDisconnect::Keep`].
    ///
    /// # Errors
    /// [`JailError::ZygoteBusy`] while another daemon is connected, [`JailError::ZygoteVersion`],
    /// or [`JailError::Launch`] if there is something there that cannot be talked to.
    pub async fn attach(config: &ZygoteConfig) -> Result<Option<(Self, Survivors)>, JailError> {
        let OnDisconnect::Keep { socket, .. } = &config.on_disconnect else {
            return Ok(None);
        };
        let attached = attach::attach(socket, &config.cgroup).await?;
        Ok(attached
            .map(|(connection, survivors)| (Self::new(config.clone(), connection), survivors)))
    }

    /// Has the helper that an earlier daemon left kill its sandboxes and leave, whatever its version, and
    /// waits for that. Nothing happens if there is none.
    ///
    /// # Errors
    /// [`JailError::Launch`] if it cannot be told, or does not leave within some seconds.
    pub async fn end_other(config: &ZygoteConfig) -> Result<(), JailError> {
        let OnDisconnect::Keep { socket, .. } = config.on_disconnect.clone() else {
            return Ok(());
        };
        tokio::task::spawn_blocking(move || attach::end(&socket))
            .await
            .map_err(|error| JailError::Launch(error.into()))?
    }

    fn new(config: ZygoteConfig, connection: Arc<Connection>) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                capabilities: connection.capabilities().clone(),
                current: Mutex::new(Current {
                    connection,
                    shut_down: false,
                }),
                standing: std::sync::Mutex::default(),
            }),
        }
    }

    /// A connection to a zygote that lives, as far as is known.
    async fn living(&self) -> Result<Arc<Connection>, JailError> {
        let mut current = self.inner.current.lock().await;
        if current.connection.is_dead() {
            if current.shut_down {
                return Err(JailError::ZygoteGone);
            }
            // Two zygotes at once would be in each other's groups.
            current.connection.ended().await;
            current.connection = attach::launch(&self.inner.config).await?;
            tracing::warn!("the jail's helper process had ended and was started again");
            for (name, fds) in self.standing() {
                let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
                deposit(&current.connection, name, &fds).await?;
            }
        }
        Ok(Arc::clone(&current.connection))
    }

    /// Whether sandboxes outlive the daemon, and deposits are kept.
    pub fn keeps(&self) -> bool {
        matches!(self.inner.config.on_disconnect, OnDisconnect::Keep { .. })
    }

    /// What this machine's control groups can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// Starts a sandbox; returns when its first process has been exec'ed, or why it was not.
    ///
    /// Dropping the future may leave a sandbox half-way; it is killed as soon as it runs. A zygote
    /// that ends meanwhile is replaced and the start repeated, unless there is a disk: then the
    /// answer is [`JailError::ZygoteGone`].
    ///
    /// # Errors
    /// [`JailError`].
    pub async fn spawn(&self, spec: SandboxSpec, fds: SandboxFds) -> Result<Sandbox, JailError> {
        let mut passed = vec![fds.netns.as_fd()];
        passed.extend(fds.stdin.iter().map(std::os::fd::AsFd::as_fd));
        passed.extend([fds.stdout.as_fd(), fds.stderr.as_fd()]);
        passed.extend(fds.disk.iter().map(std::os::fd::AsFd::as_fd));
        // A mount is good for one sandbox.
        let mut again = fds.disk.is_none();
        loop {
            let connection = self.living().await?;
            let ticket = connection.ticket();
            let request = Request::Spawn {
                ticket,
                stdin: fds.stdin.is_some(),
                disk: fds.disk.is_some(),
                spec: Box::new(spec.clone()),
            };
            match connection.start(ticket, &request, &passed).await {
                Ok(started) => return Ok(Sandbox::new(spec.id, ticket, started, connection)),
                // It ended meanwhile, and with it whatever it had begun.
                Err(JailError::ZygoteGone) if again => {
                    connection.ended().await;
                    again = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves descriptors for the next daemon, in place of what has that name; at most seven. They are
    /// left with a zygote that takes the place of this one, too. Nothing happens unless
    /// [`Zygote::keeps`].
    ///
    /// # Errors
    /// [`JailError`] when the zygote cannot be told.
    pub async fn deposit(
        &self,
        name: impl Into<String>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), JailError> {
        if !self.keeps() {
            return Ok(());
        }
        let name = name.into();
        let copies: std::io::Result<Vec<OwnedFd>> =
            fds.iter().map(BorrowedFd::try_clone_to_owned).collect();
        let copies = copies.map_err(|error| JailError::setup("copy a descriptor", error))?;
        let connection = self.living().await?;
        self.lock_standing().insert(name.clone(), copies);
        deposit(&connection, name, fds).await
    }

    /// Copies of what belongs to no sandbox.
    fn standing(&self) -> BTreeMap<String, Vec<OwnedFd>> {
        let copy = |fds: &Vec<OwnedFd>| fds.iter().map(OwnedFd::try_clone).collect();
        let standing = self.lock_standing();
        let copies = standing.iter().filter_map(|(name, fds)| {
            let copies: std::io::Result<Vec<OwnedFd>> = copy(fds);
            Some((name.clone(), copies.ok()?))
        });
        copies.collect()
    }

    fn lock_standing(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<OwnedFd>>> {
        // Written by single operations.
        let standing = self.inner.standing.lock();
        standing.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Kills the session's processes that are no sandbox's, but for this one and the zygote: what an
    /// earlier daemon had started. Blocks.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn sweep_helpers(&self) -> Result<(), JailError> {
        let connection = self.living().await?;
        let sweep = move || connection.session().sweep_helpers(connection.pid());
        let swept = tokio::task::spawn_blocking(sweep).await;
        swept
            .map_err(std::io::Error::from)
            .and_then(|swept| swept)
            .map_err(|error| JailError::setup("end what an earlier daemon had started", error))
    }

    /// Forgets a deposit. A zygote that has ended has none.
    pub async fn withdraw(&self, name: impl Into<String>) {
        if self.keeps() {
            let name = name.into();
            self.lock_standing().remove(&name);
            let connection = Arc::clone(&self.inner.current.lock().await.connection);
            let _ = connection.say(&Request::Withdraw { name }, &[]).await;
        }
    }

    /// Kills all sandboxes, removes their cgroups and ends the helper.
    pub async fn shutdown(&self) {
        let mut current = self.inner.current.lock().await;
        current.shut_down = true;
        current.connection.shutdown().await;
    }
}

async fn deposit(
    connection: &Connection,
    name: String,
    fds: &[BorrowedFd<'_>],
) -> Result<(), JailError> {
    let sandbox = None;
    connection
        .say(&Request::Deposit { name, sandbox }, fds)
        .await
}
