//! Where workerd sends traces: an HTTP server on a Unix socket of the session.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::routing::post;
use berth_error::{Report, ResultExt as _};
use http::StatusCode;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::Watch;

/// Bytes of one message: more than the Worker that tells puts into one.
const MOST: usize = 64 << 20;

/// Listens, and goes on until the task is aborted.
pub(super) fn serve(watch: &Arc<Watch>) -> Result<JoinHandle<()>, Report> {
    let listener = UnixListener::bind(&watch.sink);
    let listener = listener.context(format!("could not listen at `{}`", watch.sink.display()))?;
    let router = Router::new()
        .route("/{worker}/{version}", post(take))
        .layer(DefaultBodyLimit::max(MOST))
        .with_state(Arc::clone(watch));
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "traces of Workers are lost");
        }
    }))
}

async fn take(
    State(watch): State<Arc<Watch>>,
    Path((worker, version)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    match serde_json::from_slice::<Vec<Value>>(&body) {
        Ok(events) => {
            watch.take(&worker, &version, events);
            StatusCode::OK
        }
        Err(error) => {
            tracing::debug!(%error, "a trace cannot be read");
            StatusCode::BAD_REQUEST
        }
    }
}
