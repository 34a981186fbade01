//! Objects of R2 buckets: `wrangler r2 object`. Bytes pass as they are, in both directions.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use berth_r2::{BodyError, Conditions, Found, HttpMetadata, Metadata, Put, Range};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::json;

use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;

/// Account, bucket, key.
type Named = Path<(String, String, String)>;

pub(in crate::routes) async fn get(
    State(api): State<Api>,
    Path((_, bucket, key)): Named,
) -> Answer {
    let store = api.control.r2();
    let found = store
        .get(&bucket, &key, Conditions::default(), Range::All)
        .await?;
    let Found::Whole(object, _, stream) = found else {
        return Err(Failure::bad_request("the object has changed"));
    };
    let bytes = stream.map_err(|failure| {
        let error = berth_error::chain(&failure);
        tracing::error!(error, "an object cannot be read");
        std::io::Error::other(failure)
    });
    let mut response = Response::new(Body::from_stream(bytes));
    let headers = response.headers_mut();
    let http = &object.metadata.http;
    let etag = Some(format!("\"{}\"", object.etag));
    let expires = http.cache_expiry.map(http_time);
    for (name, value) in [
        (header::CONTENT_TYPE, &http.content_type),
        (header::CONTENT_LANGUAGE, &http.content_language),
        (header::CONTENT_DISPOSITION, &http.content_disposition),
        (header::CONTENT_ENCODING, &http.content_encoding),
        (header::CACHE_CONTROL, &http.cache_control),
        (header::EXPIRES, &expires),
        (header::ETAG, &etag),
    ] {
        let value = value
            .as_ref()
            .map(|value| HeaderValue::from_bytes(value.as_bytes()));
        if let Some(Ok(value)) = value {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(object.size));
    Ok(response)
}

fn http_time(milliseconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(milliseconds);
    httpdate::fmt_http_date(time)
}

pub(in crate::routes) async fn put(
    State(api): State<Api>,
    Path((_, bucket, key)): Named,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let store = api.control.r2();
    let text = |name: HeaderName| {
        let value = headers.get(name)?;
        String::from_utf8(value.as_bytes().to_vec()).ok()
    };
    let class = text(HeaderName::from_static("cf-r2-storage-class"));
    let class = match class {
        Some(word) => super::class(&word)?,
        None => store.bucket(&bucket).await?.class,
    };
    let expires = text(header::EXPIRES).and_then(|value| httpdate::parse_http_date(&value).ok());
    let expires = expires.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let http = HttpMetadata {
        content_type: text(header::CONTENT_TYPE),
        content_language: text(header::CONTENT_LANGUAGE),
        content_disposition: text(header::CONTENT_DISPOSITION),
        content_encoding: text(header::CONTENT_ENCODING),
        cache_control: text(header::CACHE_CONTROL),
        cache_expiry: expires.and_then(|since| u64::try_from(since.as_millis()).ok()),
    };
    let metadata = Metadata {
        http,
        class,
        ..Metadata::default()
    };
    let put = Put {
        metadata,
        size: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        ..Put::default()
    };
    let broken = |error: axum::Error| BodyError::Broken(error.to_string());
    let bytes = body.into_data_stream().map_err(broken).boxed();
    let object = store.put(&bucket, &key, put, bytes).await?;
    result(json!({
        "key": object.key,
        "etag": object.etag,
        "size": object.size.to_string(),
        "version": object.version,
        "storage_class": object.metadata.class.word(),
        "uploaded": berth_control::clock::of_unix_ms(object.uploaded),
    }))
}

pub(in crate::routes) async fn delete(
    State(api): State<Api>,
    Path((_, bucket, key)): Named,
) -> Answer {
    api.control.r2().delete(&bucket, vec![key.clone()]).await?;
    result(json!({ "key": key }))
}
