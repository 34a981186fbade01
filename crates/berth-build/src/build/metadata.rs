//! Instructions that only change the configuration.

use serde_json::{Value, json};

use super::Builder;
use crate::dockerfile::expand::expand;
use crate::dockerfile::{Command, Instruction, Kind, Result};
use crate::error::Problem;
use crate::state::State;

impl Builder<'_> {
    /// Carries out an instruction that makes no layer.
    pub(super) fn metadata(&self, state: &mut State, instruction: &Instruction) -> Result<()> {
        let escape = self.plan.escape;
        match &instruction.kind {
            Kind::Arg(declared) => {
                for (name, default) in declared {
                    self.declare(state, name, default.as_deref())?;
                }
            }
            Kind::Env(pairs) => {
                // All values are those from before the instruction.
                let expanded = expand_pairs(state, pairs, escape)?;
                for (name, value) in expanded {
                    state.set_env(&name, &value);
                }
            }
            Kind::Label(pairs) => {
                for (name, value) in expand_pairs(state, pairs, escape)? {
                    object(state.config(), "Labels").insert(name, value.into());
                }
            }
            other => settings(state, other, escape)?,
        }
        if !matches!(instruction.kind, Kind::Arg(_)) {
            state.note(&instruction.text, true, None);
        }
        Ok(())
    }

    /// `ARG name[=default]`: the given value, the default, or the global argument of that name.
    fn declare(&self, state: &mut State, name: &str, default: Option<&str>) -> Result<()> {
        self.used(name);
        let value = match (self.request.args.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(expand(default, self.plan.escape, state)?),
            (None, None) => self.plan.globals.get(name).cloned(),
        };
        if let Some(value) = value {
            state.args.insert(name.to_owned(), value);
        }
        Ok(())
    }
}

/// Settings whose words are expanded; the others go on to [`commands`].
fn settings(state: &mut State, kind: &Kind, escape: char) -> Result<()> {
    let word = |state: &State, text: &str| expand(text, escape, state);
    match kind {
        Kind::User(user) => {
            let user = word(state, user)?;
            if user.is_empty() {
                return Err(Problem::new("the user is empty"));
            }
            state.config().insert("User".to_owned(), user.into());
        }
        Kind::Expose(ports) => {
            for port in ports {
                for port in expand_ports(&word(state, port)?)? {
                    object(state.config(), "ExposedPorts").insert(port, json!({}));
                }
            }
        }
        Kind::Volume(paths) => {
            for path in paths {
                let path = word(state, path)?;
                object(state.config(), "Volumes").insert(path, json!({}));
            }
        }
        Kind::StopSignal(signal) => {
            let signal = word(state, signal)?;
            state
                .config()
                .insert("StopSignal".to_owned(), signal.into());
        }
        other => commands(state, other),
    }
    Ok(())
}

/// What is run, and how: taken as it is written.
fn commands(state: &mut State, kind: &Kind) {
    match kind {
        Kind::Cmd(command) => {
            let argv = argv(state, command);
            state.config().insert("Cmd".to_owned(), argv);
        }
        Kind::Entrypoint(command) => {
            let argv = argv(state, command);
            // A base image's CMD is meant for its own ENTRYPOINT.
            if !has_own_cmd(state) {
                state.config().remove("Cmd");
            }
            state.config().insert("Entrypoint".to_owned(), argv);
        }
        Kind::Shell(shell) => {
            state.config().insert("Shell".to_owned(), json!(shell));
        }
        Kind::Healthcheck(check) => {
            state
                .config()
                .insert("Healthcheck".to_owned(), check.clone());
        }
        Kind::OnBuild(trigger) => {
            let triggers = state.config().entry("OnBuild").or_insert_with(|| json!([]));
            if let Value::Array(triggers) = triggers {
                triggers.push(trigger.as_str().into());
            }
        }
        Kind::Maintainer(name) => {
            state
                .image
                .insert("author".to_owned(), name.as_str().into());
        }
        // These are steps of their own, or done already.
        _ => {}
    }
}

fn expand_pairs(
    state: &State,
    pairs: &[(String, String)],
    escape: char,
) -> Result<Vec<(String, String)>> {
    pairs
        .iter()
        .map(|(name, value)| Ok((expand(name, escape, state)?, expand(value, escape, state)?)))
        .collect()
}

/// Whether the CMD in effect was set in this build rather than inherited. The history tells: it has
/// the instruction as its text.
fn has_own_cmd(state: &State) -> bool {
    let is_cmd = |entry: &Value| {
        entry["created_by"].as_str().is_some_and(|text| {
            text.get(..4)
                .is_some_and(|word| word.eq_ignore_ascii_case("CMD "))
        })
    };
    state
        .image
        .get("history")
        .and_then(Value::as_array)
        .is_some_and(|entries| {
            entries[state.inherited_history.min(entries.len())..]
                .iter()
                .any(is_cmd)
        })
}

fn argv(state: &State, command: &Command) -> Value {
    match command {
        Command::Exec(argv) => json!(argv),
        Command::Shell(line) => {
            let mut argv = state.shell();
            argv.push(line.clone());
            json!(argv)
        }
    }
}

fn object<'a>(
    config: &'a mut serde_json::Map<String, Value>,
    field: &str,
) -> &'a mut serde_json::Map<String, Value> {
    let value = config.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}

/// `80`, `80/udp`, `8000-8010`, each as `port/protocol`.
fn expand_ports(text: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for text in text.split_whitespace() {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
        match range {
            Some((first, last))
                if 0 < first && first <= last && matches!(&*protocol, "tcp" | "udp" | "sctp") =>
            {
                all.extend((first..=last).map(|port| format!("{port}/{protocol}")));
            }
            _ => {
                return Err(Problem::new(format!("`{text}` is no port"))
                    .hint("for example `8080`, `53/udp` or `8000-8010`"));
            }
        }
    }
    Ok(all)
}
