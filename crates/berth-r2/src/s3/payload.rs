//! How the body of a request comes: as it is, or in signed chunks; and that it is what was signed.

use axum::body::Body as HttpBody;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use ring::digest;

use super::chunked;
use super::error::S3Error;
use super::head::Head;
use super::metadata::checksum_header;
use super::signature::Chain;
use crate::digest::{Algorithm, hex};
use crate::store::{Body, BodyError};

/// Bytes of a body that is XML.
const MOST_XML: usize = 4 << 20;

/// What was signed of the body.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// Nothing.
    Unsigned,
    /// Its SHA-256, in hexadecimal.
    Signed(String),
    /// It comes in chunks.
    Chunked(Box<Chunked>),
}

/// What is to be known of a body in chunks.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    /// Each chunk is signed.
    pub(super) chain: Option<Chain>,
    /// Something comes after the chunks.
    pub(super) trailer: bool,
    /// It is a checksum of this kind.
    pub(super) sum: Option<Algorithm>,
    /// Bytes in all chunks.
    pub(super) size: u64,
}

impl Payload {
    pub(super) fn parse(text: &str, head: &Head, chain: Chain) -> Result<Self, S3Error> {
        let (signed, trailer) = match text {
            "UNSIGNED-PAYLOAD" => return Ok(Self::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => (true, false),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => (true, true),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => (false, true),
            text if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                return Ok(Self::Signed(text.to_ascii_lowercase()));
            }
            other => {
                let text = format!("x-amz-content-sha256 `{other}` is not supported.");
                return Err(S3Error::bad("InvalidArgument", text));
            }
        };
        let size = head.header("x-amz-decoded-content-length");
        let size = size.and_then(|size| size.parse().ok()).ok_or_else(|| {
            let text = "You must provide x-amz-decoded-content-length.";
            S3Error::bad("MissingContentLength", text)
        })?;
        let named = head.header("x-amz-trailer").filter(|_| trailer);
        let sum = named
            .map(|name| {
                checksum_header(&name.trim().to_ascii_lowercase()).ok_or_else(|| {
                    let text = format!(
                        "The value specified in the x-amz-trailer header is not supported: {name}"
                    );
                    S3Error::bad("InvalidRequest", text)
                })
            })
            .transpose()?;
        Ok(Self::Chunked(Box::new(Chunked {
            chain: signed.then_some(chain),
            trailer,
            sum,
            size,
        })))
    }

    /// Bytes that come, if that is known.
    pub(super) fn size(&self, head: &Head) -> Option<u64> {
        match self {
            Self::Chunked(chunked) => Some(chunked.size),
            _ => head.header("content-length")?.parse().ok(),
        }
    }

    /// The checksum that comes after the bytes.
    pub(super) fn trailing_sum(&self) -> Option<Algorithm> {
        match self {
            Self::Chunked(chunked) => chunked.sum,
            _ => None,
        }
    }

    /// The bytes that were meant. The stream ends with an error if they are not what was signed.
    pub(super) fn open(self, body: HttpBody) -> Body {
        let broken = |error: axum::Error| BodyError::Broken(error.to_string());
        let body = body.into_data_stream();
        let body: Body = body.map(move |piece| piece.map_err(broken)).boxed();
        match self {
            Self::Unsigned => body,
            Self::Signed(expected) => compared(body, expected),
            Self::Chunked(chunked) => chunked::decode(body, *chunked),
        }
    }

    /// All of a body that is XML.
    pub(super) async fn collect(self, body: HttpBody) -> Result<Bytes, S3Error> {
        let mut stream = self.open(body);
        let mut bytes = BytesMut::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() > MOST_XML {
                let text = "Your request was too big.";
                return Err(S3Error::bad("MaxMessageLengthExceeded", text));
            }
        }
        Ok(bytes.freeze())
    }
}

/// A body that is compared with its SHA-256.
fn compared(body: Body, expected: String) -> Body {
    let context = digest::Context::new(&digest::SHA256);
    let state = Some((body, context, expected));
    futures_util::stream::unfold(state, |state| async move {
        let (mut body, mut context, expected) = state?;
        match body.next().await {
            Some(Ok(piece)) => {
                context.update(&piece);
                Some((Ok(piece), Some((body, context, expected))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let found = hex(context.finish().as_ref());
                let text =
                    "the provided 'x-amz-content-sha256' header does not match what was computed";
                (found != expected).then(|| (Err(BodyError::Refused(text.to_owned())), None))
            }
        }
    })
    .boxed()
}
