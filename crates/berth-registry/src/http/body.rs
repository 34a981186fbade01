//! A request's body as a stream that ends by itself: when it is too long, too slow, or when a newer
//! request wants the upload.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, Code};
use crate::registry::Inner;
use crate::storage::{BodyError, UploadStream};

/// What bounds a body.
pub(super) struct Bounds {
    pub(super) registry: Arc<Inner>,
    /// Bytes that the upload has already.
    pub(super) before: u64,
    /// Bytes that were counted ahead; more are counted as they come.
    pub(super) counted: Arc<Counted>,
    /// Bytes that the request said it has.
    pub(super) declared: Option<u64>,
    /// Ends it early.
    pub(super) ended: CancellationToken,
}

/// Bytes of one request in [`crate::limits::Usage`].
#[derive(Debug, Default)]
pub(super) struct Counted(std::sync::atomic::AtomicU64);

impl Counted {
    pub(super) fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0
            .fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

struct Reader {
    body: BodyDataStream,
    bounds: Bounds,
    received: u64,
    timeout: Duration,
}

/// The body, within its bounds.
pub(super) fn bounded(body: Body, bounds: Bounds) -> UploadStream {
    let reader = Reader {
        body: body.into_data_stream(),
        received: 0,
        timeout: bounds.registry.options.body_timeout,
        bounds,
    };
    let steps = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Some(Ok(piece)) => Some((Ok(piece), Some(reader))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    });
    steps.boxed()
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let ended = self.bounds.ended.clone();
        let piece = tokio::select! {
            biased;
            () = ended.cancelled() => return Some(Err(BodyError::Broken)),
            piece = next_piece(&mut self.body, self.timeout) => piece?,
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        self.received += piece.len() as u64;
        Some(self.check().await.map(|()| piece))
    }

    async fn check(&mut self) -> Result<(), BodyError> {
        if self
            .bounds
            .declared
            .is_some_and(|declared| self.received > declared)
        {
            return Err(BodyError::Refused(longer_than_declared()));
        }
        let limits = &self.bounds.registry.options.limits;
        limits
            .check_image(self.bounds.before.saturating_add(self.received))
            .map_err(BodyError::Refused)?;
        let counted = self.bounds.counted.get();
        if self.received > counted {
            let more = self.received - counted;
            let taken = self.bounds.registry.take(more).await;
            taken.map_err(BodyError::Refused)?;
            self.bounds.counted.add(more);
        }
        Ok(())
    }
}

fn longer_than_declared() -> ApiError {
    ApiError::bad(
        Code::SizeInvalid,
        "the body is longer than `Content-Range` says",
    )
}

/// The next bytes of a body; silence for too long is an error.
async fn next_piece(
    body: &mut BodyDataStream,
    timeout: Duration,
) -> Option<Result<Bytes, BodyError>> {
    match tokio::time::timeout(timeout, Pin::new(body).next()).await {
        Ok(Some(Ok(piece))) => Some(Ok(piece)),
        Ok(Some(Err(error))) => {
            tracing::debug!(%error, "a body broke off");
            Some(Err(BodyError::Broken))
        }
        Ok(None) => None,
        Err(_) => Some(Err(BodyError::Refused(too_slow()))),
    }
}

pub(super) fn too_slow() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        Code::BlobUploadInvalid,
        "no bytes came for too long; what was sent is kept, resume from there",
    )
}

/// A whole body that fits into memory.
pub(super) async fn collect(
    body: Body,
    limit: usize,
    timeout: Duration,
    too_long: impl Fn() -> ApiError,
) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = next_piece(&mut stream, timeout).await {
        let piece = piece.map_err(|error| match error {
            BodyError::Broken => ApiError::bad(Code::SizeInvalid, "the body broke off"),
            BodyError::Refused(error) => error,
        })?;
        if whole.len() + piece.len() > limit {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}
