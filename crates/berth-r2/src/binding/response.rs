//! What workerd is answered: `R2HeadResponse` and the like, in front of the bytes.

use axum::body::Body as HttpBody;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::METADATA_SIZE;
use super::request::Fields;
use crate::R2Error;
use crate::blobs::BlobStream;
use crate::digest::{Algorithm, hex};
use crate::list::Listing;
use crate::object::Object;
use crate::range::Resolved;

const ERROR: &str = "cf-r2-error";

/// What goes wrong.
pub(super) struct Failed(R2Error);

impl From<R2Error> for Failed {
    fn from(error: R2Error) -> Self {
        Self(error)
    }
}

impl Failed {
    /// The code and the message are in a header; the object, if there is one, is the body.
    pub(super) fn response(self) -> Response {
        if let R2Error::Storage(failure) = &self.0 {
            let error = berth_error::chain(failure);
            tracing::error!(error, "a bucket fails");
        }
        let error = json!({
            "version": 1, "v4code": self.0.v4_code(), "message": self.0.to_string(),
        });
        let mut response = match &self.0 {
            R2Error::Precondition(Some(object)) => self::object(object, None),
            _ => Response::default(),
        };
        *response.status_mut() = self.0.status();
        // A key may be in it: what is not ASCII is written as JSON can.
        let error = ascii(&error.to_string());
        if let Ok(error) = HeaderValue::from_str(&error) {
            response.headers_mut().insert(ERROR, error);
        }
        response
    }
}

fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut units = [0; 2];
    for char in json.chars() {
        if char.is_ascii() {
            text.push(char);
        } else {
            for unit in char.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

fn describe(object: &Object, fields: Fields, range: Option<Resolved>) -> Value {
    let mut checksums = Map::new();
    for (name, algorithm) in [
        ("0", Algorithm::Md5),
        ("1", Algorithm::Sha1),
        ("2", Algorithm::Sha256),
        ("3", Algorithm::Sha384),
        ("4", Algorithm::Sha512),
    ] {
        if let Some(sum) = object.sums.get(algorithm) {
            checksums.insert(name.to_owned(), hex(sum).into());
        }
    }
    let mut value = json!({
        "name": object.key,
        "version": object.version,
        "size": object.size,
        "etag": object.etag,
        "uploaded": object.uploaded,
        "storageClass": object.metadata.class.word(),
        "checksums": checksums,
    });
    if fields.http {
        value["httpFields"] = json!(object.metadata.http);
    }
    if fields.custom {
        let custom = object.metadata.custom.iter();
        let custom: Vec<Value> = custom.map(|(k, v)| json!({ "k": k, "v": v })).collect();
        value["customFields"] = custom.into();
    }
    if let Some(range) = range {
        value["range"] = json!({ "offset": range.offset, "length": range.length });
    }
    value
}

/// Only JSON.
pub(super) fn json(value: &Value) -> Response {
    with(value, HttpBody::from)
}

/// What is known about an object.
pub(super) fn object(object: &Object, range: Option<Resolved>) -> Response {
    json(&describe(object, Fields::ALL, range))
}

/// An object and bytes of it.
pub(super) fn stream(object: &Object, range: Resolved, bytes: BlobStream) -> Response {
    let value = describe(object, Fields::ALL, Some(range));
    let mut length = 0;
    let mut response = with(&value, |json| {
        length = json.len() as u64 + range.length;
        let bytes = bytes.map_err(|failure| {
            let error = berth_error::chain(&failure);
            tracing::error!(error, "an object cannot be read");
            std::io::Error::other(failure)
        });
        let json = futures_util::stream::iter([Ok(Bytes::from(json))]);
        HttpBody::from_stream(json.chain(bytes))
    });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A page.
pub(super) fn listing(page: &Listing, fields: Fields) -> Response {
    let objects = page.objects.iter();
    let objects: Vec<Value> = objects.map(|it| describe(it, fields, None)).collect();
    let mut value = json!({
        "objects": objects,
        "truncated": page.next.is_some(),
        "delimitedPrefixes": page.prefixes,
    });
    if let Some(next) = &page.next {
        value["cursor"] = next.cursor().into();
    }
    json(&value)
}

fn with(value: &Value, body: impl FnOnce(String) -> HttpBody) -> Response {
    let json = value.to_string();
    let size = HeaderValue::from(json.len());
    let mut response = Response::new(body(json));
    let headers = response.headers_mut();
    headers.insert(METADATA_SIZE, size);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
