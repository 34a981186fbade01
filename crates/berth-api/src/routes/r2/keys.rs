//! Access keys of S3 clients. Their secrets are told once.

use axum::extract::{Path, State};
use berth_control::R2Key;
use berth_r2::s3::Permission;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::settings::parse;
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::blocking;

fn describe(key: &R2Key) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "permission": key.permission,
        "buckets": key.buckets,
        "created_on": key.created,
    })
}

#[derive(Deserialize, JsonSchema)]
pub(in crate::routes) struct NewKey {
    name: String,
    /// `admin`, `object-read-write` or `object-read`.
    permission: String,
    /// Not there: all.
    buckets: Option<Vec<String>>,
}

pub(in crate::routes) async fn list(State(api): State<Api>) -> Answer {
    let control = api.control.clone();
    let keys = blocking(move || control.r2_keys()).await?;
    result(keys.iter().map(describe).collect::<Vec<_>>())
}

pub(in crate::routes) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let new: NewKey = parse(&body)?;
    let permission = match new.permission.as_str() {
        "admin" => Permission::Admin,
        "object-read-write" => Permission::ObjectReadWrite,
        "object-read" => Permission::ObjectRead,
        other => {
            return Err(Failure::bad_request(format!(
                "`{other}` is no permission: admin, object-read-write or object-read"
            )));
        }
    };
    let control = api.control.clone();
    let made = blocking(move || control.make_r2_key(&new.name, permission, new.buckets));
    let (key, secret) = made.await?;
    let mut shown = describe(&key);
    shown["accessKeyId"] = key.id.into();
    shown["secretAccessKey"] = secret.into();
    result(shown)
}

pub(in crate::routes) async fn delete(
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    let control = api.control.clone();
    let deleted = id.clone();
    blocking(move || control.delete_r2_key(&deleted)).await?;
    result(json!({ "id": id }))
}
