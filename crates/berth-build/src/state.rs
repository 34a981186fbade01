//! What a stage has become so far: layers, configuration, history, variables in scope.

use std::collections::BTreeMap;

use berth_image::{Image, ImageError, ImageStore, Layer};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::cache::Record;
use crate::dockerfile::expand::Variables;
use crate::epoch::Epoch;

/// Docker's default for images that bring no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage under construction, or finished.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) layers: Vec<Layer>,
    /// The image configuration: `config`, `history`, `author`, …
    pub(crate) image: Map<String, Value>,
    /// `ENV`, in order.
    pub(crate) env: Vec<(String, String)>,
    /// `ARG`s in scope of this stage.
    pub(crate) args: BTreeMap<String, String>,
    /// Unix seconds of the newest layer made by a build.
    created: Option<u64>,
    /// How many lines of the history come from the base.
    pub(crate) inherited_history: usize,
    /// How many of them come from an image rather than from this build.
    image_history: usize,
}

impl Variables for State {
    /// `ENV` wins over `ARG`.
    fn get(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .or_else(|| self.args.get(name).map(String::as_str))
    }
}

impl State {
    /// Begins a stage on an image.
    pub(crate) fn from_image(store: &ImageStore, image: &Image) -> Result<Self, ImageError> {
        store.touch(image);
        let fields = match store.config_json(image)? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Ok(Self {
            layers: image.layers.clone(),
            inherited_history: history_len(&fields),
            image_history: history_len(&fields),
            image: fields,
            env: image
                .env()
                .iter()
                .map(|variable| {
                    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                    (name.to_owned(), value.to_owned())
                })
                .collect(),
            ..Self::default()
        })
    }

    /// Begins a stage on an earlier one: arguments are not inherited.
    pub(crate) fn from_stage(stage: &Self) -> Self {
        Self {
            args: BTreeMap::new(),
            inherited_history: history_len(&stage.image),
            ..stage.clone()
        }
    }

    /// The part of the configuration that says how to run the image.
    pub(crate) fn config(&mut self) -> &mut Map<String, Value> {
        let config = self.image.entry("config").or_insert_with(|| json!({}));
        if !config.is_object() {
            *config = json!({});
        }
        match config {
            Value::Object(fields) => fields,
            _ => unreachable!("made an object above"),
        }
    }

    fn text(&self, field: &str) -> &str {
        self.image
            .get("config")
            .and_then(|config| config.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn list(&self, field: &str) -> Vec<String> {
        self.image
            .get("config")
            .and_then(|config| config.get(field))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn user(&self) -> &str {
        self.text("User")
    }

    /// Absolute.
    pub(crate) fn working_dir(&self) -> &str {
        match self.text("WorkingDir") {
            "" => "/",
            path => path,
        }
    }

    pub(crate) fn shell(&self) -> Vec<String> {
        let shell = self.list("Shell");
        if shell.is_empty() {
            return vec!["/bin/sh".to_owned(), "-c".to_owned()];
        }
        shell
    }

    /// Takes the triggers that a base image leaves to whoever uses it.
    pub(crate) fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.list("OnBuild");
        self.config().remove("OnBuild");
        triggers
    }

    /// A path as `WORKDIR` and `COPY` mean it: relative to the working directory, without `.` and
    /// `..`; a slash at the end stays.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let joined = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.working_dir())
        };
        let is_directory =
            matches!(path, "." | "..") || path.ends_with(['/']) || path.ends_with("/.");
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        let absolute = format!("/{}", parts.join("/"));
        if is_directory && absolute != "/" {
            absolute + "/"
        } else {
            absolute
        }
    }

    /// Sets a variable of `ENV`.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
        let list: Vec<String> = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.config().insert("Env".to_owned(), list.into());
    }

    /// The environment of a `RUN`: `ARG`s, then `ENV`, and a `PATH` in any case. `given` are build
    /// arguments that need no `ARG` (proxies).
    pub(crate) fn run_env(&self, given: &BTreeMap<String, String>) -> Vec<String> {
        let mut env: Vec<String> = Vec::new();
        for (name, value) in given.iter().chain(&self.args) {
            let shadowed = self.env.iter().any(|(known, _)| known == name);
            if !shadowed {
                env.push(format!("{name}={value}"));
            }
        }
        env.extend(
            self.env
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        if Variables::get(self, "PATH").is_none() {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        env
    }

    /// Adds what a step made.
    pub(crate) fn add(&mut self, record: &Record, text: &str) {
        self.note(text, record.layer.is_none(), Some(record.created));
        if let Some(layer) = &record.layer {
            self.layers.push(layer.clone());
            self.created = self.created.max(Some(record.created));
        }
    }

    /// Adds a line to the history.
    pub(crate) fn note(&mut self, text: &str, empty: bool, created: Option<u64>) {
        let mut entry = json!({ "created_by": text });
        if empty {
            entry["empty_layer"] = true.into();
        } else if let Some(created) = created {
            entry["created"] = rfc3339(created).into();
        }
        let history = self.image.entry("history").or_insert_with(|| json!([]));
        match history {
            Value::Array(entries) => entries.push(entry),
            other => *other = json!([entry]),
        }
    }

    /// Sets a label of the image.
    pub(crate) fn label(&mut self, name: &str, value: Value) {
        let labels = self.config().entry("Labels").or_insert_with(|| json!({}));
        match labels {
            Value::Object(labels) => drop(labels.insert(name.to_owned(), value)),
            other => *other = json!({ name: value }),
        }
    }

    /// Stores the stage as an image. The same layers and settings give the same image: its time is
    /// that of the newest layer, not of the build, and none of this build's times is after `epoch`.
    pub(crate) fn store(
        mut self,
        store: &ImageStore,
        epoch: Option<Epoch>,
    ) -> Result<Image, ImageError> {
        let clamp = |seconds: u64| epoch.map_or(seconds, |Epoch(latest)| seconds.min(latest));
        let created = self.created.or(epoch.map(|Epoch(latest)| latest));
        if let Some(created) = created.map(clamp) {
            self.image
                .insert("created".to_owned(), rfc3339(created).into());
        }
        if let Some(Epoch(latest)) = epoch {
            let latest = rfc3339(latest);
            let history = self.image.get_mut("history").and_then(Value::as_array_mut);
            for entry in history.into_iter().flatten().skip(self.image_history) {
                // All times here are written by [`rfc3339`], so they sort as texts.
                let known = entry["created"].as_str();
                if known.is_none_or(|known| *known > *latest) {
                    entry["created"] = latest.clone().into();
                }
            }
        }
        store.put_image_json(Value::Object(self.image), self.layers)
    }
}

fn history_len(image: &Map<String, Value>) -> usize {
    image
        .get("history")
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// Unix seconds as RFC 3339 in UTC. A time that no calendar has is 1970.
fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_795_219_200), "2026-11-21T00:00:00Z");
    }

    #[test]
    fn paths_are_relative_to_the_working_directory() {
        let mut state = State::default();
        assert_eq!(state.absolute("a"), "/a");
        state
            .config()
            .insert("WorkingDir".to_owned(), "/app".into());
        for (path, expected) in [
            ("a", "/app/a"),
            ("./a/", "/app/a/"),
            (".", "/app/"),
            ("./", "/app/"),
            ("..", "/"),
            ("../../../x", "/x"),
            ("/b/../c", "/c"),
            ("/", "/"),
        ] {
            assert_eq!(state.absolute(path), expected, "{path}");
        }
    }
}
