//! `POST /images/create` and `POST /auth`: the registry is asked, as a Docker daemon would.
//!
//! What fails before anything is known about the image is an HTTP status; later it is a line with
//! `error` and `errorDetail`, which is how Docker's clients learn of it. The pull ends with its
//! connection: what has arrived of it is found by the next one.
//!
//! Credentials are those of the request's `X-Registry-Auth`, or, without any, those of this machine.

use std::sync::Arc;

use berth_distribution::{
    Client, ClientOptions, Credential, DistributionError, Keyring, LayerState, Platform, Progress,
    PullOptions, Pulled, Registries,
};
use berth_image::{Digest, Reference};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::in_store;
use crate::api::Api;
use crate::error::ApiError;
use crate::query::Query;
use crate::respond::{Reply, ok, streamed, typed};
use crate::sidecar::is_sidecar_image;

const CREDENTIALS: &str = "x-registry-auth";
/// Hex digits by which lines name a layer, as Docker's do.
const SHORT: usize = 12;

/// `POST /images/create?fromImage=&tag=&platform=`. The sidecar's image always exists; another one
/// that is here does if its registry is out of reach.
pub(crate) async fn create(api: &Arc<Api>, query: &Query, headers: &HeaderMap) -> Reply {
    if query.get("fromSrc").is_some() {
        return Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "fromSrc: images are not made of uploads here; import a root file system with `berth \
             images import <tar> <name>`",
        ));
    }
    let image = query
        .get("fromImage")
        .ok_or_else(|| ApiError::bad_request("fromImage: no image was named"))?;
    if is_sidecar_image(image) {
        return Ok(whole(&status_line(image, false)));
    }
    let reference = reference(image, query.get("tag"))?;
    let platform = match query.get("platform") {
        Some(text) => text
            .parse::<Platform>()
            .map_err(|error| ApiError::bad_request(berth_error::chain(&error)))?,
        None => Platform::host(),
    };
    let client = client(api, &reference, headers)?;
    let wanted = reference.to_string();
    let before = in_store(api, move |store| store.resolve(&wanted)).await?;
    let before = before.map(|image| image.id);

    let (lines, mut receiver) = mpsc::unbounded_channel::<Bytes>();
    let (outcome, mut ended) = mpsc::channel(1);
    let pull = Pull {
        store: api.engine.images().clone(),
        reference,
        lines,
    };
    let cancelled = api.cancelled();
    let had = before.clone();
    api.spawn(async move {
        tokio::select! {
            // The client has left.
            () = pull.lines.closed() => {}
            () = cancelled.cancelled() => {}
            pulled = pull.run(&client, PullOptions { platform }) => {
                let _ = outcome.send(pull.end(pulled, had)).await;
            }
        }
    });
    // Until something is known of the image, or nothing will be.
    let Some(first) = receiver.recv().await else {
        return match ended.recv().await {
            Some(Err(error)) if before.is_some() && error.is_unreachable() => {
                Ok(whole(&status_line(image, false)))
            }
            Some(Err(error)) => Err(refused(&error)),
            Some(Ok(_)) | None => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the session ends",
            )),
        };
    };
    let first = futures_util::stream::iter([first]);
    let rest = UnboundedReceiverStream::new(receiver);
    let last = futures_util::stream::once(async move {
        match ended.recv().await {
            Some(Ok(lines)) => lines,
            Some(Err(error)) => error_line(&error),
            None => Bytes::new(),
        }
    });
    let lines = futures_util::StreamExt::chain(first, rest);
    Ok(streamed(
        "application/json",
        futures_util::StreamExt::chain(lines, last),
    ))
}

/// `POST /auth`: tries a user's credentials at a registry.
pub(crate) async fn login(api: &Arc<Api>, body: &[u8]) -> Reply {
    let found = Credential::of_docker_entry("the body", body);
    let (credential, server) =
        found.map_err(|error| ApiError::bad_request(berth_error::chain(&error)))?;
    let credential =
        credential.ok_or_else(|| ApiError::bad_request("username and password: there are none"))?;
    let host = server.unwrap_or_else(|| "docker.io".to_owned());
    let client = with_credential(api, &host, credential)?;
    match client.check_login(&host).await {
        Ok(()) => Ok(ok(
            &json!({"Status": "Login Succeeded", "IdentityToken": ""}),
        )),
        Err(error) => Err(refused(&error)),
    }
}

/// `tag` takes the place of what the name says itself; it may be a digest.
fn reference(image: &str, tag: Option<&str>) -> Result<Reference, ApiError> {
    let wrong = |error| ApiError::bad_request(berth_error::chain(&error));
    let named: Reference = image.parse().map_err(wrong)?;
    let Some(tag) = tag else {
        return Ok(named);
    };
    let name = format!("{}/{}", named.host(), named.repository());
    let whole = match tag.parse::<Digest>() {
        Ok(digest) => format!("{name}@{digest}"),
        Err(_) => format!("{name}:{tag}"),
    };
    whole.parse().map_err(wrong)
}

/// The client for one request: `registries.json` may have changed since the last one.
fn client(api: &Api, reference: &Reference, headers: &HeaderMap) -> Result<Client, ApiError> {
    let header = headers.get(CREDENTIALS).map(|value| value.to_str());
    let credential = match header {
        None => None,
        Some(Err(_)) => return Err(ApiError::bad_request("X-Registry-Auth is not text")),
        Some(Ok(header)) => Credential::of_docker_header(header)
            .map_err(|error| ApiError::bad_request(berth_error::chain(&error)))?,
    };
    match credential {
        Some(credential) => with_credential(api, reference.host(), credential),
        None => Client::open(api.engine.images().root(), None).map_err(|error| refused(&error)),
    }
}

fn with_credential(api: &Api, host: &str, credential: Credential) -> Result<Client, ApiError> {
    let registries = Registries::load(api.engine.images().root())
        .map_err(|error| ApiError::internal(berth_error::chain(&error)))?;
    let keyring = Keyring::only(host, credential);
    Ok(Client::new(registries, keyring, ClientOptions::default()))
}

struct Pull {
    store: berth_image::ImageStore,
    reference: Reference,
    lines: mpsc::UnboundedSender<Bytes>,
}

impl Pull {
    async fn run(
        &self,
        client: &Client,
        options: PullOptions,
    ) -> Result<Pulled, DistributionError> {
        let sink = |event: Progress| {
            for line in self.event(&event) {
                // Nobody listens any more: the pull is about to be dropped.
                let _ = self.lines.send(spell(&line));
            }
        };
        client
            .pull(&self.store, &self.reference, &options, &sink)
            .await
    }

    fn event(&self, event: &Progress) -> Vec<Value> {
        match event {
            Progress::Resolved { .. } => {
                let repository = self.reference.repository();
                let which = match self.reference.digest() {
                    Some(digest) => digest.to_string(),
                    None => self.reference.tag().to_owned(),
                };
                vec![json!({"status": format!("Pulling from {repository}"), "id": which})]
            }
            Progress::Layer {
                digest,
                size,
                state,
            } => layer_lines(digest, *size, state),
            // About mirrors and patience: Docker tells its log.
            Progress::Note { message } => {
                tracing::debug!(message, "pull");
                Vec::new()
            }
        }
    }

    /// The last lines.
    fn end(
        &self,
        pulled: Result<Pulled, DistributionError>,
        before: Option<Digest>,
    ) -> Result<Bytes, DistributionError> {
        let pulled = pulled?;
        let is_new = before.as_ref() != Some(&pulled.image.id);
        let mut lines = spell(&json!({"status": format!("Digest: {}", pulled.digest)})).to_vec();
        lines.extend(spell(&status_line(&self.reference.listed(), is_new)));
        Ok(lines.into())
    }
}

fn layer_lines(digest: &Digest, size: u64, state: &LayerState) -> Vec<Value> {
    let id = &digest.hex()[..SHORT];
    let plain = |status: &str| json!({"status": status, "progressDetail": {}, "id": id});
    match state {
        LayerState::Exists => vec![plain("Already exists")],
        LayerState::Downloading { bytes } => vec![json!({
            "status": "Downloading",
            "progressDetail": {"current": bytes, "total": size},
            "id": id,
        })],
        LayerState::Unpacking => vec![plain("Download complete"), plain("Extracting")],
        LayerState::Retrying { reason, wait_ms } => {
            let seconds = wait_ms.div_ceil(1000);
            tracing::debug!(reason, "pull");
            vec![plain(&format!("Retrying in {seconds} seconds"))]
        }
        LayerState::Done => vec![plain("Pull complete")],
        LayerState::Uploading { .. } | LayerState::Mounted { .. } => Vec::new(),
    }
}

fn status_line(reference: &str, is_new: bool) -> Value {
    let what = if is_new {
        "Downloaded newer image"
    } else {
        "Image is up to date"
    };
    json!({"status": format!("Status: {what} for {reference}")})
}

fn error_line(error: &DistributionError) -> Bytes {
    let message = berth_error::chain(error);
    spell(&json!({"errorDetail": {"message": message}, "error": message}))
}

/// Lines end as Docker's do.
fn spell(line: &Value) -> Bytes {
    format!("{line}\r\n").into()
}

fn whole(line: &Value) -> http::Response<crate::respond::Body> {
    typed(StatusCode::OK, "application/json", spell(line))
}

/// What the registry refused before anything came.
fn refused(error: &DistributionError) -> ApiError {
    let status = match error {
        DistributionError::NotFound { .. }
        | DistributionError::LoginNeeded { .. }
        | DistributionError::Denied { .. }
        | DistributionError::Platform { .. } => StatusCode::NOT_FOUND,
        DistributionError::LoginRefused { .. } => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    ApiError::new(status, berth_error::chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_takes_the_place_of_what_the_name_says() {
        let digest = Digest::of(b"x").to_string();
        for (image, tag, expected) in [
            ("node", None, "node:latest".to_owned()),
            ("node:20", None, "node:20".to_owned()),
            ("node", Some("22"), "node:22".to_owned()),
            ("node:20", Some("22"), "node:22".to_owned()),
            ("[::1]:5000/a/b", Some("1"), "[::1]:5000/a/b:1".to_owned()),
            (
                "node:20",
                Some(digest.as_str()),
                format!("node:latest@{digest}"),
            ),
        ] {
            assert_eq!(reference(image, tag).unwrap().to_string(), expected);
        }
        for (image, tag) in [
            ("Node", None),
            ("node", Some("a b")),
            ("node", Some("sha256:1")),
        ] {
            let error = reference(image, tag).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST, "{image} {tag:?}");
        }
    }
}
