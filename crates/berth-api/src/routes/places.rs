//! Where Workers answer besides their own hosts: routes, custom domains, and the zones that wrangler looks for.
//!
//! There are no zones here: every name is one, as soon as somebody asks for it. Its id is made from the name,
//! and the other way round the name is found by trying those that routes have.

use axum::extract::{Path, Query, State};
use berth_config::RoutePattern;
use berth_control::worker::{Domain, Worker};
use berth_control::{DomainChanges, NewDomain};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::upload::settle;
use super::workers::{Named, all, find};
use crate::Api;
use crate::envelope::{Answer, list, result};
use crate::failure::Failure;
use crate::guard::blocking;

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewRoute {
    pattern: String,
}

/// `PUT routes` of a Worker: these, and no others.
pub(super) async fn set_routes(
    State(api): State<Api>,
    Path((_, name)): Named,
    body: Bytes,
) -> Answer {
    let routes: Vec<NewRoute> = parse(&body)?;
    let patterns: Vec<String> = routes.into_iter().map(|route| route.pattern).collect();
    let (control, target) = (api.control.clone(), name.clone());
    let routes = blocking(move || control.set_routes(&target, &patterns)).await?;
    settle(&api, &name).await?;
    let routes = routes
        .iter()
        .map(|route| described(&name, &route.id, &route.pattern));
    result(routes.collect::<Vec<_>>())
}

/// `GET routes` of a Worker.
pub(super) async fn routes(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let routes = worker.routes.iter();
    list(
        routes
            .map(|route| described(&name, &route.id, &route.pattern))
            .collect(),
    )
}

fn described(worker: &str, id: &str, pattern: &str) -> Value {
    json!({"id": id, "pattern": pattern, "script": worker})
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Origin {
    hostname: String,
    enabled: Option<bool>,
}

impl Origin {
    fn wanted(origins: Vec<Self>) -> Vec<NewDomain> {
        let new = |origin: Self| NewDomain {
            hostname: origin.hostname,
            enabled: origin.enabled.unwrap_or(true),
        };
        origins.into_iter().map(new).collect()
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Whole {
    replace_state: Option<bool>,
}

/// `POST domains/changeset` of a Worker: what its domains would change.
pub(super) async fn changeset(
    State(api): State<Api>,
    Path((_, name)): Named,
    Query(query): Query<Whole>,
    body: Bytes,
) -> Answer {
    let wanted = Origin::wanted(parse(&body)?);
    let (control, target) = (api.control.clone(), name.clone());
    let whole = query.replace_state.unwrap_or_default();
    let changes = blocking(move || control.domain_changes(&target, &wanted, whole)).await?;
    let DomainChanges {
        added,
        removed,
        updated,
    } = changes;
    let of = |domains: Vec<Domain>| -> Vec<Value> {
        domains.iter().map(|domain| record(&name, domain)).collect()
    };
    let updated = updated.iter().map(|(domain, owner, modified)| {
        let mut shown = record(owner, domain);
        shown["modified"] = (*modified).into();
        shown
    });
    result(json!({
        "added": of(added),
        "removed": of(removed),
        "updated": updated.collect::<Vec<_>>(),
        "conflicting": [],
    }))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Records {
    override_existing_origin: Option<bool>,
    origins: Vec<Origin>,
}

/// `PUT domains/records` of a Worker: these are its domains, and no others.
pub(super) async fn set_records(
    State(api): State<Api>,
    Path((_, name)): Named,
    body: Bytes,
) -> Answer {
    let records: Records = parse(&body)?;
    let take = records.override_existing_origin.unwrap_or_default();
    let wanted = Origin::wanted(records.origins);
    let (control, target) = (api.control.clone(), name.clone());
    let domains = blocking(move || control.set_domains(&target, &wanted, take)).await?;
    settle(&api, &name).await?;
    let domains = domains.iter().map(|domain| record(&name, domain));
    result(domains.collect::<Vec<_>>())
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Of {
    service: Option<String>,
}

/// `GET domains/records`: of all Workers, or of one.
pub(super) async fn records(State(api): State<Api>, Query(query): Query<Of>) -> Answer {
    let workers = all(&api).await?;
    let wanted = |worker: &&Worker| {
        query
            .service
            .as_ref()
            .is_none_or(|name| *name == worker.name)
    };
    let records = workers.iter().filter(wanted).flat_map(|worker| {
        let domains = worker.domains.iter();
        domains.map(|domain| record(&worker.name, domain))
    });
    list(records.collect())
}

/// `GET domains/records/{id}`.
pub(super) async fn one_record(
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    for worker in all(&api).await? {
        if let Some(domain) = worker.domains.iter().find(|domain| domain.id == id) {
            return result(record(&worker.name, domain));
        }
    }
    Err(Failure::new(
        http::StatusCode::NOT_FOUND,
        100_114,
        format!("there is no domain with the id `{id}`"),
    ))
}

fn record(worker: &str, domain: &Domain) -> Value {
    json!({
        "id": domain.id,
        "hostname": domain.hostname,
        "service": worker,
        "environment": "production",
        "enabled": domain.enabled,
        "previews_enabled": false,
        "zone_id": zone_id(&domain.hostname),
        "zone_name": domain.hostname,
    })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ZoneName {
    name: Option<String>,
}

/// `GET /zones?name=`: every host name is one.
pub(super) async fn zones(State(api): State<Api>, Query(query): Query<ZoneName>) -> Answer {
    let name = query.name.unwrap_or_default().to_ascii_lowercase();
    if !berth_config::is_host_name(&name) {
        return list(Vec::new());
    }
    let account = api.control.account();
    list(vec![json!({
        "id": zone_id(&name),
        "name": name,
        "status": "active",
        "paused": false,
        "type": "full",
        "account": {"id": account.id, "name": account.name},
    })])
}

/// `GET /zones/{zone}/workers/routes`.
pub(super) async fn zone_routes(State(api): State<Api>, Path(zone): Path<String>) -> Answer {
    let mut found = Vec::new();
    for worker in all(&api).await? {
        let routes = worker.routes.iter();
        let inside = routes.filter(|route| is_in(&route.pattern, &zone));
        found.extend(inside.map(|route| described(&worker.name, &route.id, &route.pattern)));
    }
    list(found)
}

/// Whether a pattern is for a zone: its host is the zone's name or below it.
fn is_in(pattern: &str, zone: &str) -> bool {
    let Ok(pattern) = pattern.parse::<RoutePattern>() else {
        return false;
    };
    let mut rest = Some(pattern.host());
    while let Some(name) = rest {
        if zone_id(name) == zone {
            return true;
        }
        rest = name.split_once('.').map(|(_, above)| above);
    }
    false
}

/// 32 hexadecimal digits, always the same for a name.
fn zone_id(name: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, name.as_bytes());
    id.simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_in_the_zones_above_its_host() {
        for (pattern, zone, expected) in [
            ("app.example.com/*", "app.example.com", true),
            ("app.example.com/*", "example.com", true),
            ("*.example.com/*", "example.com", true),
            ("*example.com/*", "example.com", true),
            ("example.com/*", "app.example.com", false),
            ("example.org/*", "example.com", false),
        ] {
            assert_eq!(is_in(pattern, &zone_id(zone)), expected, "{pattern} {zone}");
        }
    }
}
