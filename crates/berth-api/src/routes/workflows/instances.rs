//! Which instances a Workflow has. workerd finds one by its id only; which there are is known by the files of
//! their objects, and what each is by asking it.

use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{call, find, find_worker};
use crate::envelope::Answer;
use crate::failure::Failure;
use crate::routes::workers::Named;
use crate::{Api, Stored};

/// Instances that are looked at: those that changed last.
const LOOKED_AT: usize = 1000;
/// Objects that are asked at once.
const AT_ONCE: usize = 100;
/// Instances of a page.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 100;

#[derive(Deserialize, JsonSchema)]
pub(in crate::routes) struct Filter {
    /// Only in this state.
    status: Option<String>,
    /// Only those made at or after this time, RFC 3339.
    date_start: Option<String>,
    /// Only those made at or before this time.
    date_end: Option<String>,
    page: Option<usize>,
    per_page: Option<usize>,
    /// What the page before this one has said.
    cursor: Option<String>,
}

impl Filter {
    fn fits(&self, instance: &Value) -> bool {
        let text = |name: &str| instance[name].as_str().unwrap_or_default();
        let made = text("created_on");
        // Times of the same form are in the order of their texts.
        self.status
            .as_deref()
            .is_none_or(|status| text("status") == status)
            && self.date_start.as_deref().is_none_or(|start| made >= start)
            && self.date_end.as_deref().is_none_or(|end| made <= end)
    }

    /// Instances before the page, and on it.
    fn page(&self) -> Result<(usize, usize), Failure> {
        let per_page = self.per_page.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
        let before = match self.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
            Some(cursor) => cursor
                .parse()
                .map_err(|_| Failure::bad_request("`cursor` is none that was given"))?,
            None => (self.page.unwrap_or(1).max(1) - 1).saturating_mul(per_page),
        };
        Ok((before, per_page))
    }
}

/// `GET workflows/{name}/instances`: the newest first.
pub(in crate::routes) async fn list(
    State(api): State<Api>,
    Path((_, name)): Named,
    Query(filter): Query<Filter>,
) -> Answer {
    let (before, per_page) = filter.page()?;
    let workflow = find(&api, &name).await?;
    let worker = find_worker(&api, &workflow.script_name).await?;
    let live = worker.live().map(|live| live.id.clone());
    let (runtime, flow) = (api.runtime.clone(), workflow.name.clone());
    let read = move || runtime.workflow_objects(&worker, &flow);
    let read = tokio::task::spawn_blocking(read).await;
    let mut objects = read.map_err(Failure::internal)?.map_err(unreadable)?;
    objects.truncate(LOOKED_AT);
    let mut all = Vec::new();
    for some in objects.chunks(AT_ONCE) {
        let ids: Vec<&str> = some.iter().map(|object| object.id.as_str()).collect();
        let found = call(&api, &workflow, "list", &json!({"ids": ids})).await?;
        let found = found.as_array().cloned().unwrap_or_default();
        let instances = found.into_iter().zip(some);
        // The others have been deleted.
        let instances = instances.filter(|(instance, _)| instance.is_object());
        all.extend(instances.map(|(mut instance, object)| {
            instance["modified_on"] = modified(object).into();
            instance["version_id"] = json!(live);
            instance["workflow_id"] = workflow.id.clone().into();
            instance
        }));
    }
    all.retain(|instance| filter.fits(instance));
    all.sort_by_key(|instance| {
        let made = instance["created_on"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        std::cmp::Reverse(made)
    });
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(before).take(per_page).collect();
    let next = before + page.len();
    let mut info = json!({"count": page.len(), "per_page": per_page, "total_count": total});
    if next < total {
        info["cursor"] = next.to_string().into();
    }
    let body = json!({
        "success": true, "errors": [], "messages": [], "result": page, "result_info": info,
    });
    Ok(axum::Json(body).into_response())
}

fn modified(object: &Stored) -> String {
    berth_control::clock::of_unix_ms(object.modified_ms)
}

fn unreadable(reason: String) -> Failure {
    Failure::new(http::StatusCode::INTERNAL_SERVER_ERROR, 10_013, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Filter {
        Query::try_from_uri(&format!("http://x/?{query}").parse().unwrap())
            .unwrap()
            .0
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        assert_eq!(filter("").page().unwrap(), (0, PAGE));
        assert_eq!(filter("page=3&per_page=10").page().unwrap(), (20, 10));
        assert_eq!(
            filter("cursor=7&per_page=1000").page().unwrap(),
            (7, LARGEST_PAGE)
        );
        assert!(filter("cursor=x").page().is_err());
    }

    #[test]
    fn instances_are_chosen_by_state_and_time() {
        let made = json!({"status": "paused", "created_on": "2026-02-03T04:05:06.007Z"});
        for fits in [
            "",
            "status=paused",
            "date_start=2026-02-03T00:00:00.000Z&date_end=2026-02-04",
        ] {
            assert!(filter(fits).fits(&made), "{fits}");
        }
        for other in [
            "status=queued",
            "date_start=2026-02-04",
            "date_end=2026-02-02T23:59:59.999Z",
        ] {
            assert!(!filter(other).fits(&made), "{other}");
        }
    }
}
