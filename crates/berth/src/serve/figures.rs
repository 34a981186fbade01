//! Figures for Prometheus that only grow, and how they are written out.

use std::time::Duration;

use berth_gateway::RequestEvent;
use berth_usage::Amounts;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of durations, in seconds: what a cached answer takes, to what holds a request longest.
const DURATIONS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    app: String,
    status: u16,
}

type Durations = Family<Of, Histogram, fn() -> Histogram>;

/// What has been counted since the server started. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    requests: Family<Answered, Counter>,
    durations: Durations,
    starts: Family<Of, Counter>,
    failed_starts: Family<Of, Counter>,
    spawned: Durations,
    listening: Durations,
    running: Family<Of, Counter<f64, std::sync::atomic::AtomicU64>>,
    cpu: Family<Of, Counter<f64, std::sync::atomic::AtomicU64>>,
    egress: Family<Of, Counter>,
    ingress: Family<Of, Counter>,
}

impl Default for Figures {
    fn default() -> Self {
        let durations = || Family::new_with_constructor(histogram as fn() -> Histogram);
        Self {
            requests: Family::default(),
            durations: durations(),
            starts: Family::default(),
            failed_starts: Family::default(),
            spawned: durations(),
            listening: durations(),
            running: Family::default(),
            cpu: Family::default(),
            egress: Family::default(),
            ingress: Family::default(),
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new(DURATIONS)
}

fn of(app: &str) -> Of {
    Of {
        app: app.to_owned(),
    }
}

impl Figures {
    /// A request; those that are nobody's are of the app with no name.
    pub(super) fn request(&self, event: &RequestEvent) {
        let app = event.site.as_deref().unwrap_or_default();
        let answered = Answered {
            app: app.to_owned(),
            status: event.status,
        };
        self.requests.get_or_create(&answered).inc();
        let durations = self.durations.get_or_create(&of(app));
        durations.observe(event.duration.as_secs_f64());
    }

    /// A container runs, after this time.
    pub(super) fn started(&self, app: &str, after: Option<Duration>) {
        self.starts.get_or_create(&of(app)).inc();
        if let Some(after) = after {
            let spawned = self.spawned.get_or_create(&of(app));
            spawned.observe(after.as_secs_f64());
        }
    }

    /// A container did not start.
    pub(super) fn start_failed(&self, app: &str) {
        self.failed_starts.get_or_create(&of(app)).inc();
    }

    /// A container listens, so long after its start was asked for.
    pub(super) fn listens(&self, app: &str, after: Duration) {
        let listening = self.listening.get_or_create(&of(app));
        listening.observe(after.as_secs_f64());
    }

    /// A container has used this since the last time.
    pub(super) fn used(&self, app: &str, more: &Amounts) {
        let (of, seconds) = (of(app), |ns: u64| Duration::from_nanos(ns).as_secs_f64());
        let running = Duration::from_millis(more.running_ms).as_secs_f64();
        self.running.get_or_create(&of).inc_by(running);
        self.cpu.get_or_create(&of).inc_by(seconds(more.cpu_ns));
        self.egress.get_or_create(&of).inc_by(more.egress_bytes);
        self.ingress.get_or_create(&of).inc_by(more.ingress_bytes);
    }

    /// Everything in OpenMetrics' text format, with what `now` adds of the moment.
    pub(super) fn write(&self, now: impl FnOnce(&mut Registry)) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("berth");
        let all = &mut registry;
        all.register(
            "requests",
            "Requests by app and status",
            self.requests.clone(),
        );
        all.register_with_unit(
            "request_duration",
            "From a request's head to its answer's head",
            Unit::Seconds,
            self.durations.clone(),
        );
        all.register(
            "container_starts",
            "Containers started",
            self.starts.clone(),
        );
        all.register(
            "container_start_failures",
            "Containers that did not start",
            self.failed_starts.clone(),
        );
        all.register_with_unit(
            "container_start",
            "From the wish for a container until its program runs",
            Unit::Seconds,
            self.spawned.clone(),
        );
        all.register_with_unit(
            "container_listen",
            "From the wish for a container until its program listens",
            Unit::Seconds,
            self.listening.clone(),
        );
        all.register_with_unit(
            "container_running",
            "Time that containers were awake",
            Unit::Seconds,
            self.running.clone(),
        );
        all.register_with_unit(
            "container_cpu",
            "CPU time of containers",
            Unit::Seconds,
            self.cpu.clone(),
        );
        all.register_with_unit(
            "container_egress",
            "Bytes out of containers",
            Unit::Bytes,
            self.egress.clone(),
        );
        all.register_with_unit(
            "container_ingress",
            "Bytes into containers",
            Unit::Bytes,
            self.ingress.clone(),
        );
        now(all);
        let mut written = String::new();
        text::encode(&mut written, &registry)?;
        Ok(written)
    }
}
