//! Start, stop, kill and delete.

use std::sync::Arc;
use std::time::Duration;

use berth_engine::{Status, signal_number};
use http::StatusCode;

use crate::admission::too_many;
use crate::api::Api;
use crate::containers::create::{is_told_later, refuse};
use crate::error::ApiError;
use crate::names::is_workerds;
use crate::query::Query;
use crate::respond::{Reply, empty};

/// Grace of `stop` when the request gives none; Docker's default.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// 204; 304 if it runs already; 404; 400 if the image has no such command.
pub(crate) async fn start(api: &Arc<Api>, name: &str) -> Reply {
    if let Some(sidecar) = api.sidecars.get(name) {
        return Ok(empty(if sidecar.start(api).await? {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::NOT_MODIFIED
        }));
    }
    if let Some(helper) = api.helpers.get(name) {
        return Ok(empty(if helper.start()? {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::NOT_MODIFIED
        }));
    }
    if is_workerds(name) {
        start_workerds(api, name).await?;
    } else {
        api.engine.start(name).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Starts a container of workerd's, or remembers why not: see `admission.rs`.
async fn start_workerds(api: &Api, name: &str) -> Result<(), ApiError> {
    let Some(info) = api.engine.inspect(name) else {
        return match api.refusals.of(name) {
            Some(_) => Ok(()),
            None => Err(ApiError::no_such_container(name)),
        };
    };
    let per_second = api.applications().starts_per_second;
    if let Some(rate) = per_second
        && !api.starts.admit(per_second)
    {
        let text = too_many(rate);
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, text.as_str());
        if api.refusals.refuse(name, error) {
            api.engine.tell_refused(name, info.display_name, text);
        }
        return Ok(());
    }
    match api.engine.start(name).await {
        Ok(()) => {
            api.refusals.forget(name);
            Ok(())
        }
        Err(error) if is_told_later(&error) => {
            refuse(api, name, &error);
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// 204 when it has ended; 304 if it had already.
pub(crate) async fn stop(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    if let Some(sidecar) = api.sidecars.get(name) {
        return Ok(empty(if sidecar.stop() {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::NOT_MODIFIED
        }));
    }
    let info = api
        .engine
        .inspect(name)
        .ok_or_else(|| ApiError::no_such_container(name))?;
    if !matches!(info.status, Status::Running | Status::Starting) {
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    let grace = query
        .number::<u64>("t")?
        .map_or(STOP_GRACE, Duration::from_secs);
    api.engine.stop(name, grace).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// 204 when it is frozen; 409 if it is already, or does not run; 404.
pub(crate) async fn pause(api: &Arc<Api>, name: &str) -> Reply {
    api.engine.pause(name).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// 204 when it runs again; 409 if it is not paused; 404.
pub(crate) async fn unpause(api: &Arc<Api>, name: &str) -> Reply {
    api.engine.unpause(name).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// 204; 409 if it does not run; 404.
pub(crate) async fn kill(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    let signal = query
        .get("signal")
        .map_or(Some(SIGKILL), signal_number)
        .ok_or_else(|| {
            ApiError::bad_request(format!(
                "Invalid signal: {}",
                query.get("signal").unwrap_or_default()
            ))
        })?;
    if let Some(sidecar) = api.sidecars.get(name) {
        if !sidecar.stop() {
            return Err(ApiError::conflict(format!(
                "Container {name} is not running"
            )));
        }
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    if is_workerds(name) && signal == SIGTERM {
        api.engine.ask_to_end(name, signal).await?;
    } else {
        api.engine.kill(name, signal).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// 204 when name and resources are free; 404; 409 if it runs and `force` is not set.
pub(crate) async fn remove(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    if let Some(sidecar) = api.sidecars.get(name) {
        api.sidecars.remove(&sidecar);
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    if let Some(helper) = api.helpers.get(name) {
        api.helpers.remove(&helper);
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    // A container whose creation is under way can be removed and has no description yet.
    let id = api.engine.inspect(name).map(|info| info.id);
    api.engine.remove(name, query.flag("force")).await?;
    if let Some(id) = id {
        api.execs.forget(&id);
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

const SIGKILL: i32 = 9;

/// With which the class asks a container to end (`stop`, `sleepAfter`). Nobody else insists: workerd
/// 1.20261117.1 sends the signal and forgets it.
const SIGTERM: i32 = 15;
