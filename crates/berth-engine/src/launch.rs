//! The seam between a container's actor and the jail: what the actor needs from a process.
//!
//! One implementation is the real one (zygote, network, overlay); the other is in the actor's tests,
//! where exits happen on command and time is paused.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use berth_jail::{
    Criu, Disk, ExecFds, ExecProcess, ExitStatus, IdRange, JailError, ProcessSpec, Sandbox,
    SandboxFds, SandboxSpec, SpawnTimings, Usage, Zygote,
};
use berth_net::Network;
use tokio::sync::watch;

use crate::EngineError;
use crate::actor::Shared;
use crate::boost::{settle, startup_limits};
use crate::keep::record::sandbox_id;
use crate::keep::{Claims, Keepsakes};
use crate::log::capture::{ReadEnds, WriteEnds};
use crate::mounts::Mounted;
use crate::visit::Parts;

/// Makes the first process of one container, as often as it is started.
pub(crate) trait Launcher: Send + Sync + 'static {
    /// What a launched container is.
    type Guest: Guest;

    /// What the container's root is made of.
    fn parts(&self) -> Arc<Parts>;

    /// Returns when the process has been exec'ed, or why not; nothing is left of it then.
    /// `ordinal` counts the launches of this container from 1.
    fn launch(
        &self,
        ordinal: u32,
        output: WriteEnds,
    ) -> impl Future<Output = Result<Self::Guest, EngineError>> + Send;

    /// Leaves what the next daemon needs to take a launched container over, if there is to be one.
    fn leave(&self, _guest: &Self::Guest, _output: ReadEnds) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A launched container: its first process and what that process brings along.
pub(crate) trait Guest: Clone + Send + Sync + 'static {
    /// Host pid of the first process.
    fn pid(&self) -> u32;
    /// The sandbox, where there is a real one.
    fn sandbox(&self) -> Option<Sandbox>;
    /// Where the time of its start went, if that is known.
    fn timings(&self) -> Option<SpawnTimings>;
    /// The end of the first process.
    fn wait(&self) -> impl Future<Output = ExitStatus> + Send;
    /// Whether it ended because the jail's helper process did.
    fn is_lost(&self) -> bool {
        false
    }
    /// Its end is known; nothing need be kept of it for another daemon.
    fn acknowledge(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
    /// Signals the first process; `Ok(false)`: it has ended.
    fn kill(&self, signal: i32) -> Result<bool, JailError>;
    /// Kills everything and waits for the last process; harmless when nothing is left.
    fn kill_all(&self) -> impl Future<Output = Result<(), JailError>> + Send;
    /// Stops or continues every process with the freezer.
    fn freeze(&self, frozen: bool) -> impl Future<Output = Result<(), JailError>> + Send;
    /// Writes it to disk and ends its processes; the exit is not told. Thawed if that fails.
    fn checkpoint(&self, criu: Criu) -> impl Future<Output = Result<(), JailError>> + Send;
    /// Makes its processes again; ended if that fails.
    fn restore(&self, criu: Criu) -> impl Future<Output = Result<(), JailError>> + Send;
    /// What it uses; of an ended one what it had used at its end.
    fn usage(&self) -> Option<Usage>;
    /// Ports that have been listened on so far.
    fn listening(&self) -> watch::Receiver<BTreeSet<u16>>;
    /// Another process beside the first.
    fn exec(
        &self,
        process: ProcessSpec,
        fds: ExecFds,
    ) -> impl Future<Output = Result<(ExecProcess, Option<OwnedFd>), JailError>> + Send;
}

/// Launches in the jail.
#[derive(Debug)]
pub(crate) struct JailLauncher {
    pub(crate) name: String,
    pub(crate) zygote: Zygote,
    pub(crate) network: Arc<Network>,
    pub(crate) sandbox: SandboxSpec,
    /// The writable layer if it has a limit; the actor keeps it for as long as the container lives.
    pub(crate) disk: Option<Weak<Disk>>,
    /// See [`crate::EngineConfig::startup_cpu_milli`].
    pub(crate) startup_cpu_milli: Option<u32>,
    /// Kept for as long as anything may run under these ids.
    pub(crate) ids: IdRange,
    /// Keeps its volumes in use.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) mounted: Mounted,
    pub(crate) shared: Arc<Shared>,
    /// What is left for the next daemon with each sandbox; `None`: there is none.
    pub(crate) keepsakes: Option<Keepsakes>,
    /// Whose claims must outlive this daemon, too.
    pub(crate) claims: Claims,
}

impl JailLauncher {
    /// A mount of the disk for one sandbox.
    fn mount_disk(&self) -> std::io::Result<Option<OwnedFd>> {
        let Some(disk) = &self.disk else {
            return Ok(None);
        };
        let disk = disk.upgrade().ok_or(std::io::ErrorKind::NotFound)?;
        disk.mount().map(Some)
    }

    /// For one attempt to start: a mount of the disk is good for one sandbox.
    fn descriptors(&self, output: &WriteEnds) -> Result<SandboxFds, EngineError> {
        let failed = |step| {
            let name = self.name.clone();
            move |source| EngineError::Kernel { step, name, source }
        };
        let streams = || Ok((output.stdout.try_clone()?, output.stderr.try_clone()?));
        let (stdout, stderr) = streams().map_err(failed("pass output pipes on"))?;
        let netns = self.network.namespace_owned();
        Ok(SandboxFds {
            netns: netns.map_err(failed("open the network namespace"))?,
            stdin: None,
            stdout,
            stderr,
            disk: self.mount_disk().map_err(failed("mount the disk"))?,
        })
    }
}

impl Launcher for JailLauncher {
    type Guest = Sandbox;

    fn parts(&self) -> Arc<Parts> {
        Arc::new(Parts {
            rootfs: self.sandbox.rootfs.clone(),
            mounts: self.sandbox.mounts.clone(),
            disk: self.disk.clone(),
            id_base: self.sandbox.id_base,
        })
    }

    async fn launch(&self, ordinal: u32, output: WriteEnds) -> Result<Sandbox, EngineError> {
        let mut spec = self.sandbox.clone();
        debug_assert_eq!(spec.id_base, self.ids.base());
        spec.id = sandbox_id(&spec.id, ordinal);
        if self.shared.trusts_ca.load(Ordering::Relaxed) {
            crate::trust::add_variable(&mut spec.process.env);
        }
        let own = spec.limits;
        spec.limits = startup_limits(own, self.startup_cpu_milli);
        let boosted = spec.limits.cpu_milli != own.cpu_milli;
        let fds = self.descriptors(&output)?;
        let spawned = match self.zygote.spawn(spec.clone(), fds).await {
            // It ended meanwhile, and with it whatever it had begun: the next one takes its place.
            Err(JailError::ZygoteGone) => {
                let fds = self.descriptors(&output)?;
                self.zygote.spawn(spec, fds).await
            }
            spawned => spawned,
        };
        drop(output);
        let sandbox = spawned.map_err(|source| EngineError::Start {
            name: self.name.clone(),
            source,
        })?;
        if boosted {
            tokio::spawn(settle(sandbox.clone(), own));
        }
        Ok(sandbox)
    }

    async fn leave(&self, sandbox: &Sandbox, output: ReadEnds) {
        let Some(keepsakes) = &self.keepsakes else {
            return;
        };
        let left = async {
            self.claims.leave(&self.zygote).await?;
            keepsakes.leave(sandbox, &self.network, &output).await
        };
        match left.await {
            // It has ended, with what it had.
            Ok(()) | Err(JailError::ZygoteGone) => {}
            Err(error) => {
                let (container, error) = (&self.name, berth_error::chain(&error));
                tracing::warn!(container, error, "would end with this server");
            }
        }
    }
}

impl Guest for Sandbox {
    fn pid(&self) -> u32 {
        Sandbox::pid(self)
    }

    fn sandbox(&self) -> Option<Sandbox> {
        Some(self.clone())
    }

    fn timings(&self) -> Option<SpawnTimings> {
        Some(Sandbox::timings(self))
    }

    async fn wait(&self) -> ExitStatus {
        Sandbox::wait(self).await
    }

    fn is_lost(&self) -> bool {
        Sandbox::is_lost(self)
    }

    async fn acknowledge(&self) {
        Sandbox::acknowledge(self).await;
    }

    fn kill(&self, signal: i32) -> Result<bool, JailError> {
        Sandbox::kill(self, signal)
    }

    async fn kill_all(&self) -> Result<(), JailError> {
        Sandbox::kill_all(self).await
    }

    async fn freeze(&self, frozen: bool) -> Result<(), JailError> {
        Sandbox::freeze(self, frozen).await
    }

    async fn checkpoint(&self, criu: Criu) -> Result<(), JailError> {
        Sandbox::checkpoint(self, criu).await
    }

    async fn restore(&self, criu: Criu) -> Result<(), JailError> {
        Sandbox::restore(self, criu).await
    }

    fn usage(&self) -> Option<Usage> {
        match self.cpu_ns_at_end() {
            Some(cpu_ns) => Some(Usage {
                cpu_ns,
                ..Usage::default()
            }),
            None => Sandbox::usage(self).ok(),
        }
    }

    fn listening(&self) -> watch::Receiver<BTreeSet<u16>> {
        Sandbox::listening(self)
    }

    async fn exec(
        &self,
        process: ProcessSpec,
        fds: ExecFds,
    ) -> Result<(ExecProcess, Option<OwnedFd>), JailError> {
        Sandbox::exec(self, process, fds).await
    }
}
