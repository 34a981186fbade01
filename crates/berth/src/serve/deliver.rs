//! Takes the queues' messages from the data plane to the Workers that consume them.
//!
//! A Worker that does not run, or is replaced meanwhile, is answered for with 503: its messages wait and
//! have lost no attempt.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use berth_error::{Report, ResultExt as _};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use tokio::net::UnixListener;

use super::apps::Apps;
use super::reach::CallError;

/// Bytes of a batch as it is packed: 100 messages of 128 kB, in base64.
const MOST_BYTES: usize = 64 << 20;
/// How long a batch waits for a Worker that starts or is replaced.
const HOLD: Duration = Duration::from_secs(30);

/// Listens for the data plane.
pub(super) fn listen(
    socket: &Path,
    apps: &Arc<Apps>,
) -> Result<tokio::task::JoinHandle<()>, Report> {
    let listener = UnixListener::bind(socket)
        .context(format!("could not listen on `{}`", socket.display()))?;
    let router = Router::new()
        .route("/deliver", post(deliver))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Arc::downgrade(apps));
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "messages of queues are not delivered any more");
        }
    }))
}

async fn deliver(State(apps): State<Weak<Apps>>, headers: HeaderMap, batch: Bytes) -> Response {
    let queue = headers
        .get("berth-queue")
        .and_then(|name| name.to_str().ok());
    let (Some(apps), Some(queue)) = (apps.upgrade(), queue) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let Some(worker) = apps.consumer(queue.to_owned()).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match apps.call(&worker, "/queue", batch, HOLD).await {
        Ok(answer) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (answer.status(), json, answer.into_body()).into_response()
        }
        Err(CallError::NotRunning) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(CallError::Failed(reason)) => (StatusCode::BAD_GATEWAY, reason).into_response(),
    }
}
