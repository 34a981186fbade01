//! Start, stop, kill and delete.

use std::sync::Arc;
use std::time::Duration;

use berth_engine::Status;
use http::StatusCode;

use crate::api::Api;
use crate::error::ApiError;
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
    api.engine.start(name).await?;
    Ok(empty(StatusCode::NO_CONTENT))
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
        .map_or(Some(SIGKILL), parse_signal)
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
    api.engine.kill(name, signal).await?;
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

/// `SIGTERM`, `TERM`, `15`.
pub(crate) fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let position = SIGNALS
        .iter()
        .position(|names| names.split('|').any(|known| known == name))?;
    i32::try_from(position + 1).ok()
}

/// Names of the signals from 1 on, as on every Linux architecture that Berth runs on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT|IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD|CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO|POLL", "PWR", "SYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("KILL", 9),
            ("SIGHUP", 1),
            ("SIGSYS", 31),
            ("SIGIOT", 6),
            ("64", 64),
        ] {
            assert_eq!(parse_signal(text), Some(number), "{text}");
        }
        for text in ["", "SIGNOPE", "0", "65", "-1"] {
            assert_eq!(parse_signal(text), None, "{text}");
        }
    }
}
