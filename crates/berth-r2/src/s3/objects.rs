//! Objects: get, head, put, delete.

use axum::body::Body as HttpBody;
use axum::response::{IntoResponse as _, Response};
use futures_util::TryStreamExt as _;
use http::{HeaderValue, StatusCode, header};

use super::error::S3Error;
use super::metadata::{
    checksum_of_word, conditions, expected, headers, metadata, put_sums, set_length, unquoted,
};
use super::xml::{NAMESPACE, Xml, each, leaves};
use super::{Call, Service};
use crate::range::{Range, Resolved};
use crate::store::{Found, Put};
use crate::{Object, R2Error};

/// Keys of one deletion.
const MOST_DELETED: usize = 1000;

impl Call {
    /// The bytes that are wanted of an object.
    fn range(&self, object_matches: impl Fn(&str) -> bool) -> Range {
        let range = self.head.header("range").and_then(Range::parse);
        // `If-Range`: all of it, unless it is what the client has some of.
        let same = self.head.header("if-range").is_none_or(object_matches);
        range.filter(|_| same).unwrap_or_default()
    }

    fn wants_sums(&self) -> bool {
        let mode = self.head.header("x-amz-checksum-mode");
        mode.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
    }

    fn answer(&self, object: &Object, range: Resolved, body: HttpBody) -> Response {
        let mut response = Response::new(body);
        let partial = range.length != object.size;
        let mut told = headers(object, &self.head);
        set_length(&mut told, range.length);
        if partial {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = (range.offset + range.length).saturating_sub(1);
            let value = format!("bytes {}-{last}/{}", range.offset, object.size);
            if let Ok(value) = HeaderValue::from_str(&value) {
                told.insert(header::CONTENT_RANGE, value);
            }
        } else if self.wants_sums() {
            put_sums(&mut told, &object.sums);
        }
        *response.headers_mut() = told;
        response
    }
}

impl Service {
    pub(super) async fn get_object(&self, call: &Call) -> Result<Response, S3Error> {
        let (bucket, key) = (call.head.bucket(), call.head.key());
        let mut range = call.range(|_| true);
        if range != Range::All && call.head.header("if-range").is_some() {
            let object = self.store.head(bucket, key).await?;
            range = call.range(|tag| unquoted(tag) == object.etag);
        }
        let conditions = conditions(&call.head, "");
        match self.store.get(bucket, key, conditions, range).await? {
            Found::Whole(object, range, stream) => {
                let stream = stream.map_err(|failure| {
                    let error = berth_error::chain(&failure);
                    tracing::error!(error, "an object cannot be read");
                    std::io::Error::other(failure)
                });
                let mut response = call.answer(&object, range, HttpBody::from_stream(stream));
                // All of the bytes, asked for as a range, is a range still.
                let asked = call.head.header("range").and_then(Range::parse);
                if asked.is_some() && range.length == object.size && object.size > 0 {
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                    let value = format!("bytes 0-{}/{}", object.size - 1, object.size);
                    if let Ok(value) = HeaderValue::from_str(&value) {
                        response.headers_mut().insert(header::CONTENT_RANGE, value);
                    }
                }
                Ok(response)
            }
            Found::Unmet { object, unchanged } => Err(unmet(*object, unchanged)),
        }
    }

    pub(super) async fn head_object(&self, call: &Call) -> Result<Response, S3Error> {
        let object = self.store.head(call.head.bucket(), call.head.key()).await?;
        let conditions = conditions(&call.head, "");
        if let Err(found) = conditions.check(Some((&object.etag, object.uploaded))) {
            let unchanged = found == crate::condition::Unmet::Unchanged;
            return Err(unmet(object, unchanged));
        }
        let range = call.range(|tag| unquoted(tag) == object.etag);
        let range = range.resolve(object.size)?;
        Ok(call.answer(&object, range, HttpBody::empty()))
    }

    pub(super) async fn put_object(&self, call: Call, body: HttpBody) -> Result<Response, S3Error> {
        if call.head.header("x-amz-copy-source").is_some() {
            return self.copy_object(&call).await;
        }
        let bucket = self.store.bucket(call.head.bucket()).await?;
        let mut compute: Vec<_> = call.payload.trailing_sum().into_iter().collect();
        if let Some(word) = call.head.header("x-amz-sdk-checksum-algorithm") {
            compute.push(checksum_of_word(word)?);
        }
        let put = Put {
            metadata: metadata(&call.head, bucket.class)?,
            conditions: conditions(&call.head, ""),
            expected: expected(&call.head)?,
            compute,
            size: call.payload.size(&call.head),
        };
        let Call { head, payload, .. } = call;
        let body = payload.open(body);
        let object = self.store.put(head.bucket(), head.key(), put, body).await?;
        Ok(stored(&object))
    }

    pub(super) async fn delete_object(&self, call: &Call) -> Result<Response, S3Error> {
        let keys = vec![call.head.key().to_owned()];
        self.store.delete(call.head.bucket(), keys).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(super) async fn delete_objects(
        &self,
        call: Call,
        body: HttpBody,
    ) -> Result<Response, S3Error> {
        let Call { head, payload, .. } = call;
        let document = payload.collect(body).await?;
        let leaves = leaves(&document)?;
        let quiet = leaves
            .iter()
            .any(|(name, text)| name == "Quiet" && text == "true");
        let mut keys = Vec::new();
        for object in each(&leaves, "Object") {
            keys.extend(
                object
                    .into_iter()
                    .filter(|(name, _)| name == "Key")
                    .map(|(_, key)| key),
            );
        }
        if keys.is_empty() || keys.len() > MOST_DELETED {
            let text = format!("Between 1 and {MOST_DELETED} objects can be deleted at once.");
            return Err(S3Error::bad("MalformedXML", text));
        }
        let mut xml = Xml::new("DeleteResult", Some(NAMESPACE));
        let (good, bad): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| crate::is_key(key));
        self.store.delete(head.bucket(), good.clone()).await?;
        for key in good.iter().filter(|_| !quiet) {
            xml.within("Deleted", |xml| {
                xml.text("Key", key);
            });
        }
        let error = R2Error::Key;
        for key in &bad {
            xml.within("Error", |xml| {
                xml.text("Key", key).text("Code", error.s3_code());
                xml.text("Message", &error);
            });
        }
        Ok(xml.response())
    }

    /// What is set for an object: nothing but what every object has.
    pub(super) async fn object_setting(
        &self,
        call: &Call,
        name: &str,
    ) -> Result<Response, S3Error> {
        self.store.head(call.head.bucket(), call.head.key()).await?;
        match name {
            "acl" => Ok(super::buckets::private()),
            "tagging" => {
                let mut xml = Xml::new("Tagging", Some(NAMESPACE));
                xml.within("TagSet", |_| {});
                Ok(xml.response())
            }
            _ => Err(S3Error::not_implemented(&call.head)),
        }
    }
}

fn unmet(object: Object, unchanged: bool) -> S3Error {
    if unchanged {
        S3Error::NotModified(object.etag)
    } else {
        R2Error::Precondition(Some(Box::new(object))).into()
    }
}

/// The answer of something that was written.
pub(super) fn stored(object: &Object) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", object.etag)) {
        headers.insert(header::ETAG, etag);
    }
    put_sums(headers, &object.sums);
    response
}
