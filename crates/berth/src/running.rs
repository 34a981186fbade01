//! Finds a running session, and an instance in it, for `berth ps`, `logs` and `exec`.

use std::path::Path;

use berth_docker::client::{Client, ContainerSummary};
use berth_engine::SessionRecord;
use berth_error::Report;

use crate::cli::SessionArgs;
use crate::paths::{Paths, absolute};

/// A client of the session that is meant: the one whose project the current directory (or
/// `--project`) lies in, or else the only one on this machine.
pub(crate) fn client(args: &SessionArgs, paths: &Paths) -> Result<Client, Report> {
    let mut sessions = berth_engine::sessions(&paths.sessions())?;
    // A build of `berth docker` has a session too, but serves nothing.
    sessions.retain(|session| session.socket.exists());
    let directory = absolute(args.project.as_deref().unwrap_or(Path::new(".")))?;
    let session = choose(&sessions, &directory, args.project.is_some())?;
    Ok(Client::new(&session.socket))
}

fn choose<'a>(
    sessions: &'a [SessionRecord],
    directory: &Path,
    named: bool,
) -> Result<&'a SessionRecord, Report> {
    let of_project = directory.ancestors().find_map(|ancestor| {
        // The newest one counts when a project runs twice.
        sessions
            .iter()
            .rev()
            .find(|session| session.project == ancestor)
    });
    match (of_project, sessions) {
        (Some(session), _) => Ok(session),
        (None, [only]) if !named => Ok(only),
        (None, []) => Err(Report::new(
            "no session of Berth runs on this machine",
            Some("start one with `berth dev` or `berth engine`".to_owned()),
        )),
        (None, several) => {
            let projects: Vec<_> = several
                .iter()
                .map(|session| session.project.display().to_string())
                .collect();
            Err(Report::new(
                format!("no `berth dev` session runs for `{}`", directory.display()),
                Some(format!(
                    "name one of the running projects with `--project`: {}",
                    projects.join(", ")
                )),
            ))
        }
    }
}

/// The container that a person means: by the name `berth ps` shows, its class alone if there is
/// only one, or its name or id as the API has them; the start of any of them is enough.
pub(crate) async fn instance(client: &Client, wanted: &str) -> Result<ContainerSummary, Report> {
    let mut containers = client.list(true).await?;
    // Of two with the same start, one that runs is meant.
    containers.sort_by_key(|container| container.state != "running");
    let exact = |container: &ContainerSummary| {
        [&container.display_name, &container.name, &container.id]
            .iter()
            .any(|name| *name == wanted)
    };
    if let Some(found) = containers.iter().position(exact) {
        return Ok(containers.swap_remove(found));
    }
    let starts = |container: &ContainerSummary| {
        let short = container
            .display_name
            .rsplit('/')
            .next()
            .unwrap_or_default();
        [&container.display_name, &container.name, &container.id]
            .iter()
            .any(|name| name.starts_with(wanted))
            || short.starts_with(wanted)
    };
    let names: Vec<_> = containers
        .iter()
        .map(|container| container.display_name.clone())
        .collect();
    let running = |container: &&ContainerSummary| container.state == "running";
    let candidates: Vec<_> = containers.into_iter().filter(starts).collect();
    let living = candidates.iter().filter(running).count();
    match candidates.len() {
        0 => Err(Report::new(
            format!("no instance `{wanted}` in this session"),
            Some(if names.is_empty() {
                "no container has been started yet".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            }),
        )),
        count if count == 1 || living == 1 => candidates
            .into_iter()
            .next()
            .ok_or_else(|| Report::new(format!("no instance `{wanted}` in this session"), None)),
        count => {
            let names: Vec<_> = candidates
                .iter()
                .map(|container| container.display_name.as_str())
                .collect();
            Err(Report::new(
                format!("`{wanted}` means {count} instances"),
                Some(format!("name one of them: {}", names.join(", "))),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(project: &str) -> SessionRecord {
        SessionRecord {
            id: project.to_owned(),
            pid: 1,
            cgroup: String::new(),
            socket: project.into(),
            project: project.into(),
            started_ms: 0,
        }
    }

    #[test]
    fn the_nearest_project_above_wins_and_the_only_one_will_do() {
        let sessions = [session("/a"), session("/a/b")];
        let chosen = |directory: &str| {
            choose(&sessions, Path::new(directory), false).map(|session| session.id.clone())
        };
        assert_eq!(chosen("/a/b/src").unwrap(), "/a/b");
        assert_eq!(chosen("/a/c").unwrap(), "/a");
        assert!(chosen("/elsewhere").is_err());
        let only = [session("/a")];
        assert_eq!(
            choose(&only, Path::new("/elsewhere"), false).unwrap().id,
            "/a"
        );
        assert!(choose(&only, Path::new("/elsewhere"), true).is_err());
        assert!(choose(&[], Path::new("/"), false).is_err());
    }
}
