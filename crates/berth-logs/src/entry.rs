//! One line or event of the timeline.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Bytes of a text that are kept.
pub(crate) const MAX_TEXT: usize = 64 << 10;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Worker's console and its uncaught exceptions.
    Worker,
    /// A container's output.
    Container,
    /// A request, an alarm or the like has been handled by the Worker.
    Invocation,
    /// Something happened to a container.
    Event,
    /// The server, about the app: deployments, crashes.
    System,
}

impl Source {
    const ALL: [Self; 5] = [
        Self::Worker,
        Self::Container,
        Self::Invocation,
        Self::Event,
        Self::System,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Container => "container",
            Self::Invocation => "invocation",
            Self::Event => "event",
            Self::System => "system",
        }
    }

    /// By its word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Worker => 0,
            Self::Container => 1,
            Self::Invocation => 2,
            Self::Event => 3,
            Self::System => 4,
        }
    }

    pub(crate) fn numbered(number: u8) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.number() == number)
            .unwrap_or(Self::System)
    }
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `console.debug`.
    Debug,
    /// `console.log`; a container's standard output.
    Log,
    /// `console.info`; what goes as it should.
    Info,
    /// `console.warn`.
    Warn,
    /// `console.error`, exceptions; a container's standard error.
    Error,
}

impl Level {
    const ALL: [Self; 5] = [Self::Debug, Self::Log, Self::Info, Self::Warn, Self::Error];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Log => "log",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// By its word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Debug => 0,
            Self::Log => 1,
            Self::Info => 2,
            Self::Warn => 3,
            Self::Error => 4,
        }
    }

    pub(crate) fn numbered(number: u8) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.number() == number)
            .unwrap_or(Self::Error)
    }
}

/// One line or event.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts entries; 0 until it is kept.
    pub id: u64,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// Name of the Worker.
    pub app: String,
    /// The Worker's version, where known.
    pub version: Option<String>,
    /// Who says it.
    pub source: Source,
    /// Id of the Durable Object, where known; a container has its object's.
    pub instance: Option<String>,
    /// The container for people (`Class/…`).
    pub label: Option<String>,
    /// How urgent it is.
    pub level: Level,
    /// Which request, alarm or the like it belongs to, where known.
    pub invocation: Option<String>,
    /// What is said; may have several lines.
    pub text: String,
    /// What tools want to know of it.
    pub data: Option<Value>,
}

impl Entry {
    /// One that is said now.
    pub fn new(app: &str, source: Source, level: Level, text: impl Into<String>) -> Self {
        Self {
            id: 0,
            time_ms: now_ms(),
            app: app.to_owned(),
            version: None,
            source,
            instance: None,
            label: None,
            level,
            invocation: None,
            text: text.into(),
            data: None,
        }
    }

    /// Its time in RFC 3339, UTC.
    pub fn time(&self) -> String {
        rfc3339(self.time_ms)
    }

    /// Cuts a text that is too long.
    pub(crate) fn cut(&mut self) {
        if self.text.len() <= MAX_TEXT {
            return;
        }
        let gone = self.text.len() - MAX_TEXT;
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|at| self.text.is_char_boundary(*at));
        self.text.truncate(end.unwrap_or(0));
        self.text.push_str(&format!("… ({gone} bytes more)"));
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Entry", 11)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("time", &self.time())?;
        object.serialize_field("app", &self.app)?;
        object.serialize_field("source", &self.source)?;
        object.serialize_field("level", &self.level)?;
        object.serialize_field("text", &self.text)?;
        let optional = [
            ("version", &self.version),
            ("instance", &self.instance),
            ("label", &self.label),
            ("invocation", &self.invocation),
        ];
        for (name, value) in optional {
            match value {
                Some(value) => object.serialize_field(name, value)?,
                None => object.skip_field(name)?,
            }
        }
        if let Some(data) = &self.data {
            object.serialize_field("data", data)?;
        }
        object.end()
    }
}

/// A Unix time in RFC 3339, UTC.
pub(crate) fn rfc3339(time_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let milliseconds = since.map_or(0, |since| since.as_millis());
    u64::try_from(milliseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_lead_back() {
        for source in Source::ALL {
            assert_eq!(Source::named(source.name()), Some(source));
            assert_eq!(Source::numbered(source.number()), source);
        }
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()), Some(level));
            assert_eq!(Level::numbered(level.number()), level);
        }
        assert_eq!(Level::named("loud"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut entry = Entry::new("app", Source::Worker, Level::Log, "ä".repeat(MAX_TEXT));
        entry.cut();
        assert!(entry.text.ends_with("ä… (65536 bytes more)"));
        assert!(entry.text.len() < MAX_TEXT + 40);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut entry = Entry::new("app", Source::Container, Level::Error, "no");
        entry.time_ms = 1_500;
        let shown = serde_json::to_value(&entry).unwrap();
        assert_eq!(shown["time"], "1970-01-01T00:00:01.5Z");
        assert!(shown.get("version").is_none() && shown.get("data").is_none());
    }
}
