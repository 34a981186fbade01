//! From a directory to a [`Project`]: find the file, parse it, decode it, add the secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::decode::{Cx, Decoded, Settings, decode};
use crate::own;
use crate::parse::{Format, parse};
use crate::secrets::{self, Secrets};
use crate::source::Source;
use crate::{ConfigErrors, Diagnostic, Project, Severity};

/// In wrangler's order: the first that exists is used.
const NAMES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// What a project is loaded for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// It runs here, by itself: with the secrets of `.dev.vars`, and without what needs a server.
    #[default]
    Dev,
    /// A server runs it: secrets and other Workers are there.
    Deploy,
}

/// What to load, and what the command line adds.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The project's directory.
    pub directory: PathBuf,
    /// `--config`: a file to read instead of looking for one; relative to the current directory.
    pub config: Option<PathBuf>,
    /// `--env` (or `CLOUDFLARE_ENV`, which is the caller's to read).
    pub environment: Option<String>,
    /// `--var KEY:VALUE`, in order; the last of one name wins, and all win over the file and the secrets.
    pub vars: Vec<(String, String)>,
    /// Newest compatibility date that the pinned workerd accepts, `YYYY-MM-DD`. Used when the file
    /// has none; a later one in the file is a mistake. `None`: no limit, and today as the default.
    pub max_compatibility_date: Option<String>,
    /// The environment variables of the process. Read for names in `secrets.required` only.
    pub process_env: Vec<(String, String)>,
    /// What for.
    pub purpose: Purpose,
}

/// A project that can run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// What its author should know; ordered by place.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a project.
///
/// # Errors
/// All mistakes of the configuration file and of the secret files, each once.
pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigErrors> {
    let mut findings = Vec::new();
    let path = find(options, &mut findings)?;
    let source = Source::read(&path).map_err(|error| ConfigErrors::from(*error))?;
    let Some(format) = Format::of(&source) else {
        return Err(
            Diagnostic::error(&path, "this is no wrangler configuration")
                .with_hint("the file's name must end in `.jsonc`, `.json` or `.toml`")
                .into(),
        );
    };
    let parsed = parse(&source, format).map_err(|error| ConfigErrors::from(*error))?;
    findings.extend(parsed.warnings);
    let environment = options
        .environment
        .as_deref()
        .filter(|name| !name.is_empty());
    let today = today();
    let newest = options.max_compatibility_date.as_deref();
    let settings = Settings {
        environment,
        newest_date: newest,
        default_date: newest.unwrap_or(&today),
    };
    let cx = Cx::new(&source, format).for_purpose(options.purpose);
    for finding in findings {
        cx.push(finding);
    }
    let mut decoded = decode(&cx, &parsed.root, &settings);
    let (own_errors, own_warnings) = own::apply(&mut decoded.project);
    let mut from_secrets = match options.purpose {
        Purpose::Dev => add_secrets(&cx, &mut decoded, options),
        Purpose::Deploy => Vec::new(),
    };
    add_vars(&cx, &mut decoded, options);
    let (mut errors, mut warnings) = cx.finish();
    errors.extend(own_errors);
    warnings.extend(own_warnings);
    let is_error = |finding: &Diagnostic| finding.severity == Severity::Error;
    errors.extend(from_secrets.extract_if(.., |finding| is_error(finding)));
    warnings.extend(from_secrets);
    if !errors.is_empty() {
        return Err(ConfigErrors { errors, warnings });
    }
    Ok(Loaded {
        project: decoded.project,
        warnings,
    })
}

/// Files whose change makes the project stale: the configuration file, `berth.jsonc` and every file that gives
/// secrets or would give some if it existed. Absolute.
pub fn watched_files(project: &Project) -> Vec<PathBuf> {
    let (dev_vars, dotenv) = secrets::files(&project.root, project.environment.as_deref());
    [project.config_path.clone(), own::path(project)]
        .into_iter()
        .chain(dev_vars)
        .chain(dotenv)
        .collect()
}

/// The configuration file, absolute.
fn find(options: &LoadOptions, findings: &mut Vec<Diagnostic>) -> Result<PathBuf, ConfigErrors> {
    if let Some(config) = &options.config {
        return Ok(absolute(config));
    }
    let directory = absolute(&options.directory);
    if directory.is_file() {
        return Ok(directory);
    }
    let mut found = NAMES
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| path.is_file());
    let Some(path) = found.next() else {
        let message = if directory.is_dir() {
            "there is no `wrangler.jsonc`, `wrangler.json` or `wrangler.toml` in this directory"
        } else {
            "this directory does not exist"
        };
        return Err(Diagnostic::error(&directory, message)
            .with_hint("name the project's directory, or the file itself with `--config`")
            .into());
    };
    for ignored in found {
        let used = file_name(&path);
        findings.push(
            Diagnostic::warning(
                &ignored,
                format!("this file is ignored: `{used}` is read instead"),
            )
            .with_hint("keep one of them; wrangler prefers `.json` to `.jsonc` to `.toml` too"),
        );
    }
    Ok(path)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The path from the root, without `.` parts; the same path if there is no current directory.
fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Adds the secrets to the project. Returns what was wrong with their files.
fn add_secrets(cx: &Cx<'_>, decoded: &mut Decoded, options: &LoadOptions) -> Vec<Diagnostic> {
    let Decoded {
        project,
        taken,
        required,
    } = decoded;
    let process: BTreeMap<String, String> = match required {
        Some(_) => options.process_env.iter().cloned().collect(),
        None => BTreeMap::new(),
    };
    let mut secrets = secrets::read(&project.root, project.environment.as_deref(), &process);
    if let Some(required) = required {
        let wanted = |name: &String| {
            project.vars.contains_key(name) || required.iter().any(|it| it.value == *name)
        };
        secrets.values.retain(|name, _| wanted(name));
        for name in required {
            if !secrets.values.contains_key(&name.value) {
                cx.warn(
                    &name.span,
                    format!("the required secret `{}` is not set", name.value),
                    "add it to `.dev.vars` or `.env`",
                );
            }
        }
    }
    secrets.drop_taken(taken);
    let Secrets {
        values, findings, ..
    } = secrets;
    project.secrets = values;
    findings
}

/// Adds the variables of the command line, which win over everything but bindings.
fn add_vars(cx: &Cx<'_>, decoded: &mut Decoded, options: &LoadOptions) {
    for (name, value) in &options.vars {
        if decoded.taken.contains(name) {
            cx.push(
                Diagnostic::error(
                    &decoded.project.config_path,
                    format!("the variable `{name}` of the command line has the name of a binding"),
                )
                .with_hint("give it another name"),
            );
        }
        decoded.project.secrets.remove(name);
        decoded
            .project
            .vars
            .insert(name.clone(), serde_json::Value::String(value.clone()));
    }
}

/// Today in UTC, `YYYY-MM-DD`.
fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    civil_date(seconds / 86_400)
}

/// The day that many days after 1970-01-01 in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last one.
fn civil_date(days_since_epoch: u64) -> String {
    let days = days_since_epoch + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::civil_date;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_774, "2026-11-17"),
            (24_837, "2038-01-01"),
        ] {
            assert_eq!(civil_date(days), date);
        }
    }
}
