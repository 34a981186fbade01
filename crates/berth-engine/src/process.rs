//! What a container really runs: the image's configuration and the request, merged as Docker does.
//!
//! Pure. Facts (Docker 20.10 and workerd 1.20261117.1):
//! * workerd sends a class's `entrypoint` as `Cmd`: it replaces the image's `CMD`, and the image's
//!   `ENTRYPOINT` stays and receives it as arguments.
//! * An `Entrypoint` in the request drops the image's `CMD` as well.
//! * Later environment entries win, in the place of the first; an entry without `=` unsets.
//! * `PATH` and `HOSTNAME` are given unless set; `HOME` comes from the image's `/etc/passwd`, so
//!   the jail adds it; `TERM` is for terminals only.

use indexmap::IndexMap;
use oci_spec::image::{Config, ImageConfiguration};
use serde::{Deserialize, Serialize};

use crate::signals::{SIGTERM, signal_number};
use crate::{ContainerSpec, EngineError, ExecSpec};

/// `PATH` of a container whose image sets none: Docker's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `TERM` of a process with a terminal.
const DEFAULT_TERM: &str = "xterm";

/// The merged description of a container's first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effective {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    /// What asks the program to end: the image's `STOPSIGNAL`, or SIGTERM.
    pub(crate) stop_signal: i32,
}

impl Effective {
    /// With what makes a program trust the authority of intercepted HTTPS.
    pub(crate) fn trusting(&self) -> Self {
        let mut trusting = self.clone();
        crate::trust::add_variable(&mut trusting.env);
        trusting
    }
}

/// Merges image and request.
///
/// # Errors
/// [`EngineError::NoCommand`] when neither says what to run.
pub(crate) fn effective(
    spec: &ContainerSpec,
    image: &ImageConfiguration,
) -> Result<Effective, EngineError> {
    let config = image.config().as_ref();
    let argv = argv(
        spec.entrypoint.as_deref(),
        spec.command.as_deref(),
        config
            .and_then(|c| c.entrypoint().as_deref())
            .unwrap_or_default(),
        config.and_then(|c| c.cmd().as_deref()).unwrap_or_default(),
    );
    if argv.is_empty() {
        return Err(EngineError::NoCommand(spec.name.clone()));
    }
    let image_env = config.and_then(|c| c.env().as_deref()).unwrap_or_default();
    let defaults = [
        format!("PATH={DEFAULT_PATH}"),
        format!("HOSTNAME={}", spec.hostname),
    ];
    Ok(Effective {
        argv,
        env: merge_env([&defaults[..], image_env, &spec.env]),
        cwd: pick(spec.working_dir.as_ref(), config, Config::working_dir)
            .unwrap_or_else(|| "/".to_owned()),
        user: pick(spec.user.as_ref(), config, Config::user).unwrap_or_default(),
        stop_signal: pick(None, config, Config::stop_signal)
            .and_then(|text| signal_number(&text))
            .unwrap_or(SIGTERM),
    })
}

/// The first of request and image that is neither absent nor empty.
fn pick(
    request: Option<&String>,
    config: Option<&Config>,
    field: impl Fn(&Config) -> &Option<String>,
) -> Option<String> {
    request
        .or_else(|| config.and_then(|config| field(config).as_ref()))
        .filter(|text| !text.is_empty())
        .cloned()
}

fn argv(
    entrypoint: Option<&[String]>,
    command: Option<&[String]>,
    image_entrypoint: &[String],
    image_command: &[String],
) -> Vec<String> {
    // `[""]` is how Docker's clients say "no entrypoint at all".
    let reset = |list: &[String]| list.len() == 1 && list[0].is_empty();
    let command = command.filter(|list| !list.is_empty());
    match entrypoint {
        Some(list) if !list.is_empty() => {
            let list = if reset(list) { &[] } else { list };
            [list, command.unwrap_or_default()].concat()
        }
        Some(_) => command.unwrap_or(image_command).to_vec(),
        None => [image_entrypoint, command.unwrap_or(image_command)].concat(),
    }
}

/// Later entries win, in the place of the first; an entry without `=` removes the name.
fn merge_env<'a>(lists: impl IntoIterator<Item = &'a [String]>) -> Vec<String> {
    let mut merged: IndexMap<&str, &str> = IndexMap::new();
    for entry in lists.into_iter().flatten() {
        match entry.split_once('=') {
            Some((name, _)) => {
                merged.insert(name, entry);
            }
            None => {
                merged.shift_remove(entry.as_str());
            }
        }
    }
    merged.into_values().map(str::to_owned).collect()
}

/// The process of an exec: what the request leaves open comes from the container.
pub(crate) fn exec_process(container: &Effective, spec: &ExecSpec) -> berth_jail::ProcessSpec {
    let term = [format!("TERM={DEFAULT_TERM}")];
    let term = if spec.terminal.is_some() {
        &term[..]
    } else {
        &[]
    };
    berth_jail::ProcessSpec {
        argv: spec.argv.clone(),
        env: merge_env([term, &container.env, &spec.env]),
        cwd: spec
            .working_dir
            .clone()
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| container.cwd.clone()),
        user: spec
            .user
            .clone()
            .filter(|user| !user.is_empty())
            .unwrap_or_else(|| container.user.clone()),
        terminal: spec.terminal.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_replaces_cmd_and_entrypoint_stays() {
        let (entry, cmd) = (list(&["/entry"]), list(&["a"]));
        let given = list(&["x", "y"]);
        assert_eq!(argv(None, None, &entry, &cmd), ["/entry", "a"]);
        assert_eq!(argv(None, Some(&given), &entry, &cmd), ["/entry", "x", "y"]);
        assert_eq!(argv(None, Some(&[]), &entry, &cmd), ["/entry", "a"]);
    }

    #[test]
    fn entrypoint_of_the_request_drops_the_images_cmd() {
        let (entry, cmd) = (list(&["/entry"]), list(&["a"]));
        let given = list(&["/bin/cp"]);
        assert_eq!(argv(Some(&given), None, &entry, &cmd), ["/bin/cp"]);
        assert_eq!(
            argv(Some(&given), Some(&list(&["-a"])), &entry, &cmd),
            ["/bin/cp", "-a"]
        );
        assert_eq!(argv(Some(&[]), None, &entry, &cmd), ["a"]);
        assert_eq!(
            argv(Some(&list(&[""])), Some(&list(&["b"])), &entry, &cmd),
            ["b"]
        );
        assert!(argv(Some(&list(&[""])), None, &entry, &cmd).is_empty());
    }

    #[test]
    fn later_environment_wins_in_the_first_place_and_no_equals_sign_unsets() {
        let image = list(&["A=1", "B=2", "C=3"]);
        let user = list(&["B=two", "D=", "C", "A=x", "A=y"]);
        assert_eq!(merge_env([&image[..], &user[..]]), ["A=y", "B=two", "D="]);
    }

    fn container() -> Effective {
        Effective {
            argv: list(&["/app"]),
            env: list(&["PATH=/bin", "HOSTNAME=h", "X=1"]),
            cwd: "/srv".to_owned(),
            user: "app".to_owned(),
            stop_signal: SIGTERM,
        }
    }

    fn exec() -> ExecSpec {
        ExecSpec {
            argv: list(&["sh"]),
            env: list(&["X=2"]),
            working_dir: None,
            user: None,
            terminal: None,
            stdin: false,
        }
    }

    #[test]
    fn exec_inherits_from_the_container() {
        let process = exec_process(&container(), &exec());
        assert_eq!(process.env, ["PATH=/bin", "HOSTNAME=h", "X=2"]);
        assert_eq!(
            (process.cwd.as_str(), process.user.as_str()),
            ("/srv", "app")
        );
    }

    #[test]
    fn exec_on_a_terminal_has_term_unless_the_container_says_otherwise() {
        let mut spec = exec();
        spec.terminal = Some((24, 80).into());
        spec.user = Some("0:0".to_owned());
        spec.working_dir = Some("/tmp".to_owned());
        let process = exec_process(&container(), &spec);
        assert_eq!(process.env[0], "TERM=xterm");
        assert_eq!(
            (process.cwd.as_str(), process.user.as_str()),
            ("/tmp", "0:0")
        );
        let mut container = container();
        container.env.push("TERM=dumb".to_owned());
        assert_eq!(exec_process(&container, &spec).env[0], "TERM=dumb");
    }
}
