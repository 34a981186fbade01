//! Rules of R2 buckets. `wrangler r2 bucket cors`, `wrangler r2 bucket lifecycle`.

use axum::extract::{Path, State};
use berth_r2::{CorsRule, LifecycleRule};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Named, parse};
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;

/// Rules, in the form of R2's API.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Rules {
    rules: Vec<Value>,
}

fn each<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<Vec<T>, Failure> {
    let sent: Rules = parse(body)?;
    let rules = sent.rules.into_iter().enumerate();
    let rules = rules.map(|(index, rule)| {
        serde_json::from_value(rule)
            .map_err(|error| Failure::not_valid(format!("rule {index} is not valid: {error}")))
    });
    rules.collect()
}

/// `GET r2/buckets/{bucket}/cors`.
pub(crate) async fn cors(State(api): State<Api>, Path((_, bucket)): Named) -> Answer {
    let rules = api.control.r2().cors(&bucket).await?;
    if rules.is_empty() {
        let text = format!("The bucket `{bucket}` has no CORS configuration");
        return Err(Failure::new(http::StatusCode::NOT_FOUND, 10059, text));
    }
    result(json!({ "rules": rules }))
}

/// `PUT r2/buckets/{bucket}/cors`.
pub(crate) async fn set_cors(
    State(api): State<Api>,
    Path((_, bucket)): Named,
    body: Bytes,
) -> Answer {
    let rules: Vec<CorsRule> = each(&body)?;
    api.control.r2().set_cors(&bucket, &rules).await?;
    result(json!({}))
}

/// `DELETE r2/buckets/{bucket}/cors`.
pub(crate) async fn delete_cors(State(api): State<Api>, Path((_, bucket)): Named) -> Answer {
    api.control.r2().set_cors(&bucket, &[]).await?;
    result(json!({}))
}

/// `GET r2/buckets/{bucket}/lifecycle`.
pub(crate) async fn lifecycle(State(api): State<Api>, Path((_, bucket)): Named) -> Answer {
    let rules = api.control.r2().lifecycle(&bucket).await?;
    result(json!({ "rules": rules }))
}

/// `PUT r2/buckets/{bucket}/lifecycle`.
pub(crate) async fn set_lifecycle(
    State(api): State<Api>,
    Path((_, bucket)): Named,
    body: Bytes,
) -> Answer {
    let rules: Vec<LifecycleRule> = each(&body)?;
    api.control.r2().set_lifecycle(&bucket, &rules).await?;
    result(json!({}))
}
