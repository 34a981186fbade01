//! R2: buckets. `wrangler r2 bucket`.

pub(super) mod keys;
pub(super) mod objects;
pub(super) mod rules;

use axum::extract::{Path, Query, State};
use berth_control::clock;
use berth_r2::{BucketInfo, R2Error, StorageClass};
use bytes::Bytes;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;

/// Account and bucket.
type Named = Path<(String, String)>;

fn class(word: &str) -> Result<StorageClass, Failure> {
    StorageClass::parse(word).ok_or_else(|| {
        let text = format!("`{word}` is no storage class: Standard or InfrequentAccess");
        R2Error::Argument(text).into()
    })
}

fn describe(api: &Api, bucket: &BucketInfo) -> Value {
    json!({
        "name": bucket.name,
        "creation_date": clock::of_unix_ms(bucket.created),
        "location": api.runtime.location(),
        "storage_class": bucket.class.word(),
        "jurisdiction": "default",
    })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Filter {
    name_contains: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, Query(filter): Query<Filter>) -> Answer {
    let wanted = filter.name_contains.unwrap_or_default();
    let buckets = api.control.r2().buckets().await?;
    let buckets = buckets.iter().filter(|it| it.name.contains(&wanted));
    let buckets: Vec<Value> = buckets.map(|bucket| describe(&api, bucket)).collect();
    result(json!({ "buckets": buckets }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewBucket {
    name: String,
    storage_class: Option<String>,
    /// There is one place.
    #[serde(rename = "locationHint")]
    _location_hint: Option<String>,
}

pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let new: NewBucket = parse(&body)?;
    let class = new.storage_class.as_deref().map(class).transpose()?;
    let class = class.unwrap_or_default();
    let bucket = api.control.r2().create_bucket(&new.name, class).await?;
    result(describe(&api, &bucket))
}

pub(super) async fn one(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let bucket = api.control.r2().bucket(&name).await?;
    result(describe(&api, &bucket))
}

pub(super) async fn modify(
    State(api): State<Api>,
    Path((_, name)): Named,
    headers: HeaderMap,
) -> Answer {
    let word = headers.get("cf-r2-storage-class");
    let word = word.and_then(|word| word.to_str().ok());
    let word = word.ok_or_else(|| {
        Failure::from(R2Error::Argument(
            "the header cf-r2-storage-class is missing".to_owned(),
        ))
    })?;
    let class = class(word)?;
    let changed = api
        .control
        .r2()
        .change_bucket(&name, move |bucket| bucket.class = class);
    let bucket = changed.await?;
    result(describe(&api, &bucket))
}

pub(super) async fn delete(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    api.control.r2().delete_bucket(&name).await?;
    result(json!({}))
}

pub(super) async fn usage(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let (objects, bytes) = api.control.r2().usage(&name).await?;
    // Numbers are text, as in the public API.
    result(json!({
        "objectCount": objects.to_string(),
        "payloadSize": bytes.to_string(),
        "metadataSize": "0",
    }))
}
