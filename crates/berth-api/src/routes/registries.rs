//! Registries: passwords of the server's own, and credentials with which it pulls from others.

use axum::extract::{Path, State};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::workers::Named;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::blocking;
use crate::{Api, OtherRegistry, RegistryPassword};

const NO_REGISTRY: u32 = 1601;
const REGISTRY_EXISTS: u32 = 1602;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(default = "fifteen")]
    expiration_minutes: u64,
    #[serde(default)]
    permissions: Vec<String>,
}

fn fifteen() -> u64 {
    15
}

/// `POST registries/{domain}/credentials`: a user name and a password that ends.
pub(super) async fn credentials(
    State(api): State<Api>,
    Path((_, domain)): Named,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let wanted: Wanted = parse(&body)?;
    let push = wanted
        .permissions
        .iter()
        .any(|permission| permission == "push");
    let seconds = wanted.expiration_minutes.clamp(1, 24 * 60) * 60;
    // The registry is at the API's own address, too, whatever the client calls that.
    let here = headers.get(HOST).and_then(|host| host.to_str().ok()) == Some(&domain);
    let host = (!here).then_some(domain.as_str());
    match api.runtime.registry_password(host, push, seconds) {
        Some(RegistryPassword { user, password }) => result(json!({
            "account_id": api.control.account().id,
            "registry_host": domain,
            "username": user,
            "password": password,
        })),
        None => {
            let text = format!("`{domain}` is not this server's registry");
            Err(Failure::new(StatusCode::NOT_FOUND, NO_REGISTRY, text))
        }
    }
}

/// `GET registries`: others with credentials.
pub(super) async fn list(State(api): State<Api>) -> Answer {
    let registries = blocking_runtime(&api, crate::Runtime::registries).await?;
    let shown = registries.into_iter().map(|registry| {
        json!({
            "domain": registry.domain,
            "kind": registry.kind,
            "public_key": registry.public,
            "created_at": registry.created,
        })
    });
    result(shown.collect::<Vec<_>>())
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewRegistry {
    /// As image names have it.
    domain: String,
    #[serde(default)]
    is_public: bool,
    auth: Option<Credentials>,
    /// `ECR`, `DockerHub`, `GAR`, or `default`, a user's name and password.
    #[serde(default)]
    kind: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Credentials {
    public_credential: String,
    private_credential: Private,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Private {
    /// A secret of the Secrets Store.
    Stored {
        store_id: String,
        secret_name: String,
    },
    /// The secret itself.
    Plain(String),
}

/// `POST registries`.
pub(super) async fn add(State(api): State<Api>, body: Bytes) -> Answer {
    let new: NewRegistry = parse(&body)?;
    let Some(auth) = new.auth.filter(|_| !new.is_public) else {
        let text = format!(
            "`{}` needs no credentials: name its images, and they are pulled",
            new.domain
        );
        return Err(Failure::bad_request(text));
    };
    let (secret, reference) = match auth.private_credential {
        Private::Plain(secret) => (secret, None),
        Private::Stored {
            store_id,
            secret_name,
        } => {
            let secret = stored(&api, &store_id, &secret_name).await?;
            (secret, Some(format!("{store_id}:{secret_name}")))
        }
    };
    let registry = OtherRegistry {
        domain: new.domain,
        kind: new.kind.unwrap_or_else(|| "default".to_owned()),
        public: auth.public_credential,
        created: String::new(),
        reference,
    };
    let domain = registry.domain.clone();
    let shown = json!({
        "domain": registry.domain, "kind": registry.kind, "public_key": registry.public,
    });
    let added = blocking_runtime(&api, move |runtime| {
        runtime.add_registry(&registry, &secret)
    })
    .await?;
    if !added {
        let text = format!("`{domain}` is configured already");
        return Err(Failure::new(StatusCode::CONFLICT, REGISTRY_EXISTS, text));
    }
    result(shown)
}

/// `DELETE registries/{domain}`.
pub(super) async fn delete(State(api): State<Api>, Path((_, domain)): Named) -> Answer {
    let target = domain.clone();
    let removed = blocking_runtime(&api, move |runtime| runtime.remove_registry(&target)).await?;
    let Some(registry) = removed else {
        let text = format!("`{domain}` is not configured");
        return Err(Failure::new(StatusCode::NOT_FOUND, NO_REGISTRY, text));
    };
    let mut shown = json!({"domain": domain});
    if let Some(reference) = registry.reference {
        shown["secrets_store_ref"] = Value::String(reference);
    }
    result(shown)
}

async fn blocking_runtime<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&dyn crate::Runtime) -> Result<T, String> + Send + 'static,
) -> Result<T, Failure> {
    let runtime = std::sync::Arc::clone(&api.runtime);
    let done = tokio::task::spawn_blocking(move || work(&*runtime)).await;
    done.map_err(Failure::internal)?
        .map_err(Failure::bad_request)
}

/// The value of a secret of the Secrets Store.
async fn stored(api: &Api, store: &str, name: &str) -> Result<String, Failure> {
    let (control, store, wanted) = (api.control.clone(), store.to_owned(), name.to_owned());
    let found = blocking(move || {
        let mut secrets = control.store_secrets(&store)?.into_iter();
        let found = secrets.find(|secret| secret.name == wanted);
        found
            .map(|secret| control.open_store_secret(&secret))
            .transpose()
    });
    found.await?.ok_or_else(|| {
        let text = format!("the Secrets Store has no secret `{name}`");
        Failure::bad_request(text)
    })
}
