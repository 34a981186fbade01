//! Secrets. Their values go in and never come out.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Path, State};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::upload::settle;
use super::versions;
use super::workers::{Named, find};
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::{Caller, blocking};

/// `GET secrets`: their names.
pub(super) async fn list(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let secrets = worker.latest().map(|version| version.secrets.keys());
    let secrets = secrets.into_iter().flatten();
    let named = secrets.map(|name| json!({"name": name, "type": "secret_text"}));
    result(named.collect::<Vec<_>>())
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Secret {
    #[serde(default)]
    name: String,
    text: String,
    #[serde(rename = "type", default = "secret_text")]
    kind: String,
}

fn secret_text() -> String {
    "secret_text".to_owned()
}

impl Secret {
    fn text(self) -> Result<String, Failure> {
        if self.kind != "secret_text" {
            let text = format!("secrets of type `{}` are not supported", self.kind);
            return Err(Failure::bad_request(text));
        }
        Ok(self.text)
    }
}

/// `PUT secrets`: one.
pub(super) async fn put(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let secret: Secret = parse(&body)?;
    let key = secret.name.clone();
    if key.is_empty() {
        return Err(Failure::bad_request("the secret has no name"));
    }
    let changes = BTreeMap::from([(key.clone(), Some(secret.text()?))]);
    change(&api, &name, caller, changes).await?;
    result(json!({"name": key, "type": "secret_text"}))
}

/// `DELETE secrets/{secret}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Path((_, name, secret)): Path<(String, String, String)>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    change(&api, &name, caller, BTreeMap::from([(secret, None)])).await?;
    result(Value::Null)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Bulk {
    secrets: BTreeMap<String, Option<Secret>>,
}

/// `PATCH secrets-bulk`: many, `null` removes.
pub(super) async fn bulk(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let bulk: Bulk = parse(&body)?;
    apply(&api, &name, caller, bulk.secrets).await
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Latest {
    env: BTreeMap<String, Option<Secret>>,
    #[serde(default)]
    annotations: BTreeMap<String, Option<String>>,
}

/// `PATCH workers/{name}/versions/latest`: `wrangler versions secret`, a version that is not live.
pub(super) async fn patch_latest(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(Caller(token)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let latest: Latest = parse(&body)?;
    let changes = texts(latest.env)?;
    let annotations = latest.annotations.into_iter();
    let annotations = annotations
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let (control, worker) = (api.control.clone(), name.clone());
    let id =
        blocking(move || control.set_secrets(&worker, &token.name, &changes, &annotations, false))
            .await?;
    let worker = find(&api, &name).await?;
    let version = worker.version(&id);
    result(version.map(|version| versions::describe(&worker, version)))
}

fn texts(
    secrets: BTreeMap<String, Option<Secret>>,
) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let secrets = secrets.into_iter();
    secrets
        .map(|(name, secret)| Ok((name, secret.map(Secret::text).transpose()?)))
        .collect()
}

async fn apply(
    api: &Api,
    name: &str,
    caller: Caller,
    secrets: BTreeMap<String, Option<Secret>>,
) -> Answer {
    let names: Vec<String> = secrets.keys().cloned().collect();
    change(api, name, caller, texts(secrets)?).await?;
    let named = names
        .iter()
        .map(|name| json!({"name": name, "type": "secret_text"}));
    result(named.collect::<Vec<_>>())
}

async fn change(
    api: &Api,
    name: &str,
    Caller(token): Caller,
    changes: BTreeMap<String, Option<String>>,
) -> Result<(), Failure> {
    let (control, worker) = (api.control.clone(), name.to_owned());
    blocking(move || control.set_secrets(&worker, &token.name, &changes, &by_secret(), true))
        .await?;
    settle(api, name).await
}

/// What a deployment says that only changes secrets.
pub(super) fn by_secret() -> BTreeMap<String, String> {
    BTreeMap::from([("workers/triggered_by".to_owned(), "secret".to_owned())])
}
