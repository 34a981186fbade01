//! Where an app's workerd is now, for those that call it past the gateway: the data plane that has
//! messages for it, the API, other Workers.

use std::path::PathBuf;
use std::time::Duration;

use berth_workerd::{Upstream, Workerd};
use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::sync::watch;

use super::unix::{self, SendError};

/// Where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// It does not run yet, or is being replaced.
    #[default]
    Held,
    /// It ended by itself and is started again.
    Crashed,
    /// It runs.
    At {
        /// The socket that it listens on.
        listen: PathBuf,
        /// The socket on which its handlers are called.
        handlers: Option<PathBuf>,
    },
}

/// Why a handler was not called, or has not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// It does not run, or was replaced meanwhile: not its fault.
    NotRunning,
    /// It ended in the middle of it.
    Failed(String),
}

impl Reach {
    pub(super) fn of(workerd: &Workerd) -> Self {
        let unix = |upstream: Option<Upstream>| match upstream {
            Some(Upstream::Unix(path)) => Some(path),
            _ => None,
        };
        match unix(workerd.upstream().borrow().clone()) {
            Some(listen) => Self::At {
                listen,
                handlers: unix(workerd.triggers()),
            },
            None => Self::Held,
        }
    }
}

/// Waits until the app runs, at most for `limit`: its sockets for requests and for handlers.
pub(super) async fn running(
    reach: &mut watch::Receiver<Reach>,
    limit: Duration,
) -> Option<(PathBuf, Option<PathBuf>)> {
    let runs = reach.wait_for(|reach| matches!(reach, Reach::At { .. }));
    match tokio::time::timeout(limit, runs).await.ok()?.ok()?.clone() {
        Reach::At { listen, handlers } => Some((listen, handlers)),
        Reach::Held | Reach::Crashed => None,
    }
}

/// Calls a handler of an app: `POST path`.
pub(super) async fn call(
    mut reach: watch::Receiver<Reach>,
    limit: Duration,
    path: &str,
    body: Bytes,
) -> Result<Response<Bytes>, CallError> {
    let found = running(&mut reach, limit).await;
    // Without a socket for handlers it is still the former one, that had none to call.
    let socket = found.and_then(|(_, handlers)| handlers);
    let socket = socket.ok_or(CallError::NotRunning)?;
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request
        .body(body)
        .map_err(|error| CallError::Failed(error.to_string()))?;
    match unix::send(&socket, request).await {
        Ok(response) => Ok(response),
        Err(SendError::Unsent(_)) => Err(CallError::NotRunning),
        Err(_) if *reach.borrow() == Reach::Held => Err(CallError::NotRunning),
        Err(error) => Err(CallError::Failed(error.to_string())),
    }
}
