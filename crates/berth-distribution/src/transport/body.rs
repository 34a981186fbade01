//! A part of a file as the body of a request: of known length, counted as it goes.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream as _;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, Take};
use tokio_util::io::ReaderStream;

const CHUNK: usize = 128 * 1024;

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

struct FileBody {
    stream: ReaderStream<Take<tokio::fs::File>>,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl FilePart {
    pub(crate) async fn open(&self, sent: Arc<AtomicU64>) -> std::io::Result<reqwest::Body> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.seek(SeekFrom::Start(self.offset)).await?;
        Ok(reqwest::Body::wrap(FileBody {
            stream: ReaderStream::with_capacity(file.take(self.length), CHUNK),
            left: self.length,
            sent,
        }))
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match ready!(Pin::new(&mut self.stream).poll_next(context)) {
            Some(Ok(bytes)) => {
                let count = bytes.len() as u64;
                self.left = self.left.saturating_sub(count);
                self.sent.fetch_add(count, Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if self.left > 0 => {
                self.left = 0;
                let error = std::io::Error::other("the file became shorter");
                Poll::Ready(Some(Err(error)))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
