//! What S3 clients speak: paths or host names that name buckets, XML, and requests that are signed
//! (Signature Version 4, in headers or in the address).
//!
//! Source: Amazon S3's API reference; R2's documentation, "S3 API compatibility". What is not here is
//! answered with `NotImplemented`, never left out.
//!
//! | module | its job |
//! |---|---|
//! | `head` | which bucket, which key, what is asked |
//! | `signature`, `authenticate` | whose request it is |
//! | `payload`, `chunked` | the bytes that were signed |
//! | `keys` | who may do what |
//! | `xml`, `error`, `metadata` | forms |
//! | `cors` | pages of other origins |
//! | `rules` | what a bucket's owner sets |
//! | `buckets`, `lists`, `objects`, `copies`, `uploads` | what is done |

mod authenticate;
mod buckets;
mod chunked;
mod copies;
mod cors;
mod error;
mod head;
mod keys;
mod lists;
mod metadata;
mod objects;
mod payload;
mod rules;
mod signature;
mod uploads;
mod xml;

use std::sync::Arc;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use http::{Method, Request};

use crate::R2;
use cors::Origin;
use error::S3Error;
use head::Head;
pub use keys::{AccessKey, Keys, Permission};
use payload::Payload;

/// How the endpoint is reached.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// `<bucket>.<domain>` is a bucket; every other host has the bucket in the path.
    pub domains: Vec<String>,
}

struct Service {
    store: R2,
    keys: Arc<dyn Keys>,
    options: S3Options,
}

/// The endpoint, for the root of a listener of its own.
pub fn router(store: R2, keys: Arc<dyn Keys>, options: S3Options) -> Router {
    let service = Service {
        store,
        keys,
        options,
    };
    Router::new().fallback(handle).with_state(Arc::new(service))
}

/// One request, as far as it has been understood.
struct Call {
    head: Head,
    /// Whose it is.
    key: AccessKey,
    payload: Payload,
}

async fn handle(State(service): State<Arc<Service>>, request: Request<HttpBody>) -> Response {
    let id = crate::index::fresh();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let head = Head::parse(&parts, &service.options);
    let origin = head.as_ref().ok().and_then(Origin::of);
    let answered = match (head, &origin) {
        (Ok(_), Some(origin)) if origin.is_preflight() => service.preflight(origin).await,
        (Ok(head), _) => service.answer(head, body).await,
        (Err(error), _) => Err(error),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => error.response(&path, &id, method == Method::HEAD),
    };
    if let Some(origin) = origin.filter(|origin| !origin.is_preflight()) {
        service.allow(&origin, &mut response).await;
    }
    if let Ok(id) = http::HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    response
}

impl Service {
    async fn answer(&self, head: Head, body: HttpBody) -> Result<Response, S3Error> {
        let keys = Arc::clone(&self.keys);
        let (head, authentic) = tokio::task::spawn_blocking(move || {
            let authentic = authenticate::check(&head, keys.as_ref());
            (head, authentic)
        })
        .await?;
        let (key, payload) = authentic?;
        key.may(&head)?;
        let call = Call { head, key, payload };
        self.dispatch(call, body).await
    }

    async fn dispatch(&self, call: Call, body: HttpBody) -> Result<Response, S3Error> {
        let method = call.head.method.clone();
        let head = &call.head;
        let asked = head.subresource();
        let has = |name: &str| head.query(name).is_some();
        match (&head.bucket, &head.key) {
            (None, _) => match (method, asked) {
                (Method::GET, None) => self.list_buckets(&call).await,
                _ => Err(S3Error::not_implemented(head)),
            },
            (Some(_), None) => match (method, asked) {
                (Method::GET, None) => self.list_objects(&call).await,
                (Method::GET, Some("uploads")) => self.list_uploads(&call).await,
                (Method::GET, Some(name)) => self.bucket_setting(&call, name).await,
                (Method::HEAD, None) => self.head_bucket(&call).await,
                (Method::PUT, None) => self.create_bucket(call, body).await,
                (Method::DELETE, None) => self.delete_bucket(&call).await,
                (Method::PUT | Method::DELETE, Some(_)) => self.set_bucket(call, body).await,
                (Method::POST, Some("delete")) => self.delete_objects(call, body).await,
                _ => Err(S3Error::not_implemented(head)),
            },
            (Some(_), Some(_)) => match (method, asked) {
                (Method::GET, None) if has("uploadId") => self.list_parts(&call).await,
                (Method::GET, None) => self.get_object(&call).await,
                (Method::GET, Some(name)) => self.object_setting(&call, name).await,
                (Method::HEAD, None) => self.head_object(&call).await,
                (Method::PUT, None) if has("uploadId") => self.upload_part(call, body).await,
                (Method::PUT, None) => self.put_object(call, body).await,
                (Method::DELETE, None) if has("uploadId") => self.abort_upload(&call).await,
                (Method::DELETE, None) => self.delete_object(&call).await,
                (Method::POST, Some("uploads")) => self.create_upload(&call).await,
                (Method::POST, None) if has("uploadId") => self.complete_upload(call, body).await,
                _ => Err(S3Error::not_implemented(head)),
            },
        }
    }
}
