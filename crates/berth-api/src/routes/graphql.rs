//! The one question that wrangler asks in GraphQL and that is answered here: how much is in an R2
//! bucket (`wrangler r2 bucket info`). The query itself is not looked at, only its name.

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
        other => {
            let name = other.unwrap_or("without a name");
            let message = format!("the query {name} is not answered by this server");
            json!({ "data": null, "errors": [{ "message": message }] })
        }
    };
    Ok(Json(answer).into_response())
}
