//! Processes in a running container: create, start (with a hijacked connection), inspect, resize.
//!
//! ```text
//! create ─▶ Created ─start─▶ Running (pid > 0 before the client sees 101) ─▶ Ended (code)
//! ```
//!
//! Invariants: the exit code is visible before the stream closes (workerd asks at that moment, and
//! only for a second); an exec object lives as long as its container, but of ended ones only the
//! last thousand or so.

mod registry;
mod stream;

use std::sync::Arc;

use berth_engine::{EngineError, Exec, ExecIo, ExecSpec, Status};
use berth_jail::JailError;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use serde_json::json;

use crate::api::Api;
use crate::body::{CreateExec, StartExec, StringOrList, collect, decode};
use crate::error::ApiError;
use crate::query::Query;
use crate::respond::{Reply, empty, json_reply, ok};
pub(crate) use registry::Execs;
use registry::{Instance, State};
use stream::Streams;

/// Size of a terminal whose size nobody gave: rows, columns.
const DEFAULT_TERMINAL: (u16, u16) = (24, 80);

/// Exit code of a command that is in the container but could not be executed, or whose user or
/// working directory is wrong.
const CANNOT_EXECUTE: i32 = 126;

/// Exit code of a command that is not in the container.
const NOT_FOUND: i32 = 127;

/// What a shell would say about a command that did not even start.
fn failure_code(error: &EngineError) -> i32 {
    match error {
        EngineError::Exec {
            source: JailError::NotFound(_),
            ..
        } => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    }
}

/// 201 with `Id`; 404; 409 if the container does not run.
pub(crate) fn create(api: &Arc<Api>, name: &str, body: CreateExec) -> Reply {
    let info = api
        .engine
        .inspect(name)
        .ok_or_else(|| ApiError::no_such_container(name))?;
    if info.status != Status::Running {
        return Err(ApiError::conflict(format!(
            "container {} is not running",
            info.id
        )));
    }
    let command = body
        .cmd
        .clone()
        .map(StringOrList::into_vec)
        .unwrap_or_default();
    if command.is_empty() {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    let instance = api.execs.create(info.id, info.name, command, body);
    Ok(json_reply(StatusCode::CREATED, &json!({"Id": instance.id})))
}

/// 101 and the streams, or, detached, 200 when the process runs.
pub(crate) async fn start(api: &Arc<Api>, id: &str, mut request: Request<Incoming>) -> Reply {
    let instance = find(api, id)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    let body = decode::<StartExec>(&collect(request.into_body()).await?)?;
    if !body.detach && !wants_upgrade {
        return Err(ApiError::bad_request(
            "an attached exec needs `Connection: Upgrade` and `Upgrade: tcp`",
        ));
    }
    if body.detach {
        start_detached(api, &instance).await
    } else {
        start_attached(api, &instance, body.console_size, upgrade).await
    }
}

async fn start_detached(api: &Arc<Api>, instance: &Arc<Instance>) -> Reply {
    instance.begin()?;
    let terminal = instance.body.tty.then_some(DEFAULT_TERMINAL);
    let spec = spec(instance, terminal, false);
    match api.engine.exec(&instance.container_name, spec).await {
        Ok(exec) => {
            let streams = running(api, instance, exec)?;
            let (instance, cancelled) = (instance.clone(), api.cancelled());
            api.spawn(async move {
                tokio::select! {
                    () = cancelled.cancelled() => (),
                    () = stream::discard(streams, &instance) => (),
                }
            });
            Ok(empty(StatusCode::OK))
        }
        Err(error) => {
            instance.ended(failure_code(&error));
            Err(error.into())
        }
    }
}

async fn start_attached(
    api: &Arc<Api>,
    instance: &Arc<Instance>,
    console_size: Option<(u16, u16)>,
    upgrade: OnUpgrade,
) -> Reply {
    if api.engine.inspect(&instance.container_id).is_none() {
        return Err(ApiError::no_such_container(&instance.container_name));
    }
    instance.begin()?;
    let terminal = instance.body.tty.then(|| terminal_size(console_size));
    let spec = spec(instance, terminal, instance.body.attach_stdin);
    let started = api.engine.exec(&instance.container_name, spec).await;
    let (instance, cancelled) = (instance.clone(), api.cancelled());
    let session = match started {
        Ok(exec) => stream::Session::Process(running(api, &instance, exec)?),
        // As Docker does: the client is connected, reads the reason, and finds the exit code.
        Err(error) => {
            instance.ended(failure_code(&error));
            stream::Session::Failed(format!("{}\r\n", berth_error::chain(&error)))
        }
    };
    api.spawn(async move {
        tokio::select! {
            () = cancelled.cancelled() => (),
            () = stream::serve(upgrade, session, &instance) => (),
        }
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.docker.raw-stream"),
    );
    Ok(response)
}

/// Registers a started process and prepares its streams.
fn running(api: &Arc<Api>, instance: &Arc<Instance>, exec: Exec) -> Result<Streams, ApiError> {
    let Exec { process, io } = exec;
    let terminal =
        match &io {
            ExecIo::Terminal(master) => Some(master.try_clone().map_err(|error| {
                ApiError::internal(format!("duplicating the terminal: {error}"))
            })?),
            ExecIo::Pipes { .. } => None,
        };
    instance.running(process.pid(), terminal);
    // The exit code shows even while a client does not read what the process has written.
    let (ended, watched, cancelled) = (process.clone(), instance.clone(), api.cancelled());
    api.spawn(async move {
        tokio::select! {
            () = cancelled.cancelled() => (),
            status = ended.wait() => watched.ended(status.code),
        }
    });
    Streams::new(process, io)
        .map_err(|error| ApiError::internal(format!("preparing the streams of an exec: {error}")))
}

fn spec(instance: &Instance, terminal: Option<(u16, u16)>, stdin: bool) -> ExecSpec {
    let body = &instance.body;
    let mut env = body.env.clone();
    if terminal.is_some() && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.insert(0, "TERM=xterm".to_owned());
    }
    ExecSpec {
        argv: instance.command.clone(),
        env,
        working_dir: Some(body.working_dir.clone()).filter(|dir| !dir.is_empty()),
        user: Some(body.user.clone()).filter(|user| !user.is_empty()),
        terminal: terminal.map(Into::into),
        stdin,
    }
}

/// A dimension that is zero or missing gets its default.
fn terminal_size(size: Option<(u16, u16)>) -> (u16, u16) {
    let (rows, columns) = size.unwrap_or_default();
    let or = |given: u16, default: u16| if given == 0 { default } else { given };
    (
        or(rows, DEFAULT_TERMINAL.0),
        or(columns, DEFAULT_TERMINAL.1),
    )
}

/// `GET /exec/{id}/json`.
pub(crate) fn inspect(api: &Arc<Api>, id: &str) -> Reply {
    let instance = find(api, id)?;
    let (running, pid, exit_code) = match instance.state() {
        State::Created => (false, 0, None),
        State::Starting => (true, 0, None),
        State::Running { pid } => (true, pid, None),
        State::Ended { code, pid } => (false, pid, Some(code)),
    };
    let body = &instance.body;
    Ok(ok(&json!({
        "ID": instance.id,
        "Running": running,
        "ExitCode": exit_code,
        "Pid": pid,
        "ProcessConfig": {
            "tty": body.tty,
            "entrypoint": instance.command.first(),
            "arguments": instance.command.get(1..).unwrap_or_default(),
            "privileged": false,
            "user": body.user,
        },
        "OpenStdin": body.attach_stdin,
        "OpenStdout": body.attach_stdout,
        "OpenStderr": body.attach_stderr,
        "CanRemove": exit_code.is_some(),
        "ContainerID": instance.container_id,
        "DetachKeys": "",
    })))
}

/// `POST /exec/{id}/resize?h=R&w=C`: 200; 409 if it has no running terminal.
pub(crate) fn resize(api: &Arc<Api>, id: &str, query: &Query) -> Reply {
    let instance = find(api, id)?;
    let size = |key| {
        query
            .number::<u16>(key)?
            .filter(|number| *number > 0)
            .ok_or_else(|| ApiError::bad_request(format!("the parameter {key} is missing")))
    };
    let (rows, columns) = (size("h")?, size("w")?);
    instance.resize(rows, columns)?;
    Ok(empty(StatusCode::OK))
}

fn find(api: &Api, id: &str) -> Result<Arc<Instance>, ApiError> {
    api.execs
        .get(id)
        .ok_or_else(|| ApiError::not_found(format!("No such exec instance: {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_dimension_has_a_default() {
        assert_eq!(terminal_size(None), (24, 80));
        assert_eq!(terminal_size(Some((0, 100))), (24, 100));
        assert_eq!(terminal_size(Some((40, 100))), (40, 100));
    }
}
