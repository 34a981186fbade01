//! KV namespaces and what is in them: the data of live Workers.

use axum::extract::multipart::Multipart;
use axum::extract::{FromRequest as _, Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_control::resources::Namespace;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::settings::parse;
use super::workers::Named;
use crate::Api;
use crate::data::{administer, ask, check, encoded, json as answered, request};
use crate::envelope::{Answer, paged, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// Where the data plane keeps metadata of a value.
const METADATA: &str = "CF-KV-Metadata";
/// Bytes of a key.
const LONGEST_KEY: usize = 512;
/// Bytes of a value, and of its metadata.
const LARGEST_VALUE: usize = 25 << 20;
const LARGEST_METADATA: usize = 1024;
/// Seconds that a value lives at least.
const SHORTEST_LIFE: u64 = 60;
/// Keys of one bulk request.
const MOST_WRITTEN: usize = 10_000;
const MOST_READ: usize = 100;

/// A namespace and a key.
type Keyed = Path<(String, String, String)>;

fn described(namespace: &Namespace) -> Value {
    json!({"id": namespace.id, "title": namespace.title, "supports_url_encoding": true})
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Page {
    page: Option<usize>,
    per_page: Option<usize>,
}

/// `GET namespaces`: by title.
pub(super) async fn list(State(api): State<Api>, Query(page): Query<Page>) -> Answer {
    let control = api.control.clone();
    let all = blocking(move || control.kv_namespaces()).await?;
    let all = all.iter().map(described).collect();
    paged(all, page.page, page.per_page)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Titled {
    title: String,
}

/// `POST namespaces`.
pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let new: Titled = parse(&body)?;
    let control = api.control.clone();
    let made = blocking(move || control.create_kv_namespace(&new.title)).await?;
    result(described(&made))
}

/// `GET namespaces/{id}`.
pub(super) async fn one(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    result(described(&find(&api, &id).await?))
}

/// `PUT namespaces/{id}`: another title.
pub(super) async fn rename(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    let new: Titled = parse(&body)?;
    let control = api.control.clone();
    let named = blocking(move || control.rename_kv_namespace(&id, &new.title)).await?;
    result(described(&named))
}

#[derive(Deserialize)]
struct Forgotten {
    directory: String,
}

/// `DELETE namespaces/{id}`: with all that is in it.
pub(super) async fn delete(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let control = api.control.clone();
    let gone = blocking(move || control.delete_kv_namespace(&id)).await?;
    let what = ("kv", "forget", gone.id.as_str());
    let forgotten: Forgotten = administer(&api, what, Method::POST, "").await?;
    if forgotten
        .directory
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
    {
        let values = api
            .runtime
            .data_directory()
            .join("blobs")
            .join(forgotten.directory);
        match tokio::task::spawn_blocking(move || std::fs::remove_dir_all(values)).await {
            Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "values of a deleted KV namespace stay behind");
            }
            _ => {}
        }
    }
    result(json!({}))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Keys {
    prefix: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET keys`.
pub(super) async fn keys(
    State(api): State<Api>,
    Path((_, id)): Named,
    Query(query): Query<Keys>,
) -> Answer {
    find(&api, &id).await?;
    let mut uri = format!(
        "/?prefix={}",
        encoded(query.prefix.as_deref().unwrap_or_default())
    );
    if let Some(cursor) = query.cursor.filter(|cursor| !cursor.is_empty()) {
        uri.push_str(&format!("&cursor={}", encoded(&cursor)));
    }
    if let Some(limit) = query.limit {
        uri.push_str(&format!("&key_count_limit={limit}"));
    }
    let response = ask(&api, &["kv", &id], request(Method::GET, &uri, "")?).await?;
    let page: Map<String, Value> = answered(&response)?;
    let mut keys = page.get("keys").cloned().unwrap_or_else(|| json!([]));
    for key in keys.as_array_mut().into_iter().flatten() {
        // It is kept as the text that it was written as.
        let metadata = key.get("metadata").and_then(Value::as_str);
        if let Some(metadata) = metadata.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            key["metadata"] = metadata;
        }
    }
    let count = keys.as_array().map_or(0, Vec::len);
    let cursor = page.get("cursor").cloned().unwrap_or_else(|| json!(""));
    let body = json!({
        "success": true, "errors": [], "messages": [], "result": keys,
        "result_info": {"count": count, "cursor": cursor},
    });
    Ok(axum::Json(body).into_response())
}

/// `GET values/{key}`: the bytes.
pub(super) async fn get(State(api): State<Api>, Path((_, id, key)): Keyed) -> Answer {
    let (value, _) = read(&api, &id, &key).await?;
    let bytes = HeaderValue::from_static("application/octet-stream");
    let mut response = Response::new(value.into());
    response.headers_mut().insert(header::CONTENT_TYPE, bytes);
    Ok(response)
}

/// `GET metadata/{key}`.
pub(super) async fn metadata(State(api): State<Api>, Path((_, id, key)): Keyed) -> Answer {
    let (_, metadata) = read(&api, &id, &key).await?;
    result(metadata)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Expires {
    expiration: Option<u64>,
    expiration_ttl: Option<u64>,
}

/// `PUT values/{key}`: the body, or the parts `value` and `metadata` of a form.
pub(super) async fn put(
    State(api): State<Api>,
    Path((_, id, key)): Keyed,
    Query(expires): Query<Expires>,
    request_: Request,
) -> Answer {
    find(&api, &id).await?;
    check_key(&key)?;
    let (value, metadata) = sent(request_).await?;
    let mut uri = format!("/{}", encoded(&key));
    if let Some(time) = expires.expiration {
        uri.push_str(&format!("?expiration={time}"));
    } else if let Some(seconds) = expires.expiration_ttl {
        uri.push_str(&format!("?expiration_ttl={seconds}"));
    }
    let mut request = request(Method::PUT, &uri, value)?;
    if let Some(metadata) = metadata {
        let value = HeaderValue::from_bytes(escaped(&metadata).as_bytes())
            .map_err(|_| Failure::bad_request("the metadata cannot be stored"))?;
        request.headers_mut().insert(METADATA, value);
    }
    check(&ask(&api, &["kv", &id], request).await?)?;
    result(json!({}))
}

/// `DELETE values/{key}`.
pub(super) async fn remove(State(api): State<Api>, Path((_, id, key)): Keyed) -> Answer {
    find(&api, &id).await?;
    check_key(&key)?;
    let request = request(Method::DELETE, &format!("/{}", encoded(&key)), "")?;
    check(&ask(&api, &["kv", &id], request).await?)?;
    result(json!({}))
}

/// One of many.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Pair {
    key: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(default)]
    base64: bool,
}

impl Pair {
    fn check(&self) -> Result<(), Failure> {
        check_key(&self.key)?;
        let refused = |text: &str| {
            let key = &self.key;
            Err(Failure::bad_request(format!("the value of `{key}` {text}")))
        };
        if self.base64 && STANDARD.decode(&self.value).is_err() {
            return refused("is not base64");
        }
        if self.value.len() > LARGEST_VALUE {
            return refused("has more than 25 MiB");
        }
        let metadata = self.metadata.as_ref().map(escaped);
        if metadata.is_some_and(|metadata| metadata.len() > LARGEST_METADATA) {
            return refused("has more than 1024 bytes of metadata");
        }
        let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let soon = soon.map_or(0, |now| now.as_secs() + SHORTEST_LIFE);
        if self
            .expiration_ttl
            .is_some_and(|seconds| seconds < SHORTEST_LIFE)
            || self.expiration.is_some_and(|time| time < soon)
        {
            return refused("would expire in less than 60 s");
        }
        Ok(())
    }
}

/// `PUT bulk`. All are checked before the first is written.
pub(super) async fn put_many(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    find(&api, &id).await?;
    let pairs: Vec<Pair> = parse(&body)?;
    few(pairs.len(), MOST_WRITTEN)?;
    for pair in &pairs {
        pair.check()?;
    }
    let checked = serde_json::to_vec(&pairs).map_err(Failure::internal)?;
    let what = ("kv", "bulk", id.as_str());
    let _: Value = administer(&api, what, Method::PUT, checked).await?;
    result(json!({
        "successful_key_count": pairs.len(), "unsuccessful_keys": [],
    }))
}

/// `DELETE bulk`, `POST bulk/delete`.
pub(super) async fn remove_many(
    State(api): State<Api>,
    Path((_, id)): Named,
    body: Bytes,
) -> Answer {
    find(&api, &id).await?;
    let keys: Vec<String> = parse(&body)?;
    few(keys.len(), MOST_WRITTEN)?;
    for key in &keys {
        check_key(key)?;
    }
    let what = ("kv", "bulk", id.as_str());
    let _: Value = administer(&api, what, Method::DELETE, body).await?;
    result(json!({
        "successful_key_count": keys.len(), "unsuccessful_keys": [],
    }))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Wanted {
    keys: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "withMetadata", default)]
    with_metadata: bool,
}

/// `POST bulk/get`.
pub(super) async fn get_many(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    find(&api, &id).await?;
    let wanted: Wanted = parse(&body)?;
    let mut values = Map::new();
    for keys in wanted.keys.chunks(MOST_READ) {
        let asked = json!({
            "keys": keys,
            "type": wanted.kind.as_deref().unwrap_or("text"),
            "withMetadata": wanted.with_metadata,
        });
        let request = request(Method::POST, "/bulk/get", asked.to_string())?;
        let response = ask(&api, &["kv", &id], request).await?;
        let found: Map<String, Value> = answered(&response)?;
        values.extend(found);
    }
    result(json!({"values": values}))
}

async fn find(api: &Api, id: &str) -> Result<Namespace, Failure> {
    let (control, id) = (api.control.clone(), id.to_owned());
    blocking(move || control.kv_namespace(&id)).await
}

async fn read(api: &Api, id: &str, key: &str) -> Result<(Bytes, Value), Failure> {
    find(api, id).await?;
    check_key(key)?;
    let request = request(Method::GET, &format!("/{}", encoded(key)), "")?;
    let response = ask(api, &["kv", id], request).await?;
    if response.status() == StatusCode::NOT_FOUND {
        let text = format!("get: 'key not found': `{key}`");
        return Err(Failure::new(StatusCode::NOT_FOUND, 10009, text));
    }
    check(&response)?;
    let metadata = response.headers().get(METADATA);
    let metadata = metadata.and_then(|metadata| serde_json::from_slice(metadata.as_bytes()).ok());
    Ok((response.into_body(), metadata.unwrap_or(Value::Null)))
}

/// The value and its metadata, as JSON text.
async fn sent(request: Request) -> Result<(Bytes, Option<Value>), Failure> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_form = kind
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("multipart/form-data"));
    if !is_form {
        let value = Bytes::from_request(request, &()).await;
        let value =
            value.map_err(|error| Failure::new(error.status(), 10001, error.body_text()))?;
        return Ok((value, None));
    }
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| Failure::bad_request(error.body_text()))?;
    let (mut value, mut metadata) = (None, None);
    let broken = |error: axum::extract::multipart::MultipartError| {
        Failure::new(error.status(), 10001, error.body_text())
    };
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(broken)?;
        match name.as_str() {
            "value" => value = Some(bytes),
            "metadata" => {
                let parsed: Value = serde_json::from_slice(&bytes).map_err(|error| {
                    Failure::bad_request(format!("`metadata` is not JSON: {error}"))
                })?;
                metadata = Some(parsed);
            }
            _ => {}
        }
    }
    let value = value.ok_or_else(|| Failure::bad_request("the form has no part `value`"))?;
    Ok((value, metadata))
}

/// JSON in a header: what is not ASCII is escaped.
fn escaped(json: &Value) -> String {
    let mut text = String::new();
    for char in json.to_string().chars() {
        if char.is_ascii() {
            text.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.is_empty() || key == "." || key == ".." || key.len() > LONGEST_KEY {
        let text = format!(
            "a key has 1 to {LONGEST_KEY} bytes and is not `.` or `..`; `{key}` has {}",
            key.len()
        );
        return Err(Failure::new(StatusCode::BAD_REQUEST, 10033, text));
    }
    Ok(())
}

fn few(count: usize, most: usize) -> Result<(), Failure> {
    if count > most {
        let text = format!("there are {count} keys, {most} are allowed at once");
        return Err(Failure::bad_request(text));
    }
    Ok(())
}
