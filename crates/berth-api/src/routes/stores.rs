//! Secrets stores. Their values go in and never come out.

use std::time::Instant;

use axum::extract::{Path, Query, State};
use berth_control::resources::{NewStoreSecret, SecretStore, StoreSecret, StoreSecretChanges};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::queues::told;
use super::settings::parse;
use super::workers::Named;
use crate::Api;
use crate::envelope::{Answer, paged, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// A store and a secret of it.
type Secret = Path<(String, String, String)>;

fn store(api: &Api, store: &SecretStore) -> Value {
    json!({
        "id": store.id,
        "account_id": api.control.account().id,
        "name": store.name,
        "created": store.created,
        "modified": store.modified,
    })
}

fn described(secret: &StoreSecret) -> Value {
    json!({
        "id": secret.id,
        "store_id": secret.store_id,
        "name": secret.name,
        "comment": secret.comment,
        "scopes": secret.scopes,
        "created": secret.created,
        "modified": secret.modified,
        "status": "active",
    })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Page {
    page: Option<usize>,
    per_page: Option<usize>,
    search: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewStore {
    name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

/// `GET stores`.
pub(super) async fn list(State(api): State<Api>, Query(page): Query<Page>) -> Answer {
    let control = api.control.clone();
    let stores = blocking(move || control.secret_stores()).await?;
    let stores = stores.iter().map(|one| store(&api, one)).collect();
    paged(stores, page.page, page.per_page)
}

/// `POST stores`.
pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let new = match parse(&body)? {
        OneOrMany::One(new) => new,
        OneOrMany::Many(mut many) if many.len() == 1 => many.remove(0),
        OneOrMany::Many(_) => return Err(Failure::bad_request("one store at a time is made")),
    };
    let NewStore { name } = new;
    let control = api.control.clone();
    let made = blocking(move || control.create_secret_store(&name)).await?;
    result(store(&api, &made))
}

/// `DELETE stores/{id}`: with its secrets.
pub(super) async fn delete(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let control = api.control.clone();
    let gone = blocking(move || control.delete_secret_store(&id)).await?;
    result(store(&api, &gone))
}

/// `GET stores/{id}/secrets`.
pub(super) async fn secrets(
    State(api): State<Api>,
    Path((_, id)): Named,
    Query(page): Query<Page>,
) -> Answer {
    let control = api.control.clone();
    let secrets = blocking(move || control.store_secrets(&id)).await?;
    let search = page.search.unwrap_or_default();
    let found = secrets
        .iter()
        .filter(|secret| secret.name.contains(&search));
    paged(found.map(described).collect(), page.page, page.per_page)
}

/// A secret that is to be.
#[derive(Deserialize, JsonSchema)]
pub(super) struct New {
    name: String,
    value: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// `POST stores/{id}/secrets`: all or none.
pub(super) async fn create_secrets(
    State(api): State<Api>,
    Path((_, id)): Named,
    body: Bytes,
) -> Answer {
    let new: Vec<New> = parse(&body)?;
    let new: Vec<NewStoreSecret> = new
        .into_iter()
        .map(|new| NewStoreSecret {
            name: new.name,
            value: new.value,
            scopes: new.scopes,
            comment: new.comment,
        })
        .collect();
    let control = api.control.clone();
    let made = blocking(move || control.create_store_secrets(&id, &new)).await?;
    result(made.iter().map(described).collect::<Vec<_>>())
}

/// `GET stores/{id}/secrets/{secret}`: all but its value.
pub(super) async fn secret(State(api): State<Api>, Path((_, store, id)): Secret) -> Answer {
    let control = api.control.clone();
    let secret = blocking(move || control.store_secret(&store, &id)).await?;
    result(described(&secret))
}

/// What is to be changed of a secret.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Changes {
    value: Option<String>,
    scopes: Option<Vec<String>>,
    comment: Option<String>,
}

/// `PATCH stores/{id}/secrets/{secret}`: Workers that bind it have it when this is answered.
pub(super) async fn change(
    State(api): State<Api>,
    Path((_, store, id)): Secret,
    body: Bytes,
) -> Answer {
    let since = Instant::now();
    let changes: Changes = parse(&body)?;
    let changes = StoreSecretChanges {
        value: changes.value,
        scopes: changes.scopes,
        comment: changes.comment,
    };
    let control = api.control.clone();
    let secret = blocking(move || control.change_store_secret(&store, &id, &changes)).await?;
    told(&api, since).await?;
    result(described(&secret))
}

/// `DELETE stores/{id}/secrets/{secret}`.
pub(super) async fn delete_secret(State(api): State<Api>, Path((_, store, id)): Secret) -> Answer {
    let control = api.control.clone();
    let gone = blocking(move || control.delete_store_secret(&store, &id)).await?;
    result(described(&gone))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Twin {
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// `POST stores/{id}/secrets/{secret}/duplicate`: the same value under another name.
pub(super) async fn duplicate(
    State(api): State<Api>,
    Path((_, store, id)): Secret,
    body: Bytes,
) -> Answer {
    let twin: Twin = parse(&body)?;
    let control = api.control.clone();
    let make = move || {
        let comment = twin.comment.as_deref().unwrap_or_default();
        control.duplicate_store_secret(&store, &id, &twin.name, &twin.scopes, comment)
    };
    let made = blocking(make).await?;
    result(described(&made))
}
