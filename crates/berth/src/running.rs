//! Finds a running session, and an instance in it, for `berth ps`, `logs` and `exec`.

use std::path::Path;

use berth_docker::client::{Client, ContainerSummary};
use berth_engine::SessionRecord;
use berth_error::Report;
use serde_json::Value;

use crate::cli::{ServerArgs, SessionArgs};
use crate::listing;
use crate::paths::{Paths, absolute};
use crate::remote;

/// A client of the session that is meant: the one whose project the current directory (or
/// `--project`) lies in, or else the only one on this machine.
pub(crate) fn client(args: &SessionArgs, paths: &Paths) -> Result<Client, Report> {
    let sessions = sessions(paths)?;
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

/// Where containers are looked for.
pub(crate) enum Target {
    /// A session on this machine.
    Session(Client),
    /// A server, by its API.
    Server(berth_client::Client),
}

impl Target {
    /// Its containers, as `berth ps --json` has them.
    pub(crate) async fn list(&self, all: bool) -> Result<Vec<Value>, Report> {
        match self {
            Self::Session(client) => {
                let containers = client.list(all).await?;
                Ok(containers.iter().map(listing::row).collect())
            }
            Self::Server(client) => {
                let mut rows: Vec<Value> = client.get("berth/containers").await?;
                rows.retain(|row| all || row["state"] == "running");
                Ok(rows)
            }
        }
    }
}

/// What is meant: the session of `--project`; the server of `--server`; the session of the project that
/// the current directory is in; the server of the environment; whatever else runs on this machine.
pub(crate) fn target(
    session: &SessionArgs,
    server: &ServerArgs,
    paths: &Paths,
) -> Result<Target, Report> {
    let of_server = || Ok(Target::Server(remote::connect(server, paths)?));
    if session.project.is_some() {
        return Ok(Target::Session(client(session, paths)?));
    }
    if server.server.is_some() || server.token.is_some() {
        return of_server();
    }
    let sessions = sessions(paths)?;
    let here = absolute(Path::new("."))?;
    let of_project = sessions
        .iter()
        .rev()
        .find(|session| session.project != Path::new("/") && here.starts_with(&session.project));
    if let Some(session) = of_project {
        return Ok(Target::Session(Client::new(&session.socket)));
    }
    if server.is_named() {
        return of_server();
    }
    match client(session, paths) {
        Ok(client) => Ok(Target::Session(client)),
        // A server may be on this machine whose sessions are another user's.
        Err(_) if berth_client::LocalServer::path(&paths.data).exists() && sessions.is_empty() => {
            of_server()
        }
        Err(report) => Err(report.with_hint("`--server` names a server")),
    }
}

fn sessions(paths: &Paths) -> Result<Vec<SessionRecord>, Report> {
    let mut sessions = berth_engine::sessions(&paths.sessions())?;
    // A build of `berth docker` has a session too, but serves nothing.
    sessions.retain(|session| session.socket.exists());
    Ok(sessions)
}

/// The container that a person means: by the name `berth ps` shows, its class alone if there is
/// only one, or its name or id as the API has them; the start of any of them is enough.
pub(crate) async fn instance(client: &Client, wanted: &str) -> Result<ContainerSummary, Report> {
    let containers = client.list(true).await?;
    let rows = containers.iter().map(listing::row).collect();
    let chosen = choose_instance(rows, wanted)?;
    let mut containers = containers.into_iter();
    let found = containers.find(|container| chosen["id"] == container.id);
    found.ok_or_else(|| Report::new(format!("the instance `{wanted}` is gone"), None))
}

/// The same among containers as `berth ps --json` has them.
pub(crate) fn choose_instance(mut rows: Vec<Value>, wanted: &str) -> Result<Value, Report> {
    // Of two with the same start, one that runs is meant.
    rows.sort_by_key(|row| row["state"] != "running");
    let names = |row: &Value| {
        ["instance", "name", "id"].map(|name| row[name].as_str().unwrap_or_default().to_owned())
    };
    if let Some(found) = rows
        .iter()
        .position(|row| names(row).iter().any(|name| name == wanted))
    {
        return Ok(rows.swap_remove(found));
    }
    let starts = |row: &Value| {
        let names = names(row);
        let short = names[0].rsplit('/').next().unwrap_or_default();
        names.iter().any(|name| name.starts_with(wanted)) || short.starts_with(wanted)
    };
    let displayed = |rows: &[Value]| {
        let displayed = rows.iter().map(|row| names(row)[0].clone());
        displayed.collect::<Vec<_>>().join(", ")
    };
    let all = displayed(&rows);
    let mut candidates: Vec<Value> = rows.into_iter().filter(starts).collect();
    let living = candidates.iter().filter(|row| row["state"] == "running");
    let living = living.count();
    match candidates.len() {
        0 => Err(Report::new(
            format!("there is no instance `{wanted}`"),
            Some(match all.is_empty() {
                true => "no container has been started yet".to_owned(),
                false => format!("there are: {all}"),
            }),
        )),
        count if count == 1 || living == 1 => Ok(candidates.swap_remove(0)),
        count => Err(Report::new(
            format!("`{wanted}` means {count} instances"),
            Some(format!("name one of them: {}", displayed(&candidates))),
        )),
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
            kept: false,
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
