//! How a dev session's events look: text with colours for a person, JSON lines for a tool.

use berth_error::harmless;
use owo_colors::{OwoColorize as _, Style};

use super::event::{Binding, DevEvent};
use crate::printer;

/// Where events are shown. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Screen {
    /// For a person.
    Text,
    /// For a tool.
    Json,
    /// On standard error, because standard output is for something else.
    Quiet,
}

impl Screen {
    /// Shows one event.
    pub(crate) fn show(self, event: &DevEvent) {
        match self {
            Self::Text => {
                if let Some(text) = text(event) {
                    printer::line(text);
                }
            }
            Self::Quiet => {
                if let Some(text) = text(event) {
                    printer::note(text);
                }
            }
            Self::Json => match serde_json::to_string(&plain(event)) {
                Ok(line) => printer::line(line),
                Err(error) => tracing::error!(%error, "an event could not be written as JSON"),
            },
        }
    }
}

/// Colours are for terminals: tools get the same text without them.
fn plain(event: &DevEvent) -> DevEvent {
    let strip = |text: &str| anstream::adapter::strip_str(text).to_string();
    match event {
        DevEvent::Warning { message } => DevEvent::Warning {
            message: strip(message),
        },
        DevEvent::Error { message } => DevEvent::Error {
            message: strip(message),
        },
        other => other.clone(),
    }
}

fn text(event: &DevEvent) -> Option<String> {
    Some(match event {
        DevEvent::Progress { message } => format!("{} {message}", "·".dimmed()),
        DevEvent::Build {
            container,
            message,
            output: false,
        } => {
            format!("{} {}", prefix(container), harmless(message))
        }
        DevEvent::Build {
            container,
            message,
            output: true,
        } => {
            format!("{} {}", prefix(container), harmless(message).dimmed())
        }
        DevEvent::Ready {
            url,
            elapsed_ms,
            bindings,
            ..
        } => ready(url, *elapsed_ms, bindings),
        DevEvent::EngineReady {
            docker_host,
            docker_bin,
            elapsed_ms,
            ..
        } => engine_ready(docker_host, docker_bin, *elapsed_ms),
        DevEvent::Reloaded { elapsed_ms } => {
            format!("{} Worker reloaded in {elapsed_ms} ms", "·".dimmed())
        }
        DevEvent::Rebuilt { stopped } => {
            let containers = if *stopped == 1 {
                "container"
            } else {
                "containers"
            };
            format!(
                "{} images rebuilt, {stopped} {containers} stopped",
                "·".dimmed()
            )
        }
        DevEvent::Log {
            source,
            stream,
            message,
        } => {
            let prefix = prefix(source);
            if *stream == "stderr" && source == "worker" {
                format!("{prefix} {}", message.yellow())
            } else {
                format!("{prefix} {message}")
            }
        }
        DevEvent::Container {
            action,
            name,
            exit_code,
            reason,
        } => container(action, name, *exit_code, reason.as_deref())?,
        DevEvent::Request {
            method,
            path,
            status,
            duration_ms,
        } => {
            let style = match status {
                500.. => Style::new().red(),
                400.. => Style::new().yellow(),
                _ => Style::new().green(),
            };
            format!(
                "{} {path} {} {}",
                method.bold(),
                status.style(style),
                format_args!("({duration_ms:.1} ms)").dimmed()
            )
        }
        DevEvent::Warning { message } => labelled("warning", Style::new().yellow(), message),
        DevEvent::Error { message } => labelled("error", Style::new().red(), message),
        DevEvent::Leaving => format!("{} leaving", "·".dimmed()),
    })
}

/// Messages that bring their own label (compiler-like diagnostics) are not labelled twice.
fn labelled(label: &str, style: Style, message: &str) -> String {
    let message = message.trim_end();
    let bare = anstream::adapter::strip_str(message).to_string();
    if bare.starts_with(label) {
        message.to_owned()
    } else {
        format!("{}{} {message}", label.style(style.bold()), ":".bold())
    }
}

fn container(
    action: &str,
    name: &str,
    exit_code: Option<i32>,
    reason: Option<&str>,
) -> Option<String> {
    let what = match (action, exit_code, reason) {
        ("started" | "asleep" | "awake", ..) => action.to_owned(),
        ("exited", Some(code), Some(reason)) => format!("exited with code {code} ({reason})"),
        ("exited", Some(code), None) => format!("exited with code {code}"),
        ("failed", _, reason) => {
            return Some(format!(
                "{} {} {}",
                prefix(name),
                "could not start:".red(),
                reason.unwrap_or("unknown reason")
            ));
        }
        _ => return None,
    };
    Some(format!("{} {}", prefix(name), what.dimmed()))
}

fn ready(url: &str, elapsed_ms: u64, bindings: &[Binding]) -> String {
    let mut lines = Vec::new();
    if !bindings.is_empty() {
        let width = |column: fn(&Binding) -> usize| bindings.iter().map(column).max().unwrap_or(0);
        let names = width(|binding| binding.name.chars().count());
        let kinds = width(|binding| binding.kind.chars().count());
        lines.push("The Worker has:".to_owned());
        for Binding { name, kind, target } in bindings {
            let line = format!(
                "  {}{}  {}  {target}",
                name.bold(),
                " ".repeat(names - name.chars().count()),
                format_args!("{kind:kinds$}").dimmed(),
            );
            lines.push(line.trim_end().to_owned());
        }
        lines.push(String::new());
    }
    // Nothing follows the address on its line: tools that run `wrangler dev` read it to the end.
    let seconds = std::time::Duration::from_millis(elapsed_ms).as_secs_f64();
    lines.push(format!(
        "{} started in {seconds:.1} s\n{} on {}",
        "·".dimmed(),
        "Ready".green().bold(),
        url.bold(),
    ));
    lines.join("\n")
}

/// The lines to copy into the terminal where wrangler runs.
fn engine_ready(docker_host: &str, docker_bin: &str, elapsed_ms: u64) -> String {
    let seconds = std::time::Duration::from_millis(elapsed_ms).as_secs_f64();
    format!(
        "{} started in {seconds:.1} s\n{} for `wrangler dev` in another terminal, with\n  export {}\n  export {}",
        "·".dimmed(),
        "Ready".green().bold(),
        format_args!("DOCKER_HOST={docker_host}").bold(),
        format_args!("WRANGLER_DOCKER_BIN={docker_bin}").bold(),
    )
}

/// `[name]` in a colour of its own that stays the same from run to run.
fn prefix(name: &str) -> String {
    if name == "worker" {
        return format!("{}", "[worker]".dimmed());
    }
    let colours = [
        Style::new().cyan(),
        Style::new().magenta(),
        Style::new().blue(),
        Style::new().green(),
        Style::new().bright_cyan(),
        Style::new().bright_magenta(),
        Style::new().bright_blue(),
        Style::new().bright_green(),
    ];
    let sum = name.bytes().fold(5381_usize, |sum, byte| {
        sum.wrapping_mul(33).wrapping_add(usize::from(byte))
    });
    format!(
        "{}",
        format_args!("[{name}]").style(colours[sum % colours.len()])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(event: &DevEvent) -> String {
        anstream::adapter::strip_str(&text(event).unwrap()).to_string()
    }

    #[test]
    fn the_ready_line_comes_last_and_names_the_address() {
        let event = DevEvent::Ready {
            url: "http://localhost:8787".into(),
            control: String::new(),
            session: String::new(),
            elapsed_ms: 812,
            bindings: vec![
                Binding {
                    name: "env.A".into(),
                    kind: "KV namespace",
                    target: "a".into(),
                },
                Binding {
                    name: "env.LONG".into(),
                    kind: "Queue",
                    target: "q".into(),
                },
            ],
        };
        assert_eq!(
            bare(&event),
            "The Worker has:\n  env.A     KV namespace  a\n  env.LONG  Queue         q\n\n\
             · started in 0.8 s\nReady on http://localhost:8787"
        );
    }

    #[test]
    fn a_label_is_not_printed_twice() {
        let labelled = DevEvent::Error {
            message: "error: no\n".into(),
        };
        assert_eq!(bare(&labelled), "error: no");
        assert_eq!(
            bare(&DevEvent::Error {
                message: "no".into()
            }),
            "error: no"
        );
    }

    #[test]
    fn an_exit_shows_its_code_and_reason() {
        let event = DevEvent::Container {
            action: "exited",
            name: "Box/12ab".into(),
            exit_code: Some(137),
            reason: Some("out of memory".into()),
        };
        assert_eq!(
            bare(&event),
            "[Box/12ab] exited with code 137 (out of memory)"
        );
    }

    #[test]
    fn json_has_no_colours() {
        let event = plain(&DevEvent::Error {
            message: format!("{}", "no".red()),
        });
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"error","message":"no"}"#
        );
    }
}
