//! Bodies of responses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::gate::Pass;
use crate::pool::{Connection, Pool};

/// A response's body: the gateway's own text or the upstream's stream.
pub(crate) enum ProxyBody {
    /// Text of the gateway.
    Own(Full<Bytes>),
    /// What the upstream sends.
    Streamed {
        /// The stream.
        incoming: Incoming,
        /// Held until the stream has been passed on.
        _pass: Option<Pass>,
        /// Goes back to the pool if the stream was read to its end.
        lease: Lease,
    },
}

/// A connection in use.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Pool>,
    pub(crate) connection: Option<Connection>,
    pub(crate) finished: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // An unfinished response leaves the connection unusable: dropping it closes it, and that
        // is how workerd learns that the client has gone.
        if self.finished
            && let Some(connection) = self.connection.take()
        {
            self.pool.keep(connection);
        }
    }
}

impl ProxyBody {
    pub(crate) fn text(text: String) -> Self {
        Self::Own(Full::new(Bytes::from(text)))
    }

    pub(crate) fn empty() -> Self {
        Self::Own(Full::default())
    }

    pub(crate) fn streamed(incoming: Incoming, pass: Option<Pass>, mut lease: Lease) -> Self {
        lease.finished = incoming.is_end_stream();
        Self::Streamed {
            incoming,
            _pass: pass,
            lease,
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Own(text) => Pin::new(text)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Streamed {
                incoming, lease, ..
            } => {
                let frame = Pin::new(&mut *incoming).poll_frame(context);
                if matches!(frame, Poll::Ready(None)) || incoming.is_end_stream() {
                    lease.finished = true;
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_end_stream(),
            Self::Streamed { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => text.size_hint(),
            Self::Streamed { incoming, .. } => incoming.size_hint(),
        }
    }
}
