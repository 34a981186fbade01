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

/// `ARG`s that are for the builder.
const NOT_FOR_RUN: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// A stage under construction, or finished.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) layers: Vec<Layer>,
    /// The image configuration: `config`, `history`, `author`, …
    pub(crate) image: Map<String, Value>,
    /// `ENV` of the image, in order.
    pub(crate) env: Vec<(String, String)>,
    /// What `RUN` sees and words are expanded from: `ENV` and `ARG`, the later one of a name.
    variables: Vec<(String, String)>,
    /// Declared `ARG`s, in order, also those without a value; inherited by stages built on this one.
    pub(crate) build_args: Vec<(String, Option<String>)>,
    /// Unix seconds of the newest layer made by a build.
    created: Option<u64>,
    /// How many lines of the history come from an image rather than from this build.
    image_history: usize,
    /// Lines of instructions of which the last one counts.
    pub(crate) seen: Seen,
    /// A `WORKDIR` of this file has been carried out.
    pub(crate) workdir_set: bool,
}

/// Lines of instructions of this stage of which the last one counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cmd: Option<usize>,
    pub(crate) entrypoint: Option<usize>,
    pub(crate) healthcheck: Option<usize>,
}

impl Variables for State {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn names(&self) -> Vec<&str> {
        self.variables
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl State {
    /// Begins a stage on nothing, as BuildKit does: with a `PATH` and a working directory.
    pub(crate) fn scratch() -> Self {
        let mut state = Self::default();
        state.config().insert("WorkingDir".to_owned(), "/".into());
        state.begin();
        state
    }

    /// Begins a stage on an image.
    pub(crate) fn from_image(store: &ImageStore, image: &Image) -> Result<Self, ImageError> {
        store.touch(image);
        let fields = match store.config_json(image)? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let env = image.env().iter().map(|variable| {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            (name.to_owned(), value.to_owned())
        });
        let mut state = Self {
            layers: image.layers.clone(),
            image_history: history_len(&fields),
            image: fields,
            env: env.collect(),
            ..Self::default()
        };
        state.begin();
        Ok(state)
    }

    /// The `ONBUILD` triggers that an image leaves to whoever uses it.
    pub(crate) fn triggers_of(
        store: &ImageStore,
        image: &Image,
    ) -> Result<Vec<String>, ImageError> {
        let config = store.config_json(image)?;
        let triggers = config["config"]["OnBuild"].as_array();
        let triggers = triggers.into_iter().flatten();
        Ok(triggers
            .filter_map(|trigger| trigger.as_str().map(str::to_owned))
            .collect())
    }

    /// What the image's configuration says of its operating system and architecture.
    pub(crate) fn platform(&self) -> Option<(&str, &str)> {
        let field = |name: &str| self.image.get(name).and_then(Value::as_str);
        field("os").zip(field("architecture"))
    }

    /// Begins a stage on an earlier one.
    pub(crate) fn from_stage(stage: &Self) -> Self {
        let mut state = Self {
            seen: Seen::default(),
            ..stage.clone()
        };
        // They are for the stages built on that one, and not for those built on this one.
        state.config().remove("OnBuild");
        state
    }

    fn begin(&mut self) {
        if !self.env.iter().any(|(name, _)| name == "PATH") {
            self.set_env("PATH", DEFAULT_PATH);
        }
        // The triggers are instructions of this stage now.
        self.config().remove("OnBuild");
        self.variables = self.env.clone();
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

    /// Absolute, as written.
    pub(crate) fn working_dir(&self) -> &str {
        match self.text("WorkingDir") {
            "" => "/",
            path => path,
        }
    }

    /// Whether a `SHELL` was set, here or in a base.
    pub(crate) fn has_own_shell(&self) -> bool {
        !self.list("Shell").is_empty()
    }

    pub(crate) fn shell(&self) -> Vec<String> {
        let shell = self.list("Shell");
        if shell.is_empty() {
            return vec!["/bin/sh".to_owned(), "-c".to_owned()];
        }
        shell
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

    /// [`State::absolute`] without the slash at the end.
    pub(crate) fn clean(&self, path: &str) -> String {
        let absolute = self.absolute(path);
        match absolute.trim_end_matches('/') {
            "" => "/".to_owned(),
            trimmed => trimmed.to_owned(),
        }
    }

    /// Sets a variable of `ENV`.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        set(&mut self.env, name, value);
        set(&mut self.variables, name, value);
        let list: Vec<String> = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.config().insert("Env".to_owned(), list.into());
    }

    /// Declares an `ARG`, which is no part of the image.
    pub(crate) fn set_arg(&mut self, name: &str, value: Option<&str>) {
        self.build_args
            .push((name.to_owned(), value.map(str::to_owned)));
        if let Some(value) = value.filter(|_| !NOT_FOR_RUN.contains(&name)) {
            set(&mut self.variables, name, value);
        }
    }

    /// The environment of a `RUN`: `ENV` and `ARG`s. `given` are build arguments that need no `ARG`
    /// (proxies).
    pub(crate) fn run_env(&self, given: &BTreeMap<String, String>) -> Vec<String> {
        let given = given
            .iter()
            .filter(|(name, _)| Variables::get(self, name).is_none());
        let own = self.variables.iter().map(|(name, value)| (name, value));
        given
            .chain(own)
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
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

fn set(variables: &mut Vec<(String, String)>, name: &str, value: &str) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => variables.push((name.to_owned(), value.to_owned())),
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
