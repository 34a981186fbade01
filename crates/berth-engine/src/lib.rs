//! Containers: one actor per container; create, start, exec, stop, logs, recovery.
#![forbid(unsafe_code)]

mod error;
mod model;
mod terminal;

pub use error::EngineError;
pub use model::{
    ContainerInfo, ContainerSpec, EngineConfig, Event, Exec, ExecIo, ExecSpec, LogLine, Status,
    Timings,
};

pub use terminal::resize;

use berth_image::ImageStore;
use berth_jail::{ExitStatus, Zygote};

/// The engine of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl Engine {
    pub async fn open(
        config: EngineConfig,
        images: ImageStore,
        zygote: Zygote,
    ) -> Result<Self, EngineError> {
        todo!()
    }
    pub fn images(&self) -> &ImageStore {
        todo!()
    }
    /// Registers a container; prepares its root file system in the background.
    pub async fn create(&self, spec: ContainerSpec) -> Result<ContainerInfo, EngineError> {
        todo!()
    }
    /// Returns when the first process has been exec'ed.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        todo!()
    }
    /// The next exit of a running container, or the stored one.
    pub async fn wait(&self, name: &str) -> Result<ExitStatus, EngineError> {
        todo!()
    }
    /// Resolves when the container is gone.
    pub async fn wait_removed(&self, name: &str) -> Result<(), EngineError> {
        todo!()
    }
    /// Signals the first process.
    pub async fn kill(&self, name: &str, signal: i32) -> Result<(), EngineError> {
        todo!()
    }
    /// SIGTERM, then SIGKILL after `grace`.
    pub async fn stop(
        &self,
        name: &str,
        grace: std::time::Duration,
    ) -> Result<ExitStatus, EngineError> {
        todo!()
    }
    /// Kills and removes; pending `wait`s answer 137. The name is free when this returns.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), EngineError> {
        todo!()
    }
    /// By name, id or unambiguous id prefix.
    pub fn inspect(&self, name: &str) -> Option<ContainerInfo> {
        todo!()
    }
    pub fn list(&self) -> Vec<ContainerInfo> {
        todo!()
    }
    pub async fn exec(&self, name: &str, spec: ExecSpec) -> Result<Exec, EngineError> {
        todo!()
    }
    /// The kept log, then (with `follow`) new lines until the container is gone.
    pub async fn logs(
        &self,
        name: &str,
        follow: bool,
    ) -> Result<tokio::sync::mpsc::Receiver<LogLine>, EngineError> {
        todo!()
    }
    /// Connects to a port of a running container. While it starts up, holds until the port listens:
    /// see `hold.rs`.
    pub async fn connect(
        &self,
        name: &str,
        port: u16,
    ) -> Result<tokio::net::TcpStream, EngineError> {
        todo!()
    }
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        todo!()
    }
    /// Kills and removes every container.
    pub async fn shutdown(&self) {
        todo!()
    }
}
