//! The body of a request on its way to the upstream: counted, and not slower than allowed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// What a client sends.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Incoming,
    /// Bytes that may still come.
    left: u64,
    /// How long it may pause.
    pause: Duration,
    /// While it does.
    paused: Option<Pin<Box<Sleep>>>,
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body cannot be read")]
    Read(#[source] hyper::Error),
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body takes longer than allowed")]
    TooSlow,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, most: Option<u64>, pause: Duration) -> Self {
        Self {
            incoming,
            left: most.unwrap_or(u64::MAX),
            pause,
            paused: None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(context) else {
            let pause = body.pause;
            let paused = body
                .paused
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            return match paused.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::TooSlow))),
                Poll::Pending => Poll::Pending,
            };
        };
        body.paused = None;
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Read(error)))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match body.left.checked_sub(bytes as u64) {
            Some(left) => body.left = left,
            None => return Poll::Ready(Some(Err(BodyError::TooLarge))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
