//! The HTTP face: the distribution specification's endpoints as a service one can mount.
//!
//! | module | its job |
//! |---|---|
//! | `route` | which path is which operation |
//! | `access` | who asks, and may they |
//! | `token` | the token endpoint |
//! | `uploads`, `body` | blobs on their way in |
//! | `blobs` | blobs: pull, delete |
//! | `manifests`, `referrers` | manifests and tags: push, pull, delete |
//! | `lists` | tags, repositories |
//!
//! Invariants: a request that changes something runs to its end although its client hangs up; every
//! answer of an error is JSON with a code of the specification; no path of the storage leaves.

mod access;
mod blobs;
mod body;
mod lists;
mod manifests;
mod referrers;
mod route;
mod token;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::auth::Actions;
use crate::error::{ApiError, Code};
use crate::names::RepositoryName;
use crate::registry::{Inner, Registry};
use access::{Access, Asked};
use route::Route;

/// Says which protocol this is; Docker looks for it.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

type Answer = Result<Response, ApiError>;

impl Registry {
    /// The service, for all that is below `/v2`.
    ///
    /// `secure` says that clients reach it by HTTPS: only for the address of the token endpoint.
    pub fn router(&self, secure: bool) -> Router {
        let face = Face {
            registry: self.inner.clone(),
            secure,
        };
        Router::new()
            .route("/v2", any(serve))
            .route("/v2/", any(serve))
            .route("/v2/{*rest}", any(serve))
            .with_state(face)
    }
}

#[derive(Clone, Debug)]
struct Face {
    registry: Arc<Inner>,
    secure: bool,
}

/// One request on its way.
struct Context {
    registry: Arc<Inner>,
    access: Access,
    parts: Parts,
}

impl std::ops::Deref for Context {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.registry
    }
}

impl Context {
    fn method(&self) -> &Method {
        &self.parts.method
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// A query parameter, decoded.
    fn query(&self, name: &str) -> Option<String> {
        query(&self.parts).find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The length of the body, if it says so.
    fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.parse().ok()
    }
}

/// The query parameters, decoded.
fn query(parts: &Parts) -> impl Iterator<Item = (String, String)> {
    token::pairs(parts.uri.query().unwrap_or_default())
}

async fn serve(State(face): State<Face>, request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let outcome = if request.method().is_safe() {
        answer(face, request).await
    } else {
        // Runs to its end although the client hangs up.
        tokio::spawn(answer(face, request))
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "a request failed");
                let message = "the request failed; the registry's log says how";
                Err(ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    Code::Unknown,
                    message,
                ))
            })
    };
    let mut response = outcome.unwrap_or_else(ApiError::into_response);
    if head {
        // Lengths stay as they are of the same GET.
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

async fn answer(face: Face, request: Request) -> Answer {
    let route = route::parse(request.uri().path())?;
    let asked = Asked::new(&face, &request);
    if matches!(route, Route::Token) {
        return token::answer(&face.registry, request).await;
    }
    let (parts, body) = request.into_parts();
    let access = Access::of(&face.registry, &parts.headers).await;
    let access = access.map_err(|error| asked.challenge(error, None))?;
    allow(&face.registry, &access, &route, &parts)
        .map_err(|refused| asked.challenge(refused.error, refused.scope))?;
    let context = Context {
        registry: face.registry,
        access,
        parts,
    };
    dispatch(&context, body, route).await
}

/// Why a request is refused, and the scope that would allow it.
struct Refused {
    error: ApiError,
    scope: Option<String>,
}

fn allow(registry: &Inner, access: &Access, route: &Route, parts: &Parts) -> Result<(), Refused> {
    let Some(repository) = route.repository() else {
        let allowed = match route {
            Route::Catalog => access.catalog().is_some(),
            Route::Collect => access.may_collect(),
            _ => access.is_known() || registry.is_open(),
        };
        let scope = matches!(route, Route::Catalog).then(|| "registry:catalog:*".to_owned());
        return match allowed {
            true => Ok(()),
            false => Err(Refused {
                error: access.refusal("this"),
                scope,
            }),
        };
    };
    let needed = needed(route, &parts.method);
    let is_allowed = access.actions(repository).contains(needed);
    let source = mount_source(route, parts);
    let source = source.filter(|source| access.may_ask_to_read(source));
    if is_allowed && source.is_none() {
        return Ok(());
    }
    // Clients that push also look what is there.
    let asked = if needed.push {
        "pull,push"
    } else {
        &needed.to_string()
    };
    let mut scope = format!("repository:{repository}:{asked}");
    let mut what = format!("`{needed}` in `{repository}`");
    if let Some(source) = source {
        scope.push_str(&format!(" repository:{source}:pull"));
        if is_allowed {
            what = format!("`pull` in `{source}`");
        }
    }
    Err(Refused {
        error: access.refusal(&what),
        scope: Some(scope),
    })
}

/// Where a blob is to be mounted from.
fn mount_source(route: &Route, parts: &Parts) -> Option<RepositoryName> {
    if !matches!(route, Route::Uploads(..)) || parts.method != Method::POST {
        return None;
    }
    let parameter = |name: &str| query(parts).find(|(key, _)| key == name);
    parameter("mount")?;
    RepositoryName::parse(&parameter("from")?.1)
}

/// What a request does in its repository.
fn needed(route: &Route, method: &Method) -> Actions {
    let reads = method.is_safe() && !matches!(route, Route::Upload(..) | Route::Uploads(..));
    let deletes = method == Method::DELETE && !matches!(route, Route::Upload(..));
    if reads {
        Actions::PULL
    } else {
        Actions {
            pull: false,
            push: !deletes,
            delete: deletes,
        }
    }
}

async fn dispatch(context: &Context, body: Body, route: Route) -> Answer {
    let method = context.method().clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    match route {
        Route::Ping if reads => Ok(json(&serde_json::json!({}))),
        Route::Catalog if reads => lists::catalog(context).await,
        Route::Collect if method == Method::PUT => lists::collect(context).await,
        Route::Tags(name) if reads => lists::tags(context, &name).await,
        Route::Referrers(name, subject) if reads => referrers::list(context, &name, &subject).await,
        Route::Blob(name, digest) => match method {
            Method::GET | Method::HEAD => blobs::read(context, &name, &digest).await,
            Method::DELETE => blobs::delete(context, &name, &digest).await,
            _ => Err(unsupported(&method)),
        },
        Route::Manifest(name, reference) => match method {
            Method::GET | Method::HEAD => manifests::read(context, &name, &reference).await,
            Method::PUT => manifests::put(context, body, &name, &reference).await,
            Method::DELETE => manifests::delete(context, &name, &reference).await,
            _ => Err(unsupported(&method)),
        },
        Route::Uploads(name) if method == Method::POST => {
            uploads::begin(context, body, &name).await
        }
        Route::Upload(name, id) => match method {
            Method::GET | Method::HEAD => uploads::status(context, &name, &id).await,
            Method::PATCH => uploads::patch(context, body, &name, &id).await,
            Method::PUT => uploads::finish(context, body, &name, &id).await,
            Method::DELETE => uploads::cancel(context, &id).await,
            _ => Err(unsupported(&method)),
        },
        _ => Err(unsupported(&method)),
    }
}

fn unsupported(method: &Method) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unsupported,
        format!("`{method}` is not possible here"),
    )
}

/// 200 with JSON.
fn json(value: &serde_json::Value) -> Response {
    typed("application/json", value.to_string().into())
}

/// 200 with a body that is in memory.
fn typed(media_type: &str, body: bytes::Bytes) -> Response {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// An empty answer with this status.
fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sets a header; a value that cannot stand in one is left out.
fn set(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn blob_location(repository: &RepositoryName, digest: &crate::digest::Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}
