//! What belongs to a Worker and to none of its versions: how it is reached and woken, tags and the like.

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::extract::multipart::Multipart;
use axum::extract::{Path, State};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::secrets::by_secret;
use super::upload::settle;
use super::versions;
use super::waiting;
use super::workers::{Named, find};
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::{Caller, blocking};

/// A body that is JSON, whatever it says it is.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body cannot be understood: {error}")))
}

/// `GET settings`: the bindings of the latest version.
pub(super) async fn bindings(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let latest = worker.latest();
    result(json!({
        "bindings": latest.map(|version| versions::bindings(&worker, version)).unwrap_or_default(),
        "compatibility_date": latest.map(|version| version.compatibility_date.clone()),
        "compatibility_flags": latest.map(|version| version.compatibility_flags.clone()).unwrap_or_default(),
        "usage_model": "standard",
    }))
}

/// Its parts.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "the description only")]
pub(super) struct Form {
    settings: Settings,
}

#[derive(Deserialize, JsonSchema)]
struct Settings {
    bindings: Vec<Map<String, Value>>,
}

/// `PATCH settings` with a part `settings`: how wrangler 4.86 sets many secrets. Every binding that is
/// to stay is named; only secrets can be changed.
pub(super) async fn patch_bindings(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(Caller(token)): Extension<Caller>,
    mut form: Multipart,
) -> Answer {
    let broken = |_| Failure::bad_request("the form cannot be read");
    let mut settings = None;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        if field.name() == Some("settings") {
            settings = Some(field.bytes().await.map_err(broken)?);
        }
    }
    let body = settings.ok_or_else(|| Failure::bad_request("the form has no part `settings`"))?;
    let settings: Settings = parse(&body)?;
    let worker = find(&api, &name).await?;
    let word = |binding: &Map<String, Value>, key: &str| {
        let word = binding.get(key).and_then(Value::as_str);
        word.map(str::to_owned)
    };
    let mut named = BTreeSet::new();
    let mut changes = BTreeMap::new();
    for binding in &settings.bindings {
        let key = word(binding, "name").unwrap_or_default();
        if let (Some("secret_text"), Some(text)) =
            (word(binding, "type").as_deref(), word(binding, "text"))
        {
            changes.insert(key.clone(), Some(text));
        }
        named.insert(key);
    }
    if let Some(latest) = worker.latest() {
        let mut own = latest.bindings.iter().map(|binding| &binding.name);
        if let Some(gone) = own.find(|own| !named.contains(*own)) {
            let text =
                format!("the binding `{gone}` cannot be removed like this: deploy without it");
            return Err(Failure::bad_request(text));
        }
        let gone = latest.secrets.keys().filter(|own| !named.contains(*own));
        changes.extend(gone.map(|gone| (gone.clone(), None)));
    }
    let (control, target) = (api.control.clone(), name.clone());
    blocking(move || control.set_secrets(&target, &token.name, &changes, &by_secret(), true))
        .await?;
    settle(&api, &name).await?;
    result(json!({}))
}

/// `GET script-settings`.
pub(super) async fn get(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    result(find(&api, &name).await?.settings)
}

/// `PATCH script-settings`.
pub(super) async fn patch(State(api): State<Api>, Path((_, name)): Named, body: Bytes) -> Answer {
    let settings: Map<String, Value> = parse(&body)?;
    let others = try_tail_consumers(&api, &name, &settings).await?;
    let (control, target) = (api.control.clone(), name.clone());
    let all = blocking(move || control.set_settings(&target, &settings)).await?;
    if others {
        // They hear of every request that comes after the answer.
        settle(&api, &name).await?;
    }
    result(all)
}

/// Whether there are other tail consumers than before. One without a `tail()` handler is refused.
async fn try_tail_consumers(
    api: &Api,
    name: &str,
    settings: &Map<String, Value>,
) -> Result<bool, Failure> {
    let mut tried = find(api, name).await?;
    let before = tried.tail_consumers();
    tried.settings.extend(settings.clone());
    if tried.live().is_none() || tried.tail_consumers() == before {
        return Ok(false);
    }
    let checked = api.runtime.check(&tried).await;
    checked.map_err(Failure::not_valid)?;
    Ok(true)
}

/// `GET subdomain` of a Worker.
pub(super) async fn subdomain(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    result(find(&api, &name).await?.subdomain)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewSubdomain {
    enabled: Option<bool>,
    previews_enabled: Option<bool>,
}

/// `POST subdomain` of a Worker: the end of every deployment by wrangler.
pub(super) async fn set_subdomain(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let new: NewSubdomain = parse(&body)?;
    waiting::done(&api, &name, &caller).await?;
    let (control, target) = (api.control.clone(), name.clone());
    let subdomain =
        blocking(move || control.set_subdomain(&target, new.enabled, new.previews_enabled)).await?;
    settle(&api, &name).await?;
    result(subdomain)
}

/// `GET schedules`.
pub(super) async fn schedules(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let crons = find(&api, &name).await?.crons;
    let schedules: Vec<Value> = crons.iter().map(|cron| json!({"cron": cron})).collect();
    result(json!({"schedules": schedules}))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Schedule {
    cron: String,
}

/// A Worker whose triggers workerd does not take would not start: that is seen before they are recorded.
async fn try_crons(api: &Api, name: &str, crons: &[String]) -> Result<(), Failure> {
    let mut tried = find(api, name).await?;
    // Others are refused with a reason by the control plane.
    let plausible = crons
        .iter()
        .all(|cron| berth_config::check_cron(cron).is_ok());
    if tried.live().is_none() || tried.crons == crons || !plausible {
        return Ok(());
    }
    tried.crons = crons.to_vec();
    let checked = api.runtime.check(&tried).await;
    checked.map_err(Failure::not_valid)
}

/// `PUT schedules`: all of them.
pub(super) async fn set_schedules(
    State(api): State<Api>,
    Path((_, name)): Named,
    body: Bytes,
) -> Answer {
    let schedules: Vec<Schedule> = parse(&body)?;
    let crons: Vec<String> = schedules
        .into_iter()
        .map(|schedule| schedule.cron)
        .collect();
    try_crons(&api, &name, &crons).await?;
    let (control, target, new) = (api.control.clone(), name.clone(), crons.clone());
    blocking(move || control.set_crons(&target, &new)).await?;
    settle(&api, &name).await?;
    let schedules: Vec<Value> = crons.iter().map(|cron| json!({"cron": cron})).collect();
    result(json!({"schedules": schedules}))
}
