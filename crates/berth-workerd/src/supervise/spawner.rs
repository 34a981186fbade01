//! A thread that starts processes.
//!
//! The kernel's parent-death signal follows the *thread* that started a child. A runtime's threads
//! come and go (one that runs a blocking section is handed to the blocking pool, which ends idle
//! threads), so workerd is started by a thread that lives as long as its supervisor.

use std::io::{Error, Result};
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Starts processes that die with this process. Dropping it kills the ones it started.
#[derive(Debug)]
pub(super) struct Spawner(mpsc::Sender<(Command, oneshot::Sender<Result<Child>>)>);

impl Spawner {
    /// Must be called in a runtime; it is the one that waits for the children.
    pub(super) fn new() -> Result<Self> {
        let (sender, requests) = mpsc::channel::<(Command, oneshot::Sender<Result<Child>>)>();
        let runtime = Handle::try_current().map_err(Error::other)?;
        std::thread::Builder::new()
            .name("berth-spawner".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                for (mut command, reply) in requests {
                    berth_jail::die_with_parent(&mut command);
                    // An unwanted child is killed on drop.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self(sender))
    }

    pub(super) async fn spawn(&self, command: Command) -> Result<Child> {
        let gone = || Error::other("the thread that starts processes is gone");
        let (reply, answer) = oneshot::channel();
        self.0.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
