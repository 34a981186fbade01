//! SSH in front of containers (`berth-ssh`), as the API asks for it.

use std::sync::Arc;

use berth_api::{SshKeys, SshStream};
use berth_control::Control;
use berth_engine::{Engine, EngineError, Exec, ExecSpec};
use berth_error::chain;
use berth_ssh::{Access, Container, Server};
use tokio::sync::OnceCell;

/// The SSH server of a machine; its host key is read, or made, for the first client.
pub(super) struct Ssh {
    control: Control,
    engine: Engine,
    server: OnceCell<Server>,
}

impl Ssh {
    pub(super) fn new(control: Control, engine: Engine) -> Self {
        Self {
            control,
            engine,
            server: OnceCell::new(),
        }
    }

    async fn server(&self) -> Result<&Server, String> {
        self.server
            .get_or_try_init(async || {
                let control = self.control.clone();
                let key = tokio::task::spawn_blocking(move || control.ssh_host_key()).await;
                let key = key.map_err(|error| error.to_string())?;
                let key = key.map_err(|error| chain(&error))?;
                Ok(Server::new(&key))
            })
            .await
    }

    pub(super) async fn check(&self, keys: &SshKeys) -> Result<(), String> {
        access(keys)?;
        self.server().await.map(|_| ())
    }

    pub(super) async fn serve(
        &self,
        container: &str,
        keys: &SshKeys,
        stream: SshStream,
    ) -> Result<(), String> {
        let (access, server) = (access(keys)?, self.server().await?);
        tracing::info!(container, "an SSH connection");
        let target = Arc::new(Target {
            engine: self.engine.clone(),
            container: container.to_owned(),
        });
        let served = server.serve(stream, access, target).await;
        served.map_err(|error| chain(&error))
    }
}

fn access(keys: &SshKeys) -> Result<Access, String> {
    let authorities = keys.authorities.iter().map(String::as_str);
    let access = Access::read(keys.keys.iter().map(String::as_str), authorities);
    access.map_err(|error| {
        let error = chain(&error);
        format!(
            "`authorized_keys` or `trusted_user_ca_keys` of the container's configuration: {error}"
        )
    })
}

/// A container by its id.
struct Target {
    engine: Engine,
    container: String,
}

#[async_trait::async_trait]
impl Container for Target {
    async fn exec(&self, spec: ExecSpec) -> Result<Exec, EngineError> {
        self.engine.exec(&self.container, spec).await
    }

    async fn ended(&self) {
        // An error means that there is none any more.
        let _ = self.engine.wait(&self.container).await;
    }
}
