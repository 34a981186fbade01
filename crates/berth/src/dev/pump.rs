//! Carries what the parts of a session report to the screen, and workerd's address to the gateway.
//!
//! A task of its own, so that output flows while the session is busy with a reload.

use std::sync::Arc;

use berth_engine::{Engine, Event};
use berth_gateway::{RequestEvent, Site};
use berth_workerd::{LogLevel, Workerd, WorkerdEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use super::event::DevEvent;
use super::screen::Screen;
use super::session::{DevSession, Streams};
use super::worker::lead;

/// Starts the task. It ends when it is aborted or every part has ended.
pub(crate) fn start(session: &DevSession, streams: Streams, screen: Screen) -> JoinHandle<()> {
    let pump = Pump {
        screen,
        site: Arc::clone(&session.site),
        workerd: session.workerd.clone(),
        cgroup: session.cgroup(),
    };
    tokio::spawn(pump.run(session.engine().clone(), streams))
}

struct Pump {
    screen: Screen,
    site: Arc<Site>,
    workerd: Option<Arc<Workerd>>,
    cgroup: String,
}

impl Pump {
    async fn run(self, engine: Engine, mut streams: Streams) {
        let mut containers = engine.events();
        loop {
            tokio::select! {
                Some(event) = streams.workerd.recv() => self.workerd(event),
                Some(event) = streams.requests.recv() => self.request(event),
                event = containers.recv() => match event {
                    Ok(event) => if let Some(event) = container(&event) {
                        self.screen.show(&event);
                    },
                    Err(RecvError::Lagged(lost)) => self.screen.show(&self::lost(lost)),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    fn workerd(&self, event: WorkerdEvent) {
        match event {
            WorkerdEvent::Started { pid } => {
                if let Err(error) = berth_jail::adopt_into_session(&self.cgroup, pid) {
                    tracing::debug!(%error, pid, "workerd is not in the session's cgroup");
                }
            }
            // The first start and reloads are the session's; this one also follows a crash.
            WorkerdEvent::Ready { .. } => {
                if let Some(workerd) = &self.workerd {
                    lead(&self.site, workerd);
                }
                self.site.release();
            }
            WorkerdEvent::Log { level, text } => {
                let stream = if level >= LogLevel::Warn {
                    "stderr"
                } else {
                    "stdout"
                };
                for message in text.lines() {
                    self.screen.show(&DevEvent::Log {
                        source: "worker".to_owned(),
                        stream,
                        message: message.to_owned(),
                    });
                }
            }
            WorkerdEvent::Crashed { status, restart_in } => {
                self.site.hold();
                self.screen.show(&DevEvent::Error {
                    message: format!(
                        "workerd ended ({status}); it starts again in {} ms",
                        restart_in.as_millis()
                    ),
                });
            }
        }
    }

    fn request(&self, event: RequestEvent) {
        self.screen.show(&DevEvent::Request {
            method: event.method,
            path: event.path,
            status: event.status,
            duration_ms: event.duration.as_secs_f64() * 1000.0,
        });
    }
}

/// That events were dropped because the screen was too slow.
pub(crate) fn lost(count: u64) -> DevEvent {
    DevEvent::Warning {
        message: format!("{count} lines of containers are not shown: too many at once"),
    }
}

/// What a person is told of something that happened to a container.
pub(crate) fn container(event: &Event) -> Option<DevEvent> {
    let (action, container) = match event {
        Event::Started(container) => ("started", container),
        Event::Exited(container) => ("exited", container),
        Event::StartFailed(container) => ("failed", container),
        Event::Removed(container) => ("removed", container),
        Event::Asleep(container) => ("asleep", container),
        Event::Awake(container) => ("awake", container),
        Event::Created(_) | Event::Adopted(_) => return None,
        Event::CreateFailed {
            display_name,
            reason,
            ..
        } => {
            return Some(DevEvent::Container {
                action: "failed",
                name: display_name.clone(),
                exit_code: None,
                reason: Some(reason.clone()),
            });
        }
        Event::Log {
            display_name, line, ..
        } => {
            return Some(DevEvent::Log {
                source: display_name.to_string(),
                stream: if line.stderr { "stderr" } else { "stdout" },
                message: String::from_utf8_lossy(&line.bytes).into_owned(),
            });
        }
    };
    let out_of_memory = container.exit.is_some_and(|exit| exit.oom_killed);
    let reason = if out_of_memory {
        Some("out of memory".to_owned())
    } else {
        container.error.clone()
    };
    Some(DevEvent::Container {
        action,
        name: container.display_name.clone(),
        exit_code: container.exit.map(|exit| exit.code),
        reason,
    })
}
