//! Where the time of a container's last cold start went: the calls of workerd, the network
//! namespace, the held connections and the first byte, as they happened. What the engine and the
//! jail did inside those calls comes from [`berth_engine::Timings`].
//!
//! Owner: [`crate::api::Api`]. Invariants: what is kept is bounded, per container and in their
//! number; recording never fails and never waits; a trace ends with the first byte that the program
//! answered, and the next creation of a container of the same name begins another.

mod report;

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::api::lock;
use crate::names::SIDECAR_SUFFIX;
use crate::query::Query;

pub(crate) use report::report;

/// Containers that are remembered; the longest untouched one is forgotten first.
const CONTAINERS: usize = 512;

/// Steps of one start.
const STEPS: usize = 128;

/// Calls remembered before a container is created: workerd asks a few things first.
const CALLS_BEFORE: usize = 16;

/// A pause that separates what led to a start from what was before.
const UNRELATED: Duration = Duration::from_millis(250);

/// What kind of step it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A call of the Docker API or of the sidecar's ingress.
    Call,
    /// Making the network namespace, or taking one that was made ahead.
    Network,
    /// A connection into the container, from its arrival until the port took it.
    Hold,
    /// From an open connection until the program's first byte came back.
    FirstByte,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Network => "network",
            Self::Hold => "hold",
            Self::FirstByte => "first byte",
        }
    }
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) phase: Phase,
    pub(crate) what: String,
    pub(crate) at: Instant,
    pub(crate) took: Duration,
}

impl Step {
    /// A step that began at `at` and ends now.
    pub(crate) fn since(at: Instant, phase: Phase, what: impl Into<String>) -> Self {
        Self {
            phase,
            what: what.into(),
            at,
            took: at.elapsed(),
        }
    }

    fn end(&self) -> Instant {
        self.at + self.took
    }
}

/// The starts of a server's containers, by container name.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    by_name: Mutex<HashMap<String, Record>>,
}

#[derive(Debug, Default)]
struct Record {
    /// Calls that may turn out to lead to a start.
    before: VecDeque<Step>,
    /// The last start.
    steps: Vec<Step>,
    /// The start is under way.
    open: bool,
}

impl Traces {
    /// Records a step of the container that `name`, its own or its sidecar's, belongs to.
    pub(crate) fn record(&self, name: &str, step: Step) {
        let mut by_name = lock(&self.by_name);
        let name = owner(name);
        if !by_name.contains_key(name) && by_name.len() >= CONTAINERS {
            forget_oldest(&mut by_name);
        }
        by_name.entry(name.to_owned()).or_default().record(step);
    }

    /// The container is being created: what follows is its start.
    pub(crate) fn begin(&self, name: &str) {
        lock(&self.by_name)
            .entry(owner(name).to_owned())
            .or_default()
            .begin(Instant::now());
    }

    /// Records a call of the Docker API that began at `at` and has just been answered.
    pub(crate) fn call(
        &self,
        at: Instant,
        method: &Method,
        path: &[String],
        query: Option<&str>,
        status: StatusCode,
    ) {
        if let Some((name, what)) = describe(method, path, query, status) {
            self.record(&name, Step::since(at, Phase::Call, what));
        }
    }

    /// The steps of a container's last start, in the order in which they began.
    pub(crate) fn steps(&self, name: &str) -> Vec<Step> {
        let by_name = lock(&self.by_name);
        let mut steps = by_name
            .get(owner(name))
            .map(|record| record.steps.clone())
            .unwrap_or_default();
        steps.sort_by_key(|step| step.at);
        steps
    }
}

impl Record {
    fn begin(&mut self, now: Instant) {
        let mut related: Vec<Step> = Vec::new();
        let mut next = now;
        while let Some(step) = self.before.pop_back() {
            if next.saturating_duration_since(step.end()) > UNRELATED {
                break;
            }
            next = step.at;
            related.push(step);
        }
        self.before.clear();
        self.steps = related;
        self.open = true;
    }

    fn record(&mut self, step: Step) {
        if self.open {
            self.open = step.phase != Phase::FirstByte;
            if self.steps.len() < STEPS {
                self.steps.push(step);
            }
        } else if matches!(step.phase, Phase::Call | Phase::Network) {
            if self.before.len() == CALLS_BEFORE {
                self.before.pop_front();
            }
            self.before.push_back(step);
        }
    }

    fn touched(&self) -> Option<Instant> {
        let last = self.before.back().or(self.steps.last());
        last.map(Step::end)
    }
}

fn forget_oldest(by_name: &mut HashMap<String, Record>) {
    let oldest = by_name
        .iter()
        .min_by_key(|(_, record)| record.touched())
        .map(|(name, _)| name.clone());
    if let Some(name) = oldest {
        by_name.remove(&name);
    }
}

fn owner(name: &str) -> &str {
    name.strip_suffix(SIDECAR_SUFFIX).unwrap_or(name)
}

/// Name of the container, and the call with the name made readable. Calls that are about no
/// container, and those of our own command line, are none of a start.
fn describe(
    method: &Method,
    path: &[String],
    query: Option<&str>,
    status: StatusCode,
) -> Option<(String, String)> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let shown = |name: &str| {
        if name.ends_with(SIDECAR_SUFFIX) {
            "{sidecar}"
        } else {
            "{container}"
        }
    };
    let (name, call) = match path[..] {
        ["containers", "create"] => {
            let name = Query::parse(query).get("name")?.to_owned();
            let call = format!("/containers/create?name={}", shown(&name));
            (name, call)
        }
        ["containers", _, "trace" | "logs" | "exec"] | ["containers", "json"] => return None,
        ["containers", name] => (name.to_owned(), format!("/containers/{}", shown(name))),
        ["containers", name, operation] => {
            let call = format!("/containers/{}/{operation}", shown(name));
            (name.to_owned(), call)
        }
        _ => return None,
    };
    Some((name, format!("{method} {call} → {}", status.as_u16())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(what: &str) -> Step {
        Step::since(Instant::now(), Phase::Call, what)
    }

    fn whats(traces: &Traces, name: &str) -> Vec<String> {
        let steps = traces.steps(name);
        steps.into_iter().map(|step| step.what).collect()
    }

    #[test]
    fn a_start_is_what_led_to_it_until_the_first_byte() {
        let traces = Traces::default();
        traces.record("c-proxy", call("create sidecar"));
        traces.begin("c");
        traces.record("c", call("create"));
        traces.record("c", Step::since(Instant::now(), Phase::FirstByte, ""));
        traces.record("c", call("inspect"));
        assert_eq!(whats(&traces, "c"), ["create sidecar", "create", ""]);
        // The next one starts with what was asked since.
        traces.begin("c");
        traces.record("c", call("again"));
        assert_eq!(whats(&traces, "c-proxy"), ["inspect", "again"]);
        assert!(whats(&traces, "other").is_empty());
    }

    #[test]
    fn what_was_long_before_does_not_belong_to_a_start() {
        let mut record = Record::default();
        record.record(call("old"));
        record.begin(Instant::now() + 2 * UNRELATED);
        assert!(record.steps.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let traces = Traces::default();
        for number in 0..=CONTAINERS {
            traces.record(&format!("c{number}"), call("x"));
        }
        assert_eq!(lock(&traces.by_name).len(), CONTAINERS);
        assert!(!lock(&traces.by_name).contains_key("c0"));
        traces.begin("c1");
        for _ in 0..=STEPS {
            traces.record("c1", call("x"));
        }
        assert_eq!(traces.steps("c1").len(), STEPS);
    }

    #[test]
    fn calls_name_their_container() {
        let of = |method: Method, path: &str, query: Option<&str>| {
            let path: Vec<String> = path.split('/').map(str::to_owned).collect();
            describe(&method, &path, query, StatusCode::OK)
        };
        assert_eq!(
            of(
                Method::POST,
                "containers/create",
                Some("name=workerd-a-proxy")
            ),
            Some((
                "workerd-a-proxy".to_owned(),
                "POST /containers/create?name={sidecar} → 200".to_owned()
            ))
        );
        let start = of(Method::POST, "containers/workerd-a/start", None).unwrap();
        assert_eq!(start.1, "POST /containers/{container}/start → 200");
        assert!(of(Method::GET, "containers/json", None).is_none());
        assert!(of(Method::GET, "networks/bridge", None).is_none());
    }
}
