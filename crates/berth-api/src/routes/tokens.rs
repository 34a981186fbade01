//! API tokens (`/user/tokens`, in Cloudflare's shapes). A token's text is answered once, by whoever makes
//! it. What it allows is one scope; in Cloudflare's words, a policy with one permission group.

use std::str::FromStr as _;

use axum::extract::{Path, State};
use berth_control::token::{Scope, Token};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use crate::Api;
use crate::describe::{Routes, about, get};
use crate::envelope::{Answer, list as envelope_list, result};
use crate::failure::Failure;
use crate::guard::blocking;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(
            "/user/tokens",
            get(list, "Every token, without its text").post(
                create,
                about("Makes a token; its text is answered only now").json::<NewToken>(),
            ),
        )
        .route(
            "/user/tokens/permission_groups",
            get(groups, "What tokens can allow"),
        )
        .route(
            "/user/tokens/{id}",
            get(one, "A token, without its text").delete(revoke, "Ends a token"),
        )
}

async fn list(State(api): State<Api>) -> Answer {
    let control = api.control.clone();
    let tokens = blocking(move || control.tokens()).await?;
    let shown = tokens.iter().map(|token| describe(&api, token));
    envelope_list(shown.collect())
}

async fn one(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let control = api.control.clone();
    let token = blocking(move || control.token(&id)).await?;
    result(describe(&api, &token))
}

async fn groups() -> Answer {
    let groups = [Scope::Read, Scope::Deploy, Scope::Admin];
    let groups = groups
        .iter()
        .map(|scope| json!({"id": scope, "name": scope}));
    envelope_list(groups.collect())
}

/// A token that is wanted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NewToken {
    /// What it is for.
    name: String,
    /// `read`, `deploy` or `admin`; or `policies` say it.
    scope: Option<String>,
    #[serde(default)]
    policies: Vec<Policy>,
    /// When it ends, RFC 3339.
    expires_on: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Policy {
    #[serde(default)]
    permission_groups: Vec<Group>,
}

#[derive(Deserialize, JsonSchema)]
struct Group {
    id: Option<String>,
    name: Option<String>,
}

impl NewToken {
    fn scope(&self) -> Result<Scope, Failure> {
        let groups = self.policies.iter().flat_map(|it| &it.permission_groups);
        let named = groups.filter_map(|group| group.id.as_ref().or(group.name.as_ref()));
        let mut greatest = None;
        for word in self.scope.iter().chain(named) {
            let scope = Scope::from_str(&word.to_ascii_lowercase()).map_err(|()| {
                Failure::bad_request(format!(
                    "`{word}` is not a scope: there are `read`, `deploy` and `admin`"
                ))
            })?;
            greatest = greatest.max(Some(scope));
        }
        greatest.ok_or_else(|| {
            Failure::bad_request("the token has no `scope`: `read`, `deploy` or `admin`")
        })
    }
}

async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let new: NewToken = parse(&body)?;
    let scope = new.scope()?;
    let name = new.name.trim().to_owned();
    if name.is_empty() || name.len() > 120 {
        return Err(Failure::bad_request(
            "the token's `name` must have 1 to 120 characters",
        ));
    }
    if let Some(expires) = &new.expires_on
        && berth_control::clock::is_past(expires)
    {
        return Err(berth_control::ControlError::Expiry(expires.clone()).into());
    }
    let control = api.control.clone();
    let (token, text) = blocking(move || control.make_token(&name, scope, new.expires_on)).await?;
    let mut shown = describe(&api, &token);
    shown["value"] = text.into();
    result(shown)
}

async fn revoke(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let (control, revoked) = (api.control.clone(), id.clone());
    blocking(move || {
        let there = control.revoke_token(&revoked)?;
        there
            .then_some(())
            .ok_or(berth_control::ControlError::NoToken(revoked))
    })
    .await?;
    result(json!({"id": id}))
}

fn describe(api: &Api, token: &Token) -> Value {
    let account = format!("com.cloudflare.api.account.{}", api.control.account().id);
    let mut shown = json!({
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "status": if token.is_valid() { "active" } else { "expired" },
        "issued_on": token.created,
        "modified_on": token.created,
        "policies": [{
            "id": token.id,
            "effect": "allow",
            "resources": {account: "*"},
            "permission_groups": [{"id": token.scope, "name": token.scope}],
        }],
    });
    if let Some(expires) = &token.expires {
        shown["expires_on"] = expires.clone().into();
    }
    if let Some(last_used) = &token.last_used {
        shown["last_used_on"] = last_used.clone().into();
    }
    shown
}
