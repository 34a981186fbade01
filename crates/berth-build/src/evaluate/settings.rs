//! Instructions that only change the configuration, and `WORKDIR`'s part of it.

use serde_json::{Map, Value, json};

use super::history::{healthcheck, plain, quoted};
use super::{Scope, Words, ports, signal};
use crate::dockerfile::{Command, Instruction, Kind, Result};
use crate::error::Problem;
use crate::lint::{Linter, Rule};
use crate::state::State;

/// Carries out an instruction that makes no layer.
pub(crate) fn settings(
    scope: Scope<'_>,
    state: &mut State,
    instruction: &Instruction,
    lint: &mut Linter,
) -> Result<()> {
    let line = match &instruction.kind {
        Kind::Arg(declared) => args(scope, state, instruction, declared, lint)?,
        Kind::Env(pairs) => {
            // All values are those from before the instruction.
            let pairs = expand_pairs(scope, state, instruction, pairs, lint)?;
            for (name, value) in &pairs {
                state.set_env(name, value);
            }
            format!("ENV {}", join(&pairs))
        }
        Kind::Label(pairs) => {
            let pairs = expand_pairs(scope, state, instruction, pairs, lint)?;
            for (name, value) in &pairs {
                object(state.config(), "Labels").insert(name.clone(), value.as_str().into());
            }
            format!("LABEL {}", join(&pairs))
        }
        Kind::OnBuild(trigger) => {
            let triggers = state.config().entry("OnBuild").or_insert_with(|| json!([]));
            if let Value::Array(triggers) = triggers {
                triggers.push(trigger.as_str().into());
            }
            return Ok(());
        }
        Kind::User(_) | Kind::Expose(_) | Kind::Volume(_) | Kind::StopSignal(_) => {
            expanded(scope, state, instruction, lint)?
        }
        _ => match as_written(state, instruction, lint) {
            Some(line) => line,
            // Steps of their own.
            None => return Ok(()),
        },
    };
    state.note(&line, true, None);
    Ok(())
}

/// The working directory that a `WORKDIR` sets, absolute. As in BuildKit one that is written as absolute
/// stays as it is written, and a relative one is joined to the one before.
pub(crate) fn workdir(
    scope: Scope<'_>,
    state: &mut State,
    instruction: &Instruction,
    path: &str,
    lint: &mut Linter,
) -> Result<String> {
    let mut words = Words::new(scope, state, instruction, lint);
    let path = words.one(path)?;
    if !state.workdir_set && !path.starts_with('/') {
        let mut words = Words::new(scope, state, instruction, lint);
        words.warn(
            Rule::WorkdirRelativePath,
            format!("`{path}` is relative to whatever the base image says"),
        );
    }
    state.workdir_set = true;
    let absolute = if path.starts_with('/') {
        path
    } else if path.is_empty() {
        state.working_dir().to_owned()
    } else {
        state.clean(&path)
    };
    let value = absolute.as_str().into();
    state.config().insert("WorkingDir".to_owned(), value);
    Ok(absolute)
}

/// `ARG name[=default]`: the given value, the default, or the global argument of that name.
fn args(
    scope: Scope<'_>,
    state: &mut State,
    instruction: &Instruction,
    declared: &[(String, Option<String>)],
    lint: &mut Linter,
) -> Result<String> {
    let mut line = "ARG".to_owned();
    for (name, default) in declared {
        let value = match (scope.args.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => {
                Some(Words::new(scope, state, instruction, lint).one(default)?)
            }
            (None, None) => scope.plan.globals.get(name).cloned(),
        };
        line = format!("{line} {name}");
        if let Some(value) = &value {
            line = format!("{line}={value}");
        }
        state.set_arg(name, value.as_deref());
    }
    Ok(line)
}

fn expanded(
    scope: Scope<'_>,
    state: &mut State,
    instruction: &Instruction,
    lint: &mut Linter,
) -> Result<String> {
    let mut words = Words::new(scope, state, instruction, lint);
    match &instruction.kind {
        Kind::User(user) => {
            let user = words.one(user)?;
            let line = format!("USER {user}");
            state.config().insert("User".to_owned(), user.into());
            Ok(line)
        }
        Kind::StopSignal(name) => {
            let name = words.one(name)?;
            signal::check(&name)?;
            let line = format!("STOPSIGNAL {name}");
            state.config().insert("StopSignal".to_owned(), name.into());
            Ok(line)
        }
        Kind::Volume(paths) => {
            let paths = words.all(paths)?;
            if paths.iter().any(String::is_empty) {
                return Err(Problem::new("a volume needs a path"));
            }
            for path in &paths {
                object(state.config(), "Volumes").insert(path.clone(), json!({}));
            }
            Ok(format!("VOLUME {}", plain(&paths)))
        }
        Kind::Expose(list) => {
            let mut all = Vec::new();
            for word in list {
                for word in words.several(word)? {
                    let found = ports::ports(&word)?;
                    if found.odd_case {
                        let message = format!("the protocol in `{word}` should be lower case");
                        words.warn(Rule::ExposeProtoCasing, message);
                    }
                    if found.with_host {
                        let message = format!("`{word}`: only the container's port counts");
                        words.warn(Rule::ExposeInvalidFormat, message);
                    }
                    all.extend(found.ports);
                }
            }
            let exposed = object(state.config(), "ExposedPorts");
            for port in &all {
                exposed.insert(port.clone(), json!({}));
            }
            Ok(format!("EXPOSE {}", plain(&all)))
        }
        _ => Ok(String::new()),
    }
}

/// What is run, and how: no variable is expanded.
fn as_written(state: &mut State, instruction: &Instruction, lint: &mut Linter) -> Option<String> {
    let line = instruction.line;
    Some(match &instruction.kind {
        Kind::Cmd(command) => {
            let before = state.seen.cmd.replace(line);
            once(before, "CMD", instruction, lint);
            let argv = argv(state, command, "CMD", instruction, lint);
            let text = format!("CMD {}", quoted(&argv));
            state.config().insert("Cmd".to_owned(), argv.into());
            state.config().insert("ArgsEscaped".to_owned(), true.into());
            text
        }
        Kind::Entrypoint(command) => {
            let before = state.seen.entrypoint.replace(line);
            once(before, "ENTRYPOINT", instruction, lint);
            let argv = argv(state, command, "ENTRYPOINT", instruction, lint);
            let text = format!("ENTRYPOINT {}", quoted(&argv));
            if argv.is_empty() {
                state.config().remove("Entrypoint");
            } else {
                state.config().insert("Entrypoint".to_owned(), argv.into());
            }
            // A base image's CMD is meant for its own ENTRYPOINT.
            if state.seen.cmd.is_none() {
                state.config().remove("Cmd");
            }
            text
        }
        Kind::Shell(shell) => {
            state.config().insert("Shell".to_owned(), json!(shell));
            format!("SHELL {}", plain(shell))
        }
        Kind::Healthcheck(check) => {
            let before = state.seen.healthcheck.replace(line);
            once(before, "HEALTHCHECK", instruction, lint);
            let value = check.clone();
            state.config().insert("Healthcheck".to_owned(), value);
            healthcheck(check)
        }
        Kind::Maintainer(name) => {
            let value = name.as_str().into();
            state.image.insert("author".to_owned(), value);
            format!("MAINTAINER {name}")
        }
        _ => return None,
    })
}

fn once(before: Option<usize>, keyword: &str, instruction: &Instruction, lint: &mut Linter) {
    let Some(before) = before else { return };
    let message = format!("this {keyword} has no effect, a later one of the stage replaces it");
    let own = instruction.checks.as_ref();
    lint.warn(Rule::MultipleInstructionsDisallowed, before, own, message);
}

fn argv(
    state: &State,
    command: &Command,
    keyword: &str,
    instruction: &Instruction,
    lint: &mut Linter,
) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(line) => {
            if !state.has_own_shell() {
                let message = format!(
                    "a shell between {keyword} and its program keeps signals from it, use a JSON list"
                );
                let own = instruction.checks.as_ref();
                lint.warn(Rule::JsonArgsRecommended, instruction.line, own, message);
            }
            let mut argv = state.shell();
            argv.push(line.clone());
            argv
        }
    }
}

fn expand_pairs(
    scope: Scope<'_>,
    state: &State,
    instruction: &Instruction,
    pairs: &[(String, String)],
    lint: &mut Linter,
) -> Result<Vec<(String, String)>> {
    let mut words = Words::new(scope, state, instruction, lint);
    pairs
        .iter()
        .map(|(name, value)| Ok((words.one(name)?, words.one(value)?)))
        .collect()
}

fn join(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

fn object<'a>(config: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = config.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}
