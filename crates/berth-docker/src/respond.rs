//! Building replies.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::error::ApiError;

/// Body of every reply.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A reply or the reason why there is none.
pub(crate) type Reply = Result<Response<Body>, ApiError>;

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    with_body(status, Empty::new().map_err(never).boxed_unsync())
}

/// A JSON reply; Docker ends every document with a newline.
pub(crate) fn json_reply(status: StatusCode, value: &Value) -> Response<Body> {
    let mut text = value.to_string();
    text.push('\n');
    typed(status, "application/json", text)
}

/// 200 with JSON.
pub(crate) fn ok(value: &Value) -> Response<Body> {
    json_reply(StatusCode::OK, value)
}

/// A body of a content type.
pub(crate) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = with_body(status, Full::new(body.into()).map_err(never).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 whose body arrives piece by piece; the headers leave at once.
pub(crate) fn streamed(
    content_type: &'static str,
    stream: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    failing_stream(content_type, stream.map(Ok))
}

/// [`streamed`]; after an error the connection ends, so that nobody takes the part for the whole.
pub(crate) fn failing_stream(
    content_type: &'static str,
    stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    let frames = stream.map(|bytes| bytes.map(Frame::data));
    let mut response = with_body(StatusCode::OK, StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// `{"message": …}`; 304 must not have a body.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    if error.status == StatusCode::NOT_MODIFIED {
        return empty(error.status);
    }
    json_reply(error.status, &json!({ "message": error.message }))
}

fn never(error: std::convert::Infallible) -> io::Error {
    match error {}
}

fn with_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
