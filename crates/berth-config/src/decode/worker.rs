//! `name`, `main`, `compatibility_date`, `compatibility_flags`.

use std::path::{Path, PathBuf};

use super::field::{Field, Spanned};
use super::nearest::nearest;
use super::project::Settings;
use super::root::Root;
use crate::source::Span;
use crate::value::Kind;

/// The Worker's names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// As in the file.
    pub(crate) written: String,
    /// With `-<environment>` if the environment has no `name` of its own, as wrangler does.
    pub(crate) full: String,
}

/// The Worker's name. A missing or malformed one is reported.
pub(crate) fn names(root: &Root<'_>) -> Names {
    let Some(field) = root.get("name") else {
        root.cx.error(
            &start(root),
            "`name` is missing",
            format!("add a name, for example `{}`", suggestion(root)),
        );
        return Names {
            written: String::new(),
            full: String::new(),
        };
    };
    let written = valid_name(&field).unwrap_or_default();
    let full = match root.environment {
        Some(environment) if root.own("name").is_none() => format!("{written}-{environment}"),
        _ => written.clone(),
    };
    Names { written, full }
}

fn valid_name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    let mut characters = name.value.chars();
    let head = characters
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit() || first == '_');
    let tail = characters.all(|character| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "-_".contains(character)
    });
    if !(head && tail) {
        field.cx.error(
            &name.span,
            format!("`{}` is no name for a Worker", name.value),
            format!(
                "lower-case letters, digits, `-` and `_` only, for example `{}`",
                sanitized(&name.value)
            ),
        );
        return None;
    }
    Some(name.value)
}

fn suggestion(root: &Root<'_>) -> String {
    let directory = root.cx.source.path().parent();
    directory
        .and_then(Path::file_name)
        .map(|name| sanitized(&name.to_string_lossy()))
        .unwrap_or_default()
}

fn sanitized(name: &str) -> String {
    let name: String = name
        .to_lowercase()
        .chars()
        .map(|character| match character {
            'a'..='z' | '0'..='9' | '_' => character,
            _ => '-',
        })
        .collect();
    match name.trim_matches('-') {
        "" => "my-worker".to_owned(),
        name => name.to_owned(),
    }
}

/// The start of the file's object: where what is missing altogether is pointed at.
pub(crate) fn start(root: &Root<'_>) -> Span {
    root.top.span.start..root.top.span.start + 1
}

/// The entry point. `may_be_built`: a custom build may still make it, so it need not exist.
pub(crate) fn main(root: &Root<'_>, base: &Path, may_be_built: bool) -> Option<Spanned<PathBuf>> {
    let field = root.get("main")?;
    let main = field.text()?;
    let path = absolute(base, &main.value);
    if path.extension().is_some_and(|extension| extension == "py") {
        field.cx.error(
            &main.span,
            "Berth does not run Python Workers yet",
            "write the Worker in JavaScript or TypeScript; containers may run anything",
        );
    } else if !path.is_file() && !may_be_built {
        missing_file(&field, &main, &path, "`main`");
    }
    Some(Spanned {
        value: path,
        span: main.span,
    })
}

/// Reports a path which leads to no file, with the nearest name that is there.
pub(crate) fn missing_file(field: &Field<'_>, written: &Spanned<String>, path: &Path, what: &str) {
    let message = if path.is_dir() {
        format!("{what} is a directory: `{}`", written.value)
    } else {
        format!("{what} does not exist: `{}`", written.value)
    };
    match neighbour(path) {
        Some(near) => {
            let near = match written.value.rsplit_once('/') {
                Some((directory, _)) => format!("{directory}/{near}"),
                None => near,
            };
            field
                .cx
                .error(&written.span, message, format!("did you mean `{near}`?"));
        }
        None => field.cx.error(
            &written.span,
            message,
            "paths are relative to the configuration file",
        ),
    }
}

/// The name in the same directory that is nearest to a missing one.
fn neighbour(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let mut names: Vec<String> = fs_err::read_dir(path.parent()?)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| *name != wanted)
        .collect();
    names.sort();
    nearest(&wanted, names.iter().map(String::as_str)).map(str::to_owned)
}

/// A path of the file, made absolute and free of `.` parts. `..` stays: it may follow a symbolic link.
pub(crate) fn absolute(base: &Path, written: &str) -> PathBuf {
    base.join(written).components().collect()
}

/// The compatibility date, which the runtime must accept.
pub(crate) fn compatibility_date(root: &Root<'_>, settings: &Settings<'_>) -> String {
    let default = settings.default_date;
    let Some(field) = root.get("compatibility_date") else {
        root.cx.warn(
            &start(root),
            format!("`compatibility_date` is missing; `{default}` is used"),
            format!("add `compatibility_date` with the value `{default}`, so that a newer runtime changes nothing"),
        );
        return default.to_owned();
    };
    let Some(date) = date_text(&field) else {
        return default.to_owned();
    };
    let plain = date.value.replace(['–', '—'], "-");
    if plain != date.value {
        field.cx.error(
            &date.span,
            "the compatibility date is written with dashes, not hyphens",
            format!("write `{plain}`"),
        );
    } else if !is_date(&plain) {
        field.cx.error(
            &date.span,
            format!("`{plain}` is not a date"),
            format!("write it as YYYY-MM-DD, for example `{default}`"),
        );
    } else if let Some(newest) = settings.newest_date
        && plain.as_str() > newest
    {
        field.cx.error(
            &date.span,
            format!("the runtime does not know the compatibility date `{plain}` yet"),
            format!("the newest that this version of Berth runs is `{newest}`"),
        );
    }
    plain
}

fn date_text(field: &Field<'_>) -> Option<Spanned<String>> {
    if let Kind::Date(date) = &field.value.kind {
        field.cx.error(
            field.span(),
            "`compatibility_date` must be a string, but is a date",
            format!("put it in double quotes: `\"{date}\"`"),
        );
        return None;
    }
    field.text()
}

/// `YYYY-MM-DD`, a day of the calendar.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let digits =
        |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
        return false;
    }
    let number = |part: &str| part.parse::<u32>().unwrap_or_default();
    let (year, month, day) = (number(year), number(month), number(day));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// The compatibility flags, as written.
pub(crate) fn compatibility_flags(root: &Root<'_>) -> Vec<String> {
    let Some(field) = root.get("compatibility_flags") else {
        return Vec::new();
    };
    let mut flags: Vec<String> = Vec::new();
    for flag in field.strings() {
        if flags.contains(&flag.value) {
            field.cx.warn(
                &flag.span,
                format!("the flag `{}` is given twice", flag.value),
                "remove one of them",
            );
        } else {
            flags.push(flag.value);
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::is_date;

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        for good in ["2026-11-17", "2024-02-29", "2000-02-29"] {
            assert!(is_date(good), "{good}");
        }
        for bad in [
            "2026-2-1",
            "2025-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-04-31",
            "today",
            "",
        ] {
            assert!(!is_date(bad), "{bad}");
        }
    }
}
