//! `berth engine`: the container side alone, for clients that bring their own Workers.
//!
//! One daemon owns a data directory at a time (`engine.lock`). Its Docker API is in its session's
//! directory like any session's; the address that people use is a symbolic link to it, so that
//! whoever sweeps a dead session never removes the address of its successor.

mod link;

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_error::{Report, ResultExt as _};

use crate::dev::identity;
use crate::host::{Host, HostOptions, HostService};
use crate::lock::Lock;
use crate::paths::{Paths, absolute};

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) host: Host,
    /// Where clients find it.
    pub(crate) socket: PathBuf,
    /// A link to this program under the name by which it is the `docker` command.
    pub(crate) docker: PathBuf,
    _lock: Lock,
}

impl Daemon {
    /// Starts it. It answers on return.
    pub(crate) async fn start(
        paths: &Paths,
        socket: Option<&Path>,
        images_max_size: Option<u64>,
        services: Vec<HostService>,
        keep_for: Option<Duration>,
    ) -> Result<Self, Report> {
        let Some(lock) = Lock::take(&paths.data.join("engine.lock"))? else {
            return Err(Report::new(
                format!(
                    "another `berth engine` runs with the data directory `{}`",
                    paths.data.display()
                ),
                Some("use that one, or name another directory with `--data-dir`".to_owned()),
            ));
        };
        let socket = match socket {
            Some(socket) => absolute(socket)?,
            None => default_socket(paths),
        };
        link::check_socket(&socket)?;
        let docker = docker_command(paths);
        let program = std::env::current_exe().context("could not find this program's file")?;
        link::replace(&program, &docker)?;
        let options = HostOptions {
            // Every directory is below it: whoever has no session of their own means this one.
            project: PathBuf::from("/"),
            applications: identity::unknown_applications(&uuid::Uuid::new_v4().to_string()),
            images_max_size,
            services,
            keep_for,
        };
        let host = Host::start(paths, options).await?;
        if let Err(report) = link::replace(&host.session.socket, &socket) {
            host.end().await;
            return Err(report);
        }
        Ok(Self {
            host,
            socket,
            docker,
            _lock: lock,
        })
    }

    /// What `DOCKER_HOST` must be.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Ends nothing: see [`Host::leave`].
    pub(crate) async fn leave(self) {
        link::remove(&self.socket, &self.host.session.socket);
        self.host.leave().await;
    }

    /// Ends every container; nothing of the session remains.
    pub(crate) async fn end(self) {
        link::remove(&self.socket, &self.host.session.socket);
        self.host.end().await;
    }
}

/// Where a daemon serves unless it is told otherwise.
pub(crate) fn default_socket(paths: &Paths) -> PathBuf {
    paths.data.join("engine.sock")
}

/// What `WRANGLER_DOCKER_BIN` and `DOCKER_HOST` must be for the engine of a data directory, if one answers there.
pub(crate) fn of(paths: &Paths) -> Option<(PathBuf, String)> {
    let (docker, socket) = (docker_command(paths), default_socket(paths));
    let answers = docker.exists() && std::os::unix::net::UnixStream::connect(&socket).is_ok();
    answers.then(|| (docker, format!("unix://{}", socket.display())))
}

fn docker_command(paths: &Paths) -> PathBuf {
    paths.data.join("bin/docker")
}
