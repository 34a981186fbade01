//! Connections to one upstream, kept for the next request.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::Upstream;
use crate::request_body::{BodyError, RequestBody};

/// workerd closes a connection that has been idle for 5 s; one that old is not worth the risk.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Idle connections that are kept.
const IDLE_MOST: usize = 256;
/// How long a connection may take to notice that its last response has been read.
const SETTLE_LIMIT: Duration = Duration::from_millis(5);

/// A connection on which a request can be sent.
pub(crate) type Connection = SendRequest<RequestBody>;

/// Connections to one upstream.
#[derive(Debug)]
pub(crate) struct Pool {
    upstream: Upstream,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// Why a request could not be sent or answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// Nobody listens.
    #[error("the Worker's runtime cannot be reached")]
    Connect(#[source] io::Error),
    /// The client went away before it had sent the whole body; the connection was closed for it.
    #[error("the client went away in the middle of its request")]
    Abandoned(#[source] hyper::Error),
    /// The client's body breaks the rules of HTTP; the connection was closed for it.
    #[error("the request's body is malformed")]
    Malformed(#[source] hyper::Error),
    /// The client's body is larger than allowed; the connection was closed for it.
    #[error("the request's body is larger than allowed")]
    TooLarge,
    /// The client's body did not come in time; the connection was closed for it.
    #[error("the request's body did not come in time")]
    TooSlow,
    /// The connection broke before the response's head.
    #[error("the Worker's runtime closed the connection before it answered")]
    Broken(#[source] hyper::Error),
}

impl UpstreamError {
    /// Why sending failed: a body that cannot be read is the client's doing, the rest is the
    /// upstream's. hyper wraps the former into an error of its user, which is us.
    fn of(error: hyper::Error) -> Self {
        if !error.is_user() {
            return Self::Broken(error);
        }
        let causes =
            std::iter::successors(std::error::Error::source(&error), |error| error.source());
        match causes
            .clone()
            .find_map(|cause| cause.downcast_ref::<BodyError>())
        {
            Some(BodyError::TooLarge) => return Self::TooLarge,
            Some(BodyError::TooSlow) => return Self::TooSlow,
            Some(BodyError::Read(_)) | None => {}
        }
        let malformed = causes
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| {
                matches!(
                    cause.kind(),
                    ErrorKind::InvalidData | ErrorKind::InvalidInput
                )
            });
        if malformed {
            Self::Malformed(error)
        } else {
            Self::Abandoned(error)
        }
    }
}

/// A request that was not answered, and the request itself if nothing of it has been sent.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: UpstreamError,
    pub(crate) unsent: Option<Request<RequestBody>>,
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        Self {
            error,
            unsent: None,
        }
    }
}

impl Pool {
    pub(crate) fn new(upstream: Upstream) -> Arc<Self> {
        Arc::new(Self {
            upstream,
            idle: Mutex::default(),
        })
    }

    /// Sends a request and waits for the head of its response. A kept connection that turns out to
    /// be closed before anything of the request was written is replaced by a new one.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), Failed> {
        while let Some(mut connection) = self.take().await {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(UpstreamError::of(error.into_error()).into()),
                },
            }
        }
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                return Err(Failed {
                    error,
                    unsent: Some(request),
                });
            }
        };
        let response = connection.send_request(request).await;
        Ok((response.map_err(UpstreamError::of)?, connection))
    }

    /// Keeps a connection whose last response has been read to its end.
    pub(crate) fn keep(&self, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MOST {
            idle.push((connection, Instant::now()));
        }
    }

    /// The connection used last that is still good.
    async fn take(&self) -> Option<Connection> {
        loop {
            let kept = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let (mut connection, since) = kept?;
            if since.elapsed() > IDLE_LIMIT || connection.is_closed() {
                continue;
            }
            if connection.is_ready() {
                return Some(connection);
            }
            let ready = tokio::time::timeout(SETTLE_LIMIT, connection.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, UpstreamError> {
        match &self.upstream {
            Upstream::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                let stream = stream.map_err(UpstreamError::Connect)?;
                stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
                handshake(stream).await
            }
            Upstream::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                handshake(stream.map_err(UpstreamError::Connect)?).await
            }
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Connection, UpstreamError> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(UpstreamError::Broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(%error, "a connection to the upstream ended");
        }
    });
    Ok(sender)
}
