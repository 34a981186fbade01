//! What workerd's `r2Bucket` bindings speak: HTTP requests whose real content is JSON, in the header
//! `cf-r2-request` of a `GET`, or before the bytes of a `PUT`, `cf-r2-metadata-size` bytes long.
//!
//! Source: `src/workerd/api/r2-api.capnp`, `r2-rpc.c++`, `r2-bucket.c++` and `r2-multipart.c++` of
//! workerd (1.20261117.1), and the simulator in workers-sdk. Which bucket is meant the request's own
//! header [`BUCKET_HEADER`] says, which workerd's configuration injects: a Worker cannot.

mod request;
mod response;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use http::{HeaderMap, Method, Request};
use tokio::net::UnixListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::{Body, BodyError, Found, NewUpload, Put, R2};
use crate::{Failure, ListOptions, Position, R2Error};
use request::{BindingRequest, Call, List};
use response::Failed;

/// Names the bucket that a request is for.
pub const BUCKET_HEADER: &str = "berth-r2-bucket";
const REQUEST: &str = "cf-r2-request";
const METADATA_SIZE: &str = "cf-r2-metadata-size";

/// Bytes of a request's JSON: the keys of a deletion of 1,000 objects, and room.
const MOST_REQUEST: usize = 8 << 20;
/// Bytes of what is told about a page; workerd refuses more than 1 MiB.
const PAGE_BUDGET: usize = 700 << 10;
/// Objects of a page, if what is told of each may be long.
const PAGE_WITH_METADATA: usize = 100;

/// Whether a bucket that is not there is made by the first request that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmade {
    /// It is an error, as on a server.
    Refused,
    /// It is, as in development.
    Made,
}

#[derive(Clone)]
struct Service {
    store: R2,
    unmade: Unmade,
}

/// Answers on a socket that is made there, until it is told to stop. Whoever may use the socket may do
/// everything with every bucket.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    store: R2,
    socket: &Path,
    unmade: Unmade,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |source| Failure::Io {
        action: "listen on",
        path: socket.to_owned(),
        source,
    };
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let router = Router::new()
        .fallback(handle)
        .with_state(Service { store, unmade });
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "buckets are not served any more");
        }
    }))
}

async fn handle(State(service): State<Service>, request: Request<HttpBody>) -> Response {
    match service.answer(request).await {
        Ok(response) => response,
        Err(failed) => failed.response(),
    }
}

/// What is sent is not what workerd sends.
fn malformed(text: impl std::fmt::Display) -> R2Error {
    R2Error::Argument(format!("Metadata missing or invalid: {text}"))
}

impl Service {
    async fn answer(&self, request: Request<HttpBody>) -> Result<Response, Failed> {
        let (head, body) = request.into_parts();
        let bucket = head.headers.get(BUCKET_HEADER);
        let bucket = bucket.and_then(|name| name.to_str().ok());
        let bucket = bucket.ok_or_else(|| malformed("no bucket is named"))?;
        if self.unmade == Unmade::Made {
            self.store.ensure_bucket(bucket).await?;
        }
        if head.method == Method::PUT {
            let (call, size, body) = split(&head.headers, body).await?;
            let (body, rest) = shared(body);
            let answered = self.put(bucket, call, size, body).await;
            if answered.is_err() {
                // workerd sends all of the body before it looks at the answer.
                let mut rest = rest.lock().await;
                while let Some(Ok(_)) = rest.next().await {}
            }
            return answered;
        }
        let json = head.headers.get(REQUEST);
        let json = json.ok_or_else(|| malformed("no request"))?;
        self.get(bucket, call(json.as_bytes())?).await
    }

    async fn get(&self, bucket: &str, call: Call) -> Result<Response, Failed> {
        match call {
            Call::Head(head) => {
                let object = self.store.head(bucket, &head.object).await?;
                Ok(response::object(&object, None))
            }
            Call::Get(get) => {
                get.ssec.refuse()?;
                let range = get.range()?;
                let conditions = get.only_if.unwrap_or_default().into();
                let found = self
                    .store
                    .get(bucket, &get.object, conditions, range)
                    .await?;
                match found {
                    Found::Whole(object, range, stream) => {
                        Ok(response::stream(&object, range, stream))
                    }
                    Found::Unmet { object, .. } => Err(R2Error::Precondition(Some(object)).into()),
                }
            }
            Call::List(list) => self.list(bucket, list).await,
            _ => Err(malformed("this method changes something").into()),
        }
    }

    async fn list(&self, bucket: &str, list: List) -> Result<Response, Failed> {
        let mut options = ListOptions {
            prefix: list.prefix.clone().unwrap_or_default(),
            delimiter: list.delimiter.clone(),
            after: list.start_after.clone().map(Position::Key),
            budget: PAGE_BUDGET,
            ..ListOptions::default()
        }
        .limited(list.limit.map(|limit| limit.0))?;
        let fields = list.fields();
        if fields.any() {
            options.limit = options.limit.min(PAGE_WITH_METADATA);
        }
        if let Some(cursor) = &list.cursor {
            let cursor = Position::from_cursor(cursor)
                .ok_or_else(|| R2Error::Argument("The cursor is not valid.".to_owned()))?;
            options.after = Some(Position::later(options.after, cursor));
        }
        let page = self.store.list(bucket, options).await?;
        Ok(response::listing(&page, fields))
    }

    async fn put(
        &self,
        bucket: &str,
        call: Call,
        size: Option<u64>,
        body: Body,
    ) -> Result<Response, Failed> {
        match call {
            Call::Put(put) => {
                put.ssec.refuse()?;
                let wanted = Put {
                    metadata: self.metadata(bucket, put.about).await?,
                    conditions: put.only_if.unwrap_or_default().into(),
                    expected: put.sums.decode()?,
                    compute: Vec::new(),
                    size,
                };
                let object = self.store.put(bucket, &put.object, wanted, body).await?;
                Ok(response::object(&object, None))
            }
            Call::Delete(delete) => {
                self.store.delete(bucket, delete.keys()).await?;
                Ok(Response::default())
            }
            Call::CreateMultipartUpload(create) => {
                create.ssec.refuse()?;
                let metadata = self.metadata(bucket, create.about).await?;
                let upload = self
                    .store
                    .create_upload(bucket, &create.object, metadata, None)
                    .await?;
                Ok(response::json(
                    &serde_json::json!({ "uploadId": upload.id }),
                ))
            }
            Call::UploadPart(part) => {
                part.ssec.refuse()?;
                let upload = (bucket, part.object.as_str(), part.upload_id.as_str());
                let expected = crate::Sums::default();
                let store = &self.store;
                let part = store
                    .put_part(upload, part.part_number, size, expected, body)
                    .await?;
                Ok(response::json(&serde_json::json!({ "etag": part.etag })))
            }
            Call::CompleteMultipartUpload(complete) => {
                let upload = (
                    bucket,
                    complete.object.as_str(),
                    complete.upload_id.as_str(),
                );
                let mut parts: Vec<(u32, String)> = complete
                    .parts
                    .iter()
                    .map(|part| (part.part, part.etag.clone()))
                    .collect();
                // Workers may name them in any order.
                parts.sort();
                let new = NewUpload {
                    parts,
                    same_size: true,
                    ..NewUpload::default()
                };
                let object = self.store.complete_upload(upload, new).await?;
                Ok(response::object(&object, None))
            }
            Call::AbortMultipartUpload(abort) => {
                let upload = (bucket, abort.object.as_str(), abort.upload_id.as_str());
                self.store.abort_upload(upload).await?;
                Ok(response::json(&serde_json::json!({})))
            }
            _ => Err(malformed("this method changes nothing").into()),
        }
    }

    async fn metadata(
        &self,
        bucket: &str,
        about: request::About,
    ) -> Result<crate::Metadata, R2Error> {
        let class = match about
            .storage_class
            .as_deref()
            .filter(|word| !word.is_empty())
        {
            Some(word) => crate::StorageClass::parse(word).ok_or_else(|| {
                R2Error::Argument("The storage class specified is not valid.".to_owned())
            })?,
            None => self.store.bucket(bucket).await?.class,
        };
        Ok(crate::Metadata {
            http: about.http(),
            custom: about.custom(),
            class,
        })
    }
}

fn call(json: &[u8]) -> Result<Call, R2Error> {
    let request: BindingRequest = serde_json::from_slice(json).map_err(malformed)?;
    Ok(request.payload)
}

/// A body, and what is left of it.
fn shared(body: Body) -> (Body, Arc<Mutex<Fuse<Body>>>) {
    let rest = Arc::new(Mutex::new(body.fuse()));
    let body = futures_util::stream::unfold(Arc::clone(&rest), |rest| async move {
        let next = rest.lock().await.next().await;
        next.map(|piece| (piece, rest))
    });
    (body.boxed(), rest)
}

/// The JSON in front of a body, how many bytes there are behind it, and these.
async fn split(headers: &HeaderMap, body: HttpBody) -> Result<(Call, Option<u64>, Body), R2Error> {
    let number = |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.parse().ok() };
    let size = number(METADATA_SIZE)
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= MOST_REQUEST)
        .ok_or_else(|| malformed("its size is none"))?;
    let all = number(http::header::CONTENT_LENGTH.as_str());
    let mut body = body.into_data_stream();
    let mut json = BytesMut::new();
    while json.len() < size {
        let piece = body.next().await.ok_or(R2Error::Incomplete)?;
        json.extend_from_slice(&piece.map_err(|error| R2Error::Body(error.to_string()))?);
    }
    let rest: Bytes = json.split_off(size).freeze();
    let broken = |error: axum::Error| BodyError::Broken(error.to_string());
    let rest = futures_util::stream::iter((!rest.is_empty()).then_some(Ok(rest)));
    let body = rest.chain(body.map(move |piece| piece.map_err(broken)));
    let length = all.map(|all| all.saturating_sub(size as u64));
    Ok((call(&json)?, length, body.boxed()))
}
