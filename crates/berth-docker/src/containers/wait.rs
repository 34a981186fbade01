//! `POST /containers/{id}/wait`: the long poll behind `ctx.container.monitor()`.
//!
//! The headers leave at once (the docker command takes them for "the wait is registered"), the body
//! follows when the container ends. A container that is deleted while someone waits has ended with
//! 137: without an answer `ctx.container.destroy()` would hang.

use std::future::Future;
use std::sync::Arc;

use berth_engine::{Engine, Event, Status};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::api::Api;
use crate::error::ApiError;
use crate::query::Query;
use crate::respond::{Reply, streamed};
use crate::sidecar::Sidecar;

/// Exit code of what was killed: 128 + SIGKILL.
const KILLED: i32 = 137;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// Answers with `StatusCode`, late.
pub(crate) fn wait(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    let condition = match query.get("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "invalid condition: {other:?}"
            )));
        }
    };
    if let Some(sidecar) = api.sidecars.get(name) {
        return Ok(late(sidecar_exit(sidecar, condition)));
    }
    if let Some(helper) = api.helpers.get(name) {
        return Ok(match condition {
            Condition::Removed => late(helper.removed()),
            Condition::NotRunning | Condition::NextExit => late(helper.exit()),
        });
    }
    if condition != Condition::Removed
        && let Some(error) = api.refusals.of(name)
    {
        return Err(error);
    }
    // Subscribed before the look at the state, so that no exit is missed in between.
    let events = api.engine.events();
    let info = api
        .engine
        .inspect(name)
        .ok_or_else(|| ApiError::no_such_container(name))?;
    let engine = api.engine.clone();
    Ok(match (condition, info.status) {
        (Condition::NotRunning, Status::Created) => late(std::future::ready(0)),
        (Condition::NotRunning, _)
        | (Condition::NextExit, Status::Running | Status::Starting | Status::Removing) => {
            late(exit(engine, info.name))
        }
        (Condition::NextExit, Status::Created | Status::Exited) => {
            late(next_exit(events, info.name))
        }
        (Condition::Removed, _) => late(removed(engine, info.name)),
    })
}

fn late(code: impl Future<Output = i32> + Send + 'static) -> http::Response<crate::respond::Body> {
    let body = async move {
        let body = json!({"Error": Value::Null, "StatusCode": code.await});
        Bytes::from(format!("{body}\n"))
    };
    streamed("application/json", stream::once(body))
}

async fn exit(engine: Engine, name: String) -> i32 {
    match engine.wait(&name).await {
        Ok(status) => status.code,
        Err(error) => {
            tracing::debug!(%error, name, "a container went away while waited for");
            KILLED
        }
    }
}

async fn next_exit(mut events: Receiver<Event>, name: String) -> i32 {
    loop {
        match events.recv().await {
            Ok(Event::Exited(info)) if info.name == name => {
                return info.exit.map_or(KILLED, |exit| exit.code);
            }
            Ok(Event::Removed(info)) if info.name == name => return KILLED,
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, name, "missed events while waiting");
            }
            Err(RecvError::Closed) => return KILLED,
        }
    }
}

async fn removed(engine: Engine, name: String) -> i32 {
    let exit = async {
        match engine.inspect(&name).map(|info| info.status) {
            Some(Status::Created) | None => None,
            Some(_) => engine.wait(&name).await.ok(),
        }
    };
    let (exit, gone) = tokio::join!(exit, engine.wait_removed(&name));
    if let Err(error) = gone {
        tracing::debug!(%error, name, "waited for a container that is gone");
    }
    exit.map_or(0, |exit| exit.code)
}

async fn sidecar_exit(sidecar: Arc<Sidecar>, condition: Condition) -> i32 {
    match condition {
        Condition::Removed => sidecar.removed().await,
        Condition::NotRunning | Condition::NextExit => sidecar.stopped().await,
    }
    KILLED
}
