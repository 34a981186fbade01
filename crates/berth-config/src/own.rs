//! `berth.jsonc`: settings that only Berth has, per container class, beside wrangler's file.
//!
//! ```jsonc
//! { "containers": { "MyContainer": {
//!     "sleep": { "freeze_after": "30s", "checkpoint_after": "10m" },
//!     "rollout": "atomic"
//! } } }
//! ```
//!
//! The file is optional. Invariant: it only refines container classes that wrangler's file has.

use std::path::PathBuf;
use std::time::Duration;

use crate::decode::{Cx, Field, Fields, list, member};
use crate::parse::{Format, parse};
use crate::source::Source;
use crate::{Diagnostic, Project, Sleep};

/// Name of the file.
const NAME: &str = "berth.jsonc";

/// When nothing says otherwise, an open connection is ignored after this long without a byte, or
/// after `freeze_after` if that is longer.
const QUIET_CONNECTION: Duration = Duration::from_secs(60);

/// Units of a duration and their milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Longest duration: a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the file is, or would be.
pub(crate) fn path(project: &Project) -> PathBuf {
    project.root.join(NAME)
}

/// Reads the file, if there is one, into the project. Returns errors and warnings.
pub(crate) fn apply(project: &mut Project) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    let path = path(project);
    if !path.exists() {
        return (Vec::new(), Vec::new());
    }
    let parsed = Source::read(&path).and_then(|source| {
        let parsed = parse(&source, Format::Jsonc)?;
        Ok((source, parsed))
    });
    let (source, parsed) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return (vec![*error], Vec::new()),
    };
    let cx = Cx::new(&source, Format::Jsonc);
    for warning in parsed.warnings {
        cx.push(warning);
    }
    for entry in parsed.root.entries() {
        let field = member(&cx, "", entry);
        match entry.key.as_str() {
            "containers" => containers(&field, project),
            "$schema" => {}
            other => cx.warn(
                &entry.key_span,
                format!("unknown field `{other}` at the top level"),
                "Berth's own file has `containers` only",
            ),
        }
    }
    cx.finish()
}

fn containers(field: &Field<'_>, project: &mut Project) {
    for (entry, class) in field.members() {
        let known = project
            .containers
            .iter()
            .map(|app| app.class_name.clone())
            .collect::<Vec<_>>();
        let app = project
            .containers
            .iter_mut()
            .find(|app| app.class_name == entry.key);
        let Some(app) = app else {
            let hint = if known.is_empty() {
                "wrangler's configuration has no containers".to_owned()
            } else {
                format!("there is {}", list(known.iter().map(String::as_str)))
            };
            let message = format!("no container has the class `{}`", entry.key);
            class.cx.error(&entry.key_span, message, hint);
            continue;
        };
        let Some(fields) = class.fields() else {
            continue;
        };
        app.sleep = fields
            .get("sleep")
            .and_then(|field| field.fields())
            .and_then(sleep);
        app.atomic = fields.get("rollout").is_some_and(|field| atomic(&field));
        fields.finish();
    }
}

/// Whether containers change together with their Worker.
fn atomic(field: &Field<'_>) -> bool {
    let Some(text) = field.text() else {
        return false;
    };
    match text.value.as_str() {
        "atomic" => return true,
        "gradual" => {}
        other => field.cx.error(
            &text.span,
            format!("`{}` is no kind of rollout: `{other}`", field.path),
            "`gradual`: in steps, after the Worker; `atomic`: all at once, together with it",
        ),
    }
    false
}

fn sleep(fields: Fields<'_>) -> Option<Sleep> {
    let freeze = fields.require("freeze_after").and_then(|field| {
        let after = duration(&field)?;
        if after.is_zero() {
            field.cx.error(
                field.span(),
                format!("`{}` must not be zero", field.path),
                "for example `30s`",
            );
            return None;
        }
        Some(after)
    });
    let quiet = match fields.get("quiet_connection_after") {
        None => Some(QUIET_CONNECTION.max(freeze.unwrap_or_default())),
        Some(field) => or_never(&field),
    };
    let checkpoint = fields
        .get("checkpoint_after")
        .and_then(|field| or_never(&field));
    fields.finish();
    Some(Sleep {
        freeze_after: freeze?,
        quiet_connection_after: quiet,
        checkpoint_after: checkpoint,
    })
}

fn or_never(field: &Field<'_>) -> Option<Duration> {
    let text = field.text()?;
    if text.value == "never" {
        return None;
    }
    duration(field)
}

/// A whole number and a unit, as in `"30s"`.
fn duration(field: &Field<'_>) -> Option<Duration> {
    let text = field.text()?;
    let parsed = parse_duration(text.value.trim());
    match parsed {
        Some(duration) if duration <= LONGEST => Some(duration),
        Some(_) => {
            let message = format!("`{}` is longer than a week", field.path);
            let hint = "leave it out, or write `never` where that is possible";
            field.cx.error(&text.span, message, hint);
            None
        }
        None => {
            let message = format!("`{}` is no duration: `{}`", field.path, text.value);
            let hint = "a whole number and `ms`, `s`, `m` or `h`, for example `30s`";
            field.cx.error(&text.span, message, hint);
            None
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(factor)?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("2m"), Some(120_000));
        assert_eq!(millis("1h"), Some(3_600_000));
        for wrong in [
            "",
            "s",
            "30",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "99999999999999999h",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }
}
