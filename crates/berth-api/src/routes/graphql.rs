//! What wrangler asks in GraphQL: how much is in an R2 bucket (`wrangler r2 bucket info`). Every other
//! question has no figures for an answer. The query itself is not looked at, only its name.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::settings::parse;
use crate::Api;
use crate::envelope::Answer;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    operation_name: Option<String>,
    #[serde(default)]
    variables: Map<String, Value>,
}

pub(super) async fn query(State(api): State<Api>, body: Bytes) -> Answer {
    let query: Query = parse(&body)?;
    let answer = match query.operation_name.as_deref() {
        Some("getR2StorageMetrics") => {
            let filter = query.variables.get("filter");
            let bucket = filter.and_then(|filter| filter["bucketName"].as_str());
            let usage = api.control.r2().usage(bucket.unwrap_or_default());
            let (objects, bytes) = usage.await?;
            let max = json!({ "objectCount": objects, "payloadSize": bytes, "metadataSize": 0 });
            let group = json!({ "max": max, "dimensions": {} });
            let account = json!({ "r2StorageAdaptiveGroups": [group] });
            json!({ "data": { "viewer": { "accounts": [account] } }, "errors": null })
        }
        // `wrangler d1 info` asks for figures of the last day, and does without them.
        _ => json!({ "data": { "viewer": { "accounts": [{}] } }, "errors": null }),
    };
    Ok(Json(answer).into_response())
}
