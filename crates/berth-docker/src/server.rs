//! The unix socket: binding, accepting, connections.
//!
//! workerd opens one connection per request, sometimes connects and leaves without a word, and
//! breaks connections off when a Durable Object dies; the docker command keeps connections alive.
//! None of that is an error here.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinError;

use crate::api::Api;
use crate::error::ApiError;
use crate::respond::{self, Body};
use crate::routes::route;

/// Rest after an `accept` that failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A bound socket being served.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
}

impl Server {
    /// Binds with mode 0600 from the first moment on: the socket gets its name only afterwards.
    pub(crate) async fn bind(path: &Path, api: Arc<Api>) -> io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another server answers at {}", path.display()),
            ));
        }
        let mut unnamed = path.as_os_str().to_owned();
        unnamed.push("~");
        let unnamed = PathBuf::from(unnamed);
        match fs_err::remove_file(&unnamed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&unnamed)?;
        fs_err::set_permissions(&unnamed, std::fs::Permissions::from_mode(0o600))?;
        fs_err::rename(&unnamed, path)?;
        let task = accept(listener, api.clone());
        api.spawn(task);
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Removes the socket file. The listener ends with [`Api::cancel`].
    pub(crate) fn close(&self) {
        match fs_err::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "removing the socket");
            }
            _ => {}
        }
    }
}

async fn accept(listener: UnixListener, api: Arc<Api>) {
    let cancelled = api.cancelled();
    loop {
        let accepted = tokio::select! {
            () = cancelled.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (task, cancelled) = (connection(stream, api.clone()), cancelled.clone());
                api.spawn(async move {
                    tokio::select! {
                        () = cancelled.cancelled() => (),
                        () = task => (),
                    }
                });
            }
            Err(error) => after_accept_error(&error).await,
        }
    }
}

/// A connection that died before it was accepted is nothing; any other failure means that the
/// process is out of something, and needs a moment.
pub(crate) async fn after_accept_error(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "accepting a connection");
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

async fn connection(stream: UnixStream, api: Arc<Api>) {
    let service = service_fn(move |request: Request<Incoming>| {
        // An operation that changes something runs to its end although the client hangs up, be it
        // right after its request: hyper would never poll the future of such a request.
        let answer = if request.method().is_safe() {
            route(api.clone(), request).left_future()
        } else {
            let operation = api.spawn(route(api.clone(), request));
            operation
                .map(|done| done.unwrap_or_else(|error| failed(&error)))
                .right_future()
        };
        answer.map(Ok::<_, Infallible>)
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection ended early");
    }
}

/// The answer of an operation that panicked.
fn failed(error: &JoinError) -> Response<Body> {
    tracing::error!(%error, "an operation of the Docker API failed");
    respond::error(&ApiError::internal("the operation failed"))
}
