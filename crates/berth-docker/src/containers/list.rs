//! `GET /containers/json` and `GET /containers/{id}/json`.

use std::sync::Arc;

use berth_engine::Status;
use serde_json::Value;

use super::json;
use crate::api::Api;
use crate::error::ApiError;
use crate::filters::{Candidate, Filters};
use crate::query::Query;
use crate::respond::{Reply, ok};
use crate::sidecar::SidecarStatus;

/// The containers that a client asks for, newest first; without `all` only those that run.
pub(crate) fn list(api: &Arc<Api>, query: &Query) -> Reply {
    let filters = Filters::parse(query.get("filters"))?;
    let all = query.flag("all") || filters.has_status();
    let mut found: Vec<(u64, Value)> = Vec::new();
    for info in api.engine.list() {
        let candidate = Candidate {
            id: &info.id,
            name: &info.name,
            image: &info.image,
            image_id: &info.image_id,
            status: json::status_word(info.status),
            labels: &info.labels,
        };
        if (all || info.status == Status::Running) && filters.matches(&candidate) {
            found.push((
                info.created_ms,
                json::summary(&info, api.engine.metered(&info.id).as_ref()),
            ));
        }
    }
    for sidecar in api.sidecars.list() {
        let status = sidecar.status();
        let candidate = Candidate {
            id: &sidecar.id,
            name: &sidecar.name,
            image: &sidecar.image,
            image_id: "",
            status: status.word(),
            labels: &sidecar.labels,
        };
        let runs = matches!(status, SidecarStatus::Running { .. });
        if (all || runs) && filters.matches(&candidate) {
            found.push((sidecar.created_ms, json::summary_of_sidecar(&sidecar)));
        }
    }
    found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    let limit = query.number::<usize>("limit")?.unwrap_or(usize::MAX);
    let list: Vec<Value> = found
        .into_iter()
        .take(limit)
        .map(|(_, json)| json)
        .collect();
    Ok(ok(&list.into()))
}

/// 404 means "not there" to workerd; any other failure breaks the Durable Object.
pub(crate) fn inspect(api: &Arc<Api>, name: &str) -> Reply {
    if let Some(helper) = api.helpers.get(name) {
        return Ok(ok(&helper.json()));
    }
    if let Some(sidecar) = api.sidecars.get(name) {
        return Ok(ok(&json::inspect_sidecar(&sidecar)));
    }
    let info = api
        .engine
        .inspect(name)
        .ok_or_else(|| ApiError::no_such_container(name))?;
    Ok(ok(&json::inspect(&info)))
}
