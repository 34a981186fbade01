//! Output and events of containers, on their way into the logs.

use std::sync::Arc;

use berth_engine::{ContainerInfo, Engine, Event, LogLine, Lost};
use berth_logs::{Entry, Level, Source};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use super::Watch;

/// Follows the engine until the task is aborted or the engine has ended.
pub(super) fn follow(watch: &Arc<Watch>, engine: &Engine) -> JoinHandle<()> {
    let (watch, mut events) = (Arc::clone(watch), engine.events());
    tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(event) => watch.hear(&event),
                Err(RecvError::Lagged(lost)) => {
                    let text = format!("{lost} lines or events of containers are missing here");
                    watch.say("", None, Level::Warn, text);
                }
                Err(RecvError::Closed) => return,
            }
        }
    })
}

impl Watch {
    fn hear(&self, event: &Event) {
        let (container, kind, level) = match event {
            Event::Log {
                display_name,
                name,
                line,
            } => return self.output(display_name, name, line),
            Event::CreateFailed {
                name,
                display_name,
                full,
                reason,
            } => return self.refused(name, display_name, *full, reason),
            Event::Created(container) => (container, "placed", Level::Info),
            Event::Started(container) => (container, "started", Level::Info),
            Event::Adopted(container) => (container, "kept", Level::Info),
            Event::Exited(container) => {
                let failed = container.exit.is_some_and(|exit| exit.code != 0);
                let level = if failed { Level::Warn } else { Level::Info };
                (container, "stopped", level)
            }
            Event::StartFailed(container) => (container, "start_failed", Level::Error),
            Event::Asleep(container) => (container, "asleep", Level::Info),
            Event::Awake(container) => (container, "awake", Level::Info),
            Event::Removed(container) => (container, "removed", Level::Debug),
        };
        self.event(container, kind, level, &happened(event));
    }

    fn refused(&self, name: &str, display_name: &str, full: bool, reason: &str) {
        let Some((app, object)) = self.owner(name) else {
            return;
        };
        let level = if full { Level::Warn } else { Level::Error };
        let text = format!("was not placed: {reason}");
        self.logs.write(Entry {
            instance: Some(object),
            label: Some(display_name.to_owned()),
            data: Some(json!({"event": "refused", "full": full, "reason": reason})),
            ..Entry::new(&app, Source::Event, level, text)
        });
    }

    /// A container of the server before was ended because it could not be taken over.
    pub(in crate::serve) fn lost(&self, lost: &Lost) {
        let Lost {
            display_name,
            name,
            reason,
        } = lost;
        tracing::warn!(container = name, reason, "a container was not taken over");
        let owner = name.as_deref().and_then(|name| self.owner(name));
        let (app, object) = match owner {
            Some((app, object)) => (app, Some(object)),
            None => (String::new(), None),
        };
        let text = format!("ended: it could not be taken over from the server before: {reason}");
        self.logs.write(Entry {
            instance: object,
            label: display_name.clone(),
            data: Some(json!({"event": "lost", "reason": reason})),
            ..Entry::new(&app, Source::Event, Level::Error, text)
        });
    }

    /// An image has been brought to this machine.
    pub(in crate::serve) fn pulled(&self, image: &str) {
        let text = format!("the image {image} is here");
        self.logs.write(Entry {
            data: Some(json!({"event": "pulled", "image": image})),
            ..Entry::new("", Source::Event, Level::Info, text)
        });
    }

    /// A rollout is about to end a container.
    pub(in crate::serve) fn retired(&self, name: &str) {
        let Some((app, object)) = self.owner(name) else {
            return;
        };
        let text = "is asked to stop: a rollout has something else for it";
        self.logs.write(Entry {
            instance: Some(object),
            data: Some(json!({"event": "retired"})),
            ..Entry::new(&app, Source::Event, Level::Info, text)
        });
    }

    fn output(&self, display_name: &str, name: &str, line: &LogLine) {
        let Some((app, object)) = self.owner(name) else {
            return;
        };
        let level = if line.stderr {
            Level::Error
        } else {
            Level::Log
        };
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        self.logs.write(Entry {
            time_ms: line.time_ms,
            instance: Some(object),
            label: Some(display_name.to_owned()),
            ..Entry::new(&app, Source::Container, level, text)
        });
    }

    fn event(&self, container: &ContainerInfo, kind: &str, level: Level, text: &str) {
        let Some((app, object)) = self.owner(&container.name) else {
            return;
        };
        let data = json!({
            "event": kind,
            "container": container.id,
            "image": container.image,
            "exit_code": container.exit.map(|exit| exit.code),
            "out_of_memory": container.exit.map(|exit| exit.oom_killed),
            "reason": container.error,
        });
        self.logs.write(Entry {
            instance: Some(object),
            label: Some(container.display_name.clone()),
            data: Some(without_null(data)),
            ..Entry::new(&app, Source::Event, level, text)
        });
    }
}

fn without_null(mut data: Value) -> Value {
    if let Some(fields) = data.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    data
}

/// In words, to go on after the container's name.
fn happened(event: &Event) -> String {
    match event {
        Event::Created(container) => format!("placed with image {}", container.image),
        Event::Started(_) => "started".to_owned(),
        Event::Adopted(_) => {
            "runs on: the server has been started again; what it said last before that may be missing"
                .to_owned()
        }
        Event::Exited(container) => match container.exit {
            Some(exit) if exit.oom_killed => "stopped: out of memory".to_owned(),
            Some(exit) if exit.code == 0 => {
                "stopped: it ended by itself, or was asked to".to_owned()
            }
            Some(exit) if exit.code > 128 => {
                format!("stopped by signal {}", exit.code - 128)
            }
            Some(exit) => format!("stopped with exit code {}", exit.code),
            None => "stopped".to_owned(),
        },
        Event::StartFailed(container) => {
            let reason = container
                .error
                .as_deref()
                .unwrap_or("for an unknown reason");
            format!("did not start: {reason}")
        }
        Event::Asleep(_) => "fell asleep".to_owned(),
        Event::Awake(_) => "woke up".to_owned(),
        Event::Removed(_) => "removed".to_owned(),
        Event::CreateFailed { .. } | Event::Log { .. } => String::new(),
    }
}
