//! A line that workerd printed → what of it the user wants to see.
//!
//! With `structuredLogging` every line is a JSON object with `level` and `message`. Those of the
//! Worker's console have nothing else; those of workerd itself also have `source`, and with
//! `--verbose` they include the JavaScript stack of every uncaught exception, which is the reason
//! for running it so: the rest of its information is left to [`tracing`]. Before the configuration
//! is read, lines are plain text (workerd 1.20261117.1).

use serde::Deserialize;

use super::LogLevel;

/// One line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) level: LogLevel,
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Structured {
    level: String,
    message: String,
    source: Option<String>,
}

/// In front of the stack of an exception that nothing in the Worker caught.
const UNCAUGHT: &str = "uncaught exception; source = ";
/// Advice about flags that have become superfluous; every project has some.
const SUPERFLUOUS_FLAG: &str = "so does not need to be specified anymore";

/// In front of workerd's notes to Cloudflare's own error tracking, such as one for every alarm that
/// another one replaces: the class of containers does that all the time.
const NOT_FOR_USERS: &str = "NOSENTRY ";

/// Reads one line; `None` if it is not for the user.
pub(super) fn parse(line: &str) -> Option<LogLine> {
    let Ok(structured) = serde_json::from_str::<Structured>(line) else {
        let text = line.trim_end().to_owned();
        return (!text.is_empty()).then_some(LogLine {
            level: LogLevel::Error,
            text,
        });
    };
    let level = match structured.level.as_str() {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warn,
        "error" | "fatal" => LogLevel::Error,
        _ => LogLevel::Log,
    };
    let text = structured.message;
    match structured.source {
        None => Some(LogLine { level, text }),
        Some(source) => runtime(level, &source, text),
    }
}

/// A line of workerd itself.
fn runtime(level: LogLevel, source: &str, text: String) -> Option<LogLine> {
    if let Some(rest) = text.strip_prefix(UNCAUGHT) {
        let (how, stack) = rest.split_once("; stack = ")?;
        let text = format!("{how}: {stack}");
        let level = LogLevel::Error;
        return Some(LogLine { level, text });
    }
    let repeats_exception = text.contains("jsg.") || text.contains("jsg-internal.");
    if level < LogLevel::Warn
        || repeats_exception
        || text.contains(SUPERFLUOUS_FLAG)
        || text.starts_with(NOT_FOR_USERS)
    {
        tracing::debug!(target: "workerd", source, "{text}");
        return None;
    }
    let text = without_addresses(text);
    Some(LogLine { level, text })
}

/// The text without workerd's own stack: addresses in its executable, which help nobody here.
fn without_addresses(mut text: String) -> String {
    if let Some(at) = text.find("\nstack: ") {
        tracing::debug!(target: "workerd", "{}", &text[at + 1..]);
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: LogLevel, text: &str) -> Option<LogLine> {
        let text = text.to_owned();
        Some(LogLine { level, text })
    }

    #[test]
    fn console_lines_keep_their_level() {
        let parsed = parse(r#"{"timestamp":1,"level":"log","message":"a\nb"}"#);
        assert_eq!(parsed, line(LogLevel::Log, "a\nb"));
        let parsed = parse(r#"{"timestamp":1,"level":"warn","message":"w jsg."}"#);
        assert_eq!(parsed, line(LogLevel::Warn, "w jsg."));
    }

    #[test]
    fn an_uncaught_exception_is_shown_once_with_its_stack() {
        let stack = r#"{"timestamp":"1","level":"info","source":"workerd/io/worker.c++:3042","message":"uncaught exception; source = Uncaught (in promise); stack = Error: boom\n    at f (index.js:3:9)","context_depth":0}"#;
        assert_eq!(
            parse(stack),
            line(
                LogLevel::Error,
                "Uncaught (in promise): Error: boom\n    at f (index.js:3:9)"
            )
        );
        let repeated = r#"{"timestamp":"1","level":"error","source":"workerd/server/server/listen/mod.rs:372","message":"Uncaught exception: workerd/jsg/value.h:1456: failed: remote.jsg.Error: boom","context_depth":0}"#;
        assert_eq!(parse(repeated), None);
    }

    #[test]
    fn workerds_own_errors_and_plain_text_are_shown_and_its_information_is_not() {
        let error = r#"{"timestamp":"1","level":"error","source":"a.c++:1","message":"disk full","context_depth":0}"#;
        assert_eq!(parse(error), line(LogLevel::Error, "disk full"));
        let stack = r#"{"timestamp":"1","level":"warn","source":"a.c++:1","message":"odd\nstack: /bin/workerd@1 /bin/workerd@2"}"#;
        assert_eq!(parse(stack), line(LogLevel::Warn, "odd"));
        let info = r#"{"timestamp":"1","level":"info","source":"a.c++:1","message":"hello","context_depth":0}"#;
        assert_eq!(parse(info), None);
        assert_eq!(
            parse("config.capnp:1:2: error"),
            line(LogLevel::Error, "config.capnp:1:2: error")
        );
        assert_eq!(parse(""), None);
        let alarm = r#"{"timestamp":"1","level":"error","source":"a.c++:1","message":"NOSENTRY alarm canceled","context_depth":0}"#;
        assert_eq!(parse(alarm), None);
    }
}
