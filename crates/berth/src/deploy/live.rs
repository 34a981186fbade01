//! What the server has of a Worker now.

use std::time::Instant;

use berth_client::{Client, ClientError, segment};
use berth_config::Project;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::steps::Steps;
use super::upload::{FINGERPRINT, Upload};

/// A Worker as it is deployed. Empty for one that is not there.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Id of the live version; empty: none.
    pub(super) version: String,
    /// The live version as the API shows it.
    shown: Value,
    /// Whether there is such a Worker.
    pub(super) exists: bool,
    pub(super) migration_tag: Option<String>,
    /// Cron expressions.
    pub(super) crons: Vec<String>,
    /// `script-settings`.
    pub(super) settings: Value,
    /// `subdomain` of the Worker.
    pub(super) subdomain: Value,
    pub(super) routes: Value,
}

impl Live {
    /// Asks for everything that a deployment compares with.
    pub(super) async fn ask(
        client: &Client,
        project: &Project,
        steps: &Steps,
    ) -> Result<Self, Report> {
        let begun = Instant::now();
        let name = segment(&project.name);
        let script = |rest: &str| format!("workers/scripts/{name}/{rest}");
        let service = format!("workers/services/{name}");
        let worker = format!("workers/workers/{name}");
        let (service, deployments, settings, schedules, worker, routes) = tokio::try_join!(
            optional(client, service),
            optional(client, script("deployments")),
            optional(client, script("script-settings")),
            optional(client, script("schedules")),
            optional(client, worker),
            optional(client, script("routes")),
        )?;
        let version = &deployments["deployments"][0]["versions"][0]["version_id"];
        let version = version.as_str().unwrap_or_default().to_owned();
        let shown = match version.as_str() {
            "" => Value::Null,
            id => optional(client, script(&format!("versions/{}", segment(id)))).await?,
        };
        let crons = schedules["schedules"].as_array().into_iter().flatten();
        let crons = crons.filter_map(|schedule| schedule["cron"].as_str());
        let tag = &service["default_environment"]["script"]["migration_tag"];
        let live = Self {
            exists: !service.is_null(),
            migration_tag: tag.as_str().map(str::to_owned),
            crons: crons.map(str::to_owned).collect(),
            settings,
            subdomain: worker["subdomain"].clone(),
            routes,
            version,
            shown,
        };
        let detail = match live.exists {
            true => "the Worker is there",
            false => "a new Worker",
        };
        steps.done("compare", detail, begun.elapsed());
        Ok(live)
    }

    /// Whether the live version is what would be uploaded.
    pub(super) fn has(&self, upload: &Upload) -> bool {
        let fingerprint = &self.shown["annotations"][FINGERPRINT];
        fingerprint.as_str() == Some(&upload.fingerprint)
    }

    /// `containers` of the live version's metadata.
    pub(super) fn containers(&self) -> Vec<Value> {
        let containers = &self.shown["resources"]["script_runtime"]["containers"];
        containers.as_array().cloned().unwrap_or_default()
    }
}

/// Makes a version that waits for its containers live, and those with it.
pub(super) async fn go(
    client: &Client,
    name: &str,
    version: &str,
    steps: &Steps,
) -> Result<(), Report> {
    let path = format!("workers/scripts/{}/deployments", segment(name));
    let body = json!({
        "strategy": "percentage",
        "versions": [{"version_id": version, "percentage": 100}],
    });
    let work = async {
        let _: Value = client.call(Method::POST, path).json(&body).send().await?;
        Ok((
            (),
            "the Worker and its containers changed together".to_owned(),
        ))
    };
    steps.run("live", work).await
}

/// What may not be there is `null`.
pub(super) async fn optional(
    client: &Client,
    path: impl Into<String>,
) -> Result<Value, ClientError> {
    match client.call(Method::GET, path).send().await {
        Err(error) if error.is_missing() => Ok(Value::Null),
        other => other,
    }
}

/// Where the Worker answers.
pub(super) async fn url(client: &Client, name: &str) -> Result<Value, Report> {
    let worker = optional(client, format!("workers/workers/{}", segment(name))).await?;
    let subdomain = &worker["subdomain"];
    Ok(match subdomain["enabled"].as_bool() {
        Some(true) => subdomain["url"].clone(),
        _ => Value::Null,
    })
}
