//! Who asks, and for which account: `wrangler whoami`.

use axum::Extension;
use axum::extract::State;
use serde_json::json;

use crate::Api;
use crate::envelope::{Answer, list, result};
use crate::guard::Caller;

pub(super) async fn verify(Extension(Caller(token)): Extension<Caller>) -> Answer {
    let mut shown = json!({
        "id": token.id, "status": "active", "name": token.name, "scope": token.scope,
    });
    if let Some(expires) = token.expires {
        shown["expires_on"] = expires.into();
    }
    result(shown)
}

pub(super) async fn user(Extension(Caller(token)): Extension<Caller>) -> Answer {
    result(json!({"id": token.id, "email": format!("{}@berth.localhost", label(&token.name))}))
}

pub(super) async fn accounts(State(api): State<Api>) -> Answer {
    let account = api.control.account();
    list(vec![json!({
        "id": account.id, "name": account.name, "created_on": account.created,
    })])
}

pub(super) async fn memberships(State(api): State<Api>) -> Answer {
    let account = api.control.account();
    list(vec![json!({
        "id": account.id,
        "status": "accepted",
        "account": {"id": account.id, "name": account.name},
        "roles": ["Administrator"],
    })])
}

/// A token's name as the user of an e-mail address, which is what wrangler shows.
fn label(name: &str) -> String {
    let label: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() {
                char.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    if label.is_empty() {
        "token".to_owned()
    } else {
        label
    }
}
