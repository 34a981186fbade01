//! What is said and what happens, brought to the logs and to those who watch: consoles of Workers, traces of
//! their invocations, output and events of containers.
//!
//! Invariant: nothing here is waited for by a Worker or a container.

mod consumed;
mod consumers;
mod containers;
mod exports;
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_config::ServerConfig;
use berth_control::containers::Application;
use berth_control::worker::Worker;
use berth_engine::Engine;
use berth_error::Report;
use berth_logs::{Entry, Level, Logs, LogsOptions, Source, Tails, Trace};
use berth_workerd::{LogLevel, TraceOptions, TraceSwitch, Traces};
use serde_json::Value;
use tokio::task::JoinHandle;

use consumers::Consumers;

pub(super) use consumers::Consumer;

/// The logs and who watches. Shared by all apps.
pub(super) struct Watch {
    pub(super) logs: Logs,
    pub(super) tails: Tails,
    /// Where workerd sends traces, in the session's directory.
    sink: PathBuf,
    consumers: Consumers,
    known: Mutex<Known>,
}

/// What must be known of what is deployed.
#[derive(Debug, Default)]
struct Known {
    /// By id.
    workers: BTreeMap<String, KnownWorker>,
    /// By the key of a container class: whose it is.
    keys: BTreeMap<String, Class>,
    /// By the Worker's name: of the processes that run.
    switches: BTreeMap<String, Switch>,
}

#[derive(Debug)]
struct KnownWorker {
    name: String,
    container_classes: BTreeSet<String>,
    /// Its invocations are kept.
    observed: bool,
    /// Ids of the Workers that are told what it does.
    consumers: Vec<String>,
    /// Those of them which are themselves a reason for its `tail()` to be called.
    circles: BTreeSet<String>,
}

/// Whether a process tells what it does.
#[derive(Clone, Debug)]
struct Switch {
    switch: TraceSwitch,
    /// What it was told last; held while it is told something else.
    told: Arc<tokio::sync::Mutex<Traces>>,
}

/// A class with containers.
#[derive(Clone, Debug)]
struct Class {
    app: String,
}

/// Everything that runs for a [`Watch`].
pub(super) struct Watching {
    tasks: Vec<JoinHandle<()>>,
}

impl Watching {
    pub(super) async fn end(self) {
        for task in self.tasks {
            task.abort();
            // Only tells that it was aborted.
            let _ = task.await;
        }
    }
}

impl Watch {
    /// Opens the logs and begins to listen.
    pub(super) async fn start(
        directory: &Path,
        session: &Path,
        engine: &Engine,
        config: &ServerConfig,
    ) -> Result<(Arc<Self>, Watching), Report> {
        let options = LogsOptions {
            max_age: config.logs.retention,
            max_bytes: config.logs.max_size,
        };
        let logs = Logs::open(directory, options)?;
        let watch = Arc::new(Self {
            logs: logs.clone(),
            tails: Tails::default(),
            sink: session.join("traces"),
            consumers: Consumers::new(logs.clone()),
            known: Mutex::default(),
        });
        let mut tasks = exports::start(&logs, config).await?;
        tasks.push(sink::serve(&watch)?);
        tasks.push(containers::follow(&watch, engine));
        tasks.push(tokio::spawn(Arc::clone(&watch).follow_tails()));
        Ok((watch, Watching { tasks }))
    }

    /// Learns what is deployed, before any of it runs.
    pub(super) fn learn(self: &Arc<Self>, workers: &[Worker], applications: &[Application]) {
        let consumers = ConsumersOf::new(workers);
        let mut known = self.lock();
        known.workers.clear();
        known.keys.clear();
        for worker in workers {
            let mut container_classes = BTreeSet::new();
            for (name, class) in &worker.classes {
                let mut all = applications.iter();
                if all.any(|application| application.namespace_id == class.namespace_id) {
                    container_classes.insert(name.clone());
                    let app = worker.name.clone();
                    known.keys.insert(class.key.clone(), Class { app });
                }
            }
            let one = KnownWorker {
                name: worker.name.clone(),
                container_classes,
                observed: is_observed(worker),
                consumers: consumers.of(&worker.id).to_vec(),
                circles: consumers.circles(&worker.id),
            };
            known.workers.insert(worker.id.clone(), one);
        }
        drop(known);
        // Whether invocations are kept may have changed.
        tokio::spawn(Arc::clone(self).switch_all());
    }

    /// How a Worker's version tells what it does.
    pub(super) fn trace_options(&self, worker: &Worker, version: &str) -> TraceOptions {
        TraceOptions {
            sink: self.sink.clone(),
            path: format!("/{}/{version}", worker.id),
        }
    }

    /// A line of a Worker's console.
    pub(super) fn console(&self, app: &str, version: Option<&str>, level: LogLevel, text: String) {
        let level = match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Log => Level::Log,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        };
        let mut entry = Entry::new(app, Source::Worker, level, text);
        entry.version = version.map(str::to_owned);
        self.logs.write(entry);
    }

    /// The server itself about an app.
    pub(super) fn say(&self, app: &str, version: Option<&str>, level: Level, text: String) {
        let mut entry = Entry::new(app, Source::System, level, text);
        entry.version = version.map(str::to_owned);
        self.logs.write(entry);
    }

    /// A process of this app runs and tells nothing yet; on return it does, if somebody wants to know.
    pub(super) async fn runs(&self, app: &str, switch: Option<TraceSwitch>) {
        {
            let mut known = self.lock();
            match switch {
                Some(switch) => {
                    let told = Arc::default();
                    known
                        .switches
                        .insert(app.to_owned(), Switch { switch, told })
                }
                None => known.switches.remove(app),
            };
        }
        self.switch(app).await;
    }

    /// Has the app's process tell what it does, or not.
    pub(super) async fn switch(&self, app: &str) {
        let Some(Switch { switch, told }) = self.lock().switches.get(app).cloned() else {
            return;
        };
        let mut told = told.lock().await;
        let wanted = self.wanted(app);
        if *told == wanted {
            return;
        }
        *told = wanted;
        if let Err(error) = switch.set(wanted).await {
            tracing::debug!(%error, app, ?wanted, "workerd was not told what to tell");
        }
    }

    fn wanted(&self, app: &str) -> Traces {
        let known = self.lock();
        let worker = known.workers.values().find(|worker| worker.name == app);
        match worker {
            Some(worker) if !worker.consumers.is_empty() => Traces::Whole,
            Some(worker) if worker.observed => Traces::Told,
            _ if self.tails.wants(app) => Traces::Told,
            _ => Traces::Off,
        }
    }

    /// Says who is told what others do, by id, and where it is reached.
    pub(super) fn tell_consumers(&self, consumers: BTreeMap<String, Consumer>) {
        self.consumers.replace(consumers);
    }

    async fn switch_all(self: Arc<Self>) {
        let apps: Vec<String> = self.lock().switches.keys().cloned().collect();
        for app in apps {
            self.switch(&app).await;
        }
    }

    /// Tells processes when the first tail comes and the last one goes.
    async fn follow_tails(self: Arc<Self>) {
        let mut changes = self.tails.changes();
        while changes.changed().await.is_ok() {
            changes.mark_unchanged();
            Arc::clone(&self).switch_all().await;
        }
    }

    /// Takes the traces of a Worker's version: those that say something are shown and, if the Worker wants it,
    /// kept.
    fn take(&self, worker: &str, version: &str, events: Vec<Value>) {
        let known = self.lock();
        let Some(worker) = known.workers.get(worker) else {
            return;
        };
        for mut event in events {
            let extras = consumed::read(&mut event);
            let trace = Trace::read(&worker.name, Some(version), event);
            let of_container = trace
                .entrypoint()
                .is_some_and(|class| worker.container_classes.contains(class));
            if of_container && trace.is_quiet_alarm() {
                continue;
            }
            self.tell(worker, &trace, extras);
            self.tails.publish(&trace);
            if worker.observed {
                self.logs.write(trace.entry());
            }
            self.logs.ended(trace);
        }
    }

    /// Tells the consumers of a Worker.
    fn tell(&self, worker: &KnownWorker, trace: &Trace, extras: Option<Value>) {
        let is_tail = consumed::is_tail(&trace.value);
        // No end of it otherwise.
        let told = worker.consumers.iter();
        let told = told.filter(|id| !(is_tail && worker.circles.contains(*id)));
        let mut json: Option<Arc<str>> = None;
        for consumer in told {
            let json = json.get_or_insert_with(|| consumed::write(&trace.value, extras.as_ref()));
            self.consumers.tell(consumer, &worker.name, json);
        }
    }

    /// Whose container has this name, and the id of its object.
    pub(super) fn owner(&self, container: &str) -> Option<(String, String)> {
        let (rest, object) = container.rsplit_once('-')?;
        let known = self.lock();
        let mut keys = known.keys.iter();
        // Keys have no dash in them: they are digits.
        let (_, class) = keys.find(|(key, _)| {
            let before = rest.strip_suffix(key.as_str());
            before.is_some_and(|before| before.ends_with('-'))
        })?;
        Some((class.app.clone(), object.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // It is replaced whole or one entry at a time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which Workers are told what which others do, by id.
struct ConsumersOf(BTreeMap<String, Vec<String>>);

impl ConsumersOf {
    fn new(workers: &[Worker]) -> Self {
        let id = |name: &String| {
            let mut live = workers.iter().filter(|worker| worker.live().is_some());
            live.find(|worker| worker.name == *name)
                .map(|worker| worker.id.clone())
        };
        let all = workers.iter().map(|worker| {
            let names: BTreeSet<String> = worker.tail_consumers().into_iter().collect();
            (worker.id.clone(), names.iter().filter_map(id).collect())
        });
        Self(all.collect())
    }

    fn of(&self, id: &str) -> &[String] {
        self.0.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those consumers of a Worker that it hears of itself, directly or through others.
    fn circles(&self, id: &str) -> BTreeSet<String> {
        let leads_back = |consumer: &&String| {
            let mut seen = BTreeSet::new();
            let mut next = vec![consumer.as_str()];
            while let Some(one) = next.pop() {
                if one == id {
                    return true;
                }
                if seen.insert(one) {
                    next.extend(self.of(one).iter().map(String::as_str));
                }
            }
            false
        };
        self.of(id).iter().filter(leads_back).cloned().collect()
    }
}

/// Whether wrangler's `observability` says that invocations are kept. Consoles and containers always are.
fn is_observed(worker: &Worker) -> bool {
    let Some(observability) = worker.settings.get("observability") else {
        return false;
    };
    let is = |value: &Value| value.as_bool();
    let logs = &observability["logs"];
    let invocations = is(&logs["invocation_logs"]).unwrap_or(true);
    is(&logs["enabled"])
        .or(is(&observability["enabled"]))
        .unwrap_or(false)
        && invocations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_observability_says() {
        let observed = |value: serde_json::Value| {
            let mut worker: Worker = serde_json::from_value(json!({
                "id": "1", "name": "a", "created": "", "modified": "", "migration_tag": null,
                "classes": {}, "versions": [], "last_number": 0, "deployments": [],
                "subdomain": {"enabled": true, "previews_enabled": false},
                "crons": [], "routes": [], "domains": [], "settings": {},
            }))
            .unwrap();
            worker.settings.insert("observability".to_owned(), value);
            is_observed(&worker)
        };
        assert!(observed(json!({"enabled": true})));
        assert!(observed(
            json!({"enabled": false, "logs": {"enabled": true}})
        ));
        assert!(!observed(
            json!({"enabled": true, "logs": {"enabled": false}})
        ));
        assert!(!observed(
            json!({"enabled": true, "logs": {"invocation_logs": false}})
        ));
        assert!(!observed(json!({"enabled": false})));
        assert!(!observed(json!(null)));
    }
}
