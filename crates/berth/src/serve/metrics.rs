//! The endpoint for Prometheus: `GET /metrics`, in OpenMetrics' text format.
//!
//! What only grows is counted in `figures`; what is as it is at the moment is looked at when somebody asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use berth_engine::Status;
use berth_error::Report;
use berth_registry::server::{Server, ServerOptions};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::du;
use super::host::Machine;

/// What the format is called.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A listener that is not asked yet.
pub(super) struct Listener(Server);

/// The endpoint. Ends with [`Endpoint::end`].
pub(super) struct Endpoint {
    address: SocketAddr,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Listener {
    /// Listens, if there is to be one.
    pub(super) async fn bind(
        address: Option<SocketAddr>,
        options: ServerOptions,
    ) -> Result<Option<Self>, Report> {
        Ok(match address {
            Some(address) => Some(Self(Server::bind(address, options).await?)),
            None => None,
        })
    }

    /// Answers from now on.
    pub(super) fn serve(self, machine: Arc<Machine>) -> Endpoint {
        let (address, stop) = (self.0.address(), CancellationToken::new());
        let router = Router::new()
            .route("/metrics", get(scraped))
            .with_state(machine);
        let task = tokio::spawn(self.0.run(router, stop.clone()));
        Endpoint {
            address,
            task,
            stop,
        }
    }
}

impl Endpoint {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        // Only tells that it was aborted.
        let _ = self.task.await;
    }
}

async fn scraped(State(machine): State<Arc<Machine>>) -> Response {
    if let Err(error) = machine.meters.refresh().await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
    }
    let written = tokio::task::spawn_blocking(move || {
        let figures = machine.meters.figures.clone();
        figures.write(|registry| now(&machine, registry))
    });
    match written.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, KIND)], text).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "figures cannot be written");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    app: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

/// How things are at this moment. Blocks for as long as the disk takes.
fn now(machine: &Machine, registry: &mut Registry) {
    let build: Family<Version, Gauge> = Family::default();
    let version = env!("CARGO_PKG_VERSION");
    build.get_or_create(&Version { version }).set(1);
    registry.register("build_info", "The version that runs", build);
    let up = Gauge::<i64>::default();
    up.set(whole(machine.started.0.elapsed().as_secs()));
    registry.register_with_unit("uptime", "Since the server started", Unit::Seconds, up);
    containers(machine, registry);
    workers(machine, registry);
    if let Some((all, free)) = du::disk(&machine.data) {
        for (name, help, bytes) in [
            ("disk_size", "The disk of the data directory", all),
            ("disk_free", "What is free of it", free),
        ] {
            let gauge = Gauge::<i64>::default();
            gauge.set(whole(bytes));
            registry.register_with_unit(name, help, Unit::Bytes, gauge);
        }
    }
    let expiry: Family<Named, Gauge> = Family::default();
    for certificate in machine.certificates.list() {
        let name = certificate.name;
        expiry
            .get_or_create(&Named { name })
            .set(certificate.expires);
    }
    registry.register(
        "certificate_expiry_timestamp_seconds",
        "When a certificate of the gateway ends",
        expiry,
    );
}

fn containers(machine: &Machine, registry: &mut Registry) {
    let mut counts: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
    let memory: Family<Of, Gauge> = Family::default();
    for (container, metered) in machine.apps.containers.metered() {
        let Some((app, _)) = machine.apps.watch.owner(&container.name) else {
            continue;
        };
        let state = match container.status {
            Status::Created | Status::Starting => "starting",
            Status::Running if container.rest.is_some() => "asleep",
            Status::Running => "running",
            Status::Exited | Status::Removing => "ended",
        };
        memory
            .get_or_create(&Of { app: app.clone() })
            .inc_by(whole(metered.memory_bytes));
        *counts.entry((app, state)).or_default() += 1;
    }
    let states: Family<InState, Gauge> = Family::default();
    for ((app, state), count) in counts {
        states.get_or_create(&InState { app, state }).set(count);
    }
    registry.register("containers", "Containers by app and state", states);
    registry.register_with_unit(
        "container_memory",
        "Memory that containers have now",
        Unit::Bytes,
        memory,
    );
}

fn workers(machine: &Machine, registry: &mut Registry) {
    let (up, restarts): (Family<Of, Gauge>, Family<Of, Gauge>) = Default::default();
    let memory: Family<Of, Gauge> = Family::default();
    let workers = match machine.apps.control.workers() {
        Ok(workers) => workers,
        Err(error) => {
            let error = berth_error::chain(&error);
            tracing::error!(error, "figures of Workers are missing");
            Vec::new()
        }
    };
    for worker in workers.iter().filter(|worker| worker.live().is_some()) {
        let state = machine.apps.health(&worker.id).unwrap_or_default();
        let of = Of {
            app: worker.name.clone(),
        };
        up.get_or_create(&of)
            .set(i64::from(state.word() == "running"));
        restarts.get_or_create(&of).set(whole(state.restarts));
        if let Some(bytes) = state.pid.and_then(du::memory) {
            memory.get_or_create(&of).set(whole(bytes));
        }
    }
    registry.register("worker_up", "Whether a Worker answers", up);
    registry.register(
        "worker_restarts",
        "How often a Worker's process has ended by itself since the server started",
        restarts,
    );
    registry.register_with_unit(
        "worker_memory",
        "Memory of a Worker's process",
        Unit::Bytes,
        memory,
    );
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
