//! Static assets on their way here, before the version that has them.

use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_control::assets::{Announced, AnnouncedFile};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::settings::parse;
use super::workers::Named;
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::{bearer, blocking};

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewSession {
    /// Path, encoded as in a URL → file.
    manifest: std::collections::BTreeMap<String, File>,
}

#[derive(Deserialize, JsonSchema)]
struct File {
    /// 32 hexadecimal digits by which the client knows the content.
    hash: String,
    /// Bytes.
    size: u64,
}

/// `POST scripts/{name}/assets-upload-session`: which files are missing.
pub(super) async fn begin(State(api): State<Api>, Path((_, name)): Named, body: Bytes) -> Answer {
    let new: NewSession = parse(&body)?;
    let files = new.manifest.into_iter();
    let announced: Announced = files
        .map(|(path, File { hash, size })| (path, AnnouncedFile { hash, size }))
        .collect();
    let control = api.control.clone();
    let session = blocking(move || control.begin_assets(&name, announced)).await?;
    result(json!({"jwt": session.token, "buckets": session.buckets}))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Encoding {
    /// Whether the parts are base64.
    #[serde(default)]
    base64: bool,
}

/// `POST assets/upload` with the session's token in place of the API's: a part for each file, named by
/// its hash.
pub(super) async fn upload(
    State(api): State<Api>,
    Query(Encoding { base64 }): Query<Encoding>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Answer {
    let broken = |error: MultipartError| {
        let text = format!("the files cannot be read: {}", error.body_text());
        Failure::new(error.status(), 10001, text)
    };
    let token = bearer(&headers).unwrap_or_default().to_owned();
    let mut files = Vec::new();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let hash = field.name().unwrap_or_default().to_owned();
        let sent = field.bytes().await.map_err(broken)?;
        let bytes = if base64 {
            let decoded = STANDARD.decode(&sent);
            decoded.map_err(|_| Failure::bad_request(format!("the file `{hash}` is no base64")))?
        } else {
            sent.to_vec()
        };
        files.push((hash, bytes));
    }
    let control = api.control.clone();
    let complete = blocking(move || control.put_assets(&token, &files)).await?;
    // wrangler takes the token from whichever answer has it.
    result(match complete {
        Some(token) => json!({"jwt": token}),
        None => json!({}),
    })
}
