//! The control plane's HTTP face: the part of Cloudflare's v4 API that wrangler speaks.
//!
//! Paths, envelopes and error codes are Cloudflare's; what wrangler reads of each answer was recorded
//! from wrangler 4.86, 4.125 and 4.164. Every request needs a token. Nothing here decides: that is
//! `berth-control`'s; nothing here runs: that is the [`Runtime`]'s.
//!
//! | module | its job |
//! |---|---|
//! | `envelope` | the form of every answer |
//! | `failure` | errors of the control plane as status and code |
//! | `guard` | who may do what |
//! | `routes` | one module for each noun |
#![forbid(unsafe_code)]

mod envelope;
mod failure;
mod guard;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use berth_control::{Control, worker::Worker};

/// Bytes of a request's body; uploads of Workers are the largest.
const BODY_LIMIT: usize = 128 << 20;

/// Whoever runs the Workers.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Whether this state of a Worker starts at all. It is not live yet.
    ///
    /// # Errors
    /// What is wrong, for the author of the Worker.
    async fn check(&self, worker: &Worker) -> Result<(), String>;

    /// Waits until requests are answered by the Worker as it is recorded now, or it is clear that they
    /// will not be.
    ///
    /// # Errors
    /// Why not.
    async fn settled(&self, worker: &str) -> Result<(), String>;

    /// Where a Worker answers, if its subdomain is enabled.
    fn url(&self, worker: &str) -> String;

    /// What is above the Workers' own hosts, without a port.
    fn base_domain(&self) -> String;
}

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) control: Control,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// The service, for `/client/v4`.
pub fn router(control: Control, runtime: Arc<dyn Runtime>) -> Router {
    let api = Api { control, runtime };
    routes::router(api.clone())
        .fallback(envelope::no_route)
        .layer(axum::middleware::from_fn_with_state(api, guard::check))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}
