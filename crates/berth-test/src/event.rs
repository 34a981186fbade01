//! What a session writes with `--json`, kept in order, and waiting for the next thing of interest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

/// One JSON line of the session.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(pub Value);

impl Event {
    /// The kind: `ready`, `log`, `container`, …
    pub fn kind(&self) -> &str {
        self.text("event")
    }

    /// A text field, empty if it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Whether it is a log line that contains `text`.
    pub fn is_log(&self, text: &str) -> bool {
        self.kind() == "log" && self.text("message").contains(text)
    }

    /// Whether it is `action` of a container whose name contains `name`.
    pub fn is_container(&self, action: &str, name: &str) -> bool {
        self.kind() == "container"
            && self.text("action") == action
            && self.text("name").contains(name)
    }
}

/// All events of one session so far. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    seen: Arc<Mutex<Vec<Event>>>,
    /// Number of events, and whether more can come.
    progress: watch::Receiver<(usize, bool)>,
}

impl Events {
    /// Reads events from the session's standard output until it ends. Lines that are no JSON object
    /// are a broken promise of `--json` and become events of the kind `garbage`.
    pub(crate) fn read(stdout: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (sender, progress) = watch::channel((0, true));
        let events = Self {
            seen: Arc::clone(&seen),
            progress,
        };
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let value = serde_json::from_slice::<Value>(&line)
                    .ok()
                    .filter(Value::is_object)
                    .unwrap_or_else(|| {
                        let text = String::from_utf8_lossy(&line).into_owned();
                        serde_json::json!({ "event": "garbage", "message": text })
                    });
                let count = {
                    let mut seen = seen.lock().expect("no holder panics");
                    seen.push(Event(value));
                    seen.len()
                };
                sender.send_replace((count, true));
            }
            sender.send_modify(|(_, more)| *more = false);
        });
        events
    }

    /// A copy of all events so far.
    pub fn all(&self) -> Vec<Event> {
        self.seen.lock().expect("no holder panics").clone()
    }

    /// How many there are: a mark for [`Events::wait_after`].
    pub fn mark(&self) -> usize {
        self.seen.lock().expect("no holder panics").len()
    }

    /// How many of the events so far are wanted.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let seen = self.seen.lock().expect("no holder panics");
        seen.iter().filter(|event| wanted(event)).count()
    }

    /// The first wanted event of the session, past or future.
    pub async fn wait(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        self.wait_after(0, what, patience, wanted).await
    }

    /// The first wanted event at or after a mark.
    pub async fn wait_after(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        match tokio::time::timeout(patience, self.find_from(mark, wanted)).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the session ended without {what}\n{}", self.transcript()),
            Err(_) => panic!("no {what} within {patience:?}\n{}", self.transcript()),
        }
    }

    /// The first wanted event from `position` on, or `None` when the session's output ends.
    pub(crate) async fn find_from(
        &self,
        mut position: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Option<Event> {
        let mut progress = self.progress.clone();
        loop {
            let (count, more) = *progress.borrow_and_update();
            {
                let seen = self.seen.lock().expect("no holder panics");
                let new = seen.get(position..count).unwrap_or_default();
                if let Some(event) = new.iter().find(|event| wanted(event)) {
                    return Some(event.clone());
                }
            }
            position = position.max(count);
            if !more || progress.changed().await.is_err() {
                return None;
            }
        }
    }

    /// All events as text, for a failure's message.
    pub fn transcript(&self) -> String {
        let seen = self.seen.lock().expect("no holder panics");
        let lines: Vec<_> = seen.iter().map(|event| event.0.to_string()).collect();
        format!("--- events of the session:\n{}\n---", lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn past_and_future_events_are_found_in_order() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let events = Events::read(reader);
        writer
            .write_all(b"{\"event\":\"a\"}\nnot json\n")
            .await
            .unwrap();
        let short = Duration::from_secs(5);
        assert_eq!(
            events
                .wait("a", short, |event| event.kind() == "a")
                .await
                .kind(),
            "a"
        );
        events
            .wait("garbage", short, |event| event.kind() == "garbage")
            .await;
        let mark = events.mark();
        assert_eq!(mark, 2);
        writer.write_all(b"{\"event\":\"a\"}\n").await.unwrap();
        events
            .wait_after(mark, "another a", short, |event| event.kind() == "a")
            .await;
        assert_eq!(events.count(|event| event.kind() == "a"), 2);
    }

    #[tokio::test]
    async fn the_end_of_the_output_ends_the_wait() {
        let (writer, reader) = tokio::io::duplex(1024);
        let events = Events::read(reader);
        drop(writer);
        assert_eq!(events.find_from(0, |_| true).await, None);
    }
}
