//! The machine as the API shows it: health, containers, commands in them, backups.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_api::{
    Backup, BackupRequest, Exec, ExecControl, ExecOutput, ExecRequest, Host as ApiHost, SshKeys,
    SshStream, UsageRequest,
};
use berth_docker::client::{Client, ContainerSummary, ExecControl as Control, ExecOptions};
use berth_docker::frame::StreamKind;
use berth_error::chain;
use berth_gateway::Certificates;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::apps::Apps;
use super::du;
use super::meters::Meters;
use super::ssh::Ssh;
use super::usage;
use crate::backup;
use crate::{listing, recent};

/// A disk with less room than this share is a problem.
const LEAST_FREE: f64 = 0.05;
/// A certificate that ends before so long should have been renewed.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// The machine of a server.
pub(super) struct Machine {
    pub(super) apps: Arc<Apps>,
    pub(super) data: PathBuf,
    /// The engine's Docker API.
    pub(super) docker: Client,
    pub(super) started: (Instant, String),
    pub(super) ssh: Ssh,
    pub(super) meters: Arc<Meters>,
    pub(super) certificates: Arc<Certificates>,
}

#[async_trait::async_trait]
impl ApiHost for Machine {
    fn about(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_on": self.started.1,
            "uptime_s": self.started.0.elapsed().as_secs(),
            "base_domain": self.apps.config.base_domain,
            "registry": self.apps.containers.registry.host,
            "location": self.apps.config.location,
        })
    }

    async fn status(&self) -> Result<Value, String> {
        let containers = self.list(true).await?;
        let apps = Arc::clone(&self.apps);
        let data = self.data.clone();
        let records = tokio::task::spawn_blocking(move || gather(&apps, &data)).await;
        let (workers, rollouts, disk) = records.map_err(|error| error.to_string())??;
        let mut status = self.about();
        status["workers"] = workers.into();
        status["rollouts"] = rollouts.into();
        status["disk"] = disk;
        status["containers"] = summary(&containers);
        status["certificates"] = self.certificates().into();
        status["errors"] = json!(recent::errors());
        let problems = problems(&status);
        status["healthy"] = problems.is_empty().into();
        status["problems"] = problems.into();
        Ok(status)
    }

    async fn containers(&self) -> Result<Vec<Value>, String> {
        Ok(self.list(true).await?.iter().map(listing::row).collect())
    }

    async fn usage(&self, wanted: UsageRequest) -> Result<Value, String> {
        usage::report(&self.meters, &self.apps.config.prices, &wanted).await
    }

    async fn exec(&self, container: &str, wanted: ExecRequest) -> Result<Exec, String> {
        let options = ExecOptions {
            command: wanted.command,
            env: wanted.env,
            working_dir: wanted.working_dir,
            user: wanted.user,
            stdin: true,
            terminal: wanted.terminal,
        };
        let started = self.docker.exec(container, &options).await;
        let session = started.map_err(|error| chain(&error))?;
        let (input, output, control) = session.into_parts();
        let output = output.map(|frame| {
            frame.map(|frame| match frame.stream {
                StreamKind::Stdout => ExecOutput::Stdout(frame.payload),
                StreamKind::Stderr => ExecOutput::Stderr(frame.payload),
            })
        });
        Ok(Exec {
            input: Box::new(input),
            output: output.boxed(),
            control: Arc::new(Beside(control)),
        })
    }

    async fn check_ssh(&self, keys: &SshKeys) -> Result<(), String> {
        self.ssh.check(keys).await
    }

    async fn ssh(&self, container: &str, keys: &SshKeys, stream: SshStream) -> Result<(), String> {
        self.ssh.serve(container, keys, stream).await
    }

    async fn backup(&self, wanted: BackupRequest) -> Result<Backup, String> {
        let options = backup::Options {
            data: self.data.clone(),
            keys: wanted.keys,
            images: wanted.images,
        };
        let stills = Arc::clone(&self.apps);
        backup::stream(options, move |id: String| {
            let apps = Arc::clone(&stills);
            async move { apps.pause(&id).await }
        })
        .await
        .map_err(|report| report.chain().join(": "))
    }
}

impl Machine {
    /// The one that ends first comes first.
    fn certificates(&self) -> Vec<Value> {
        let mut listed = self.certificates.list();
        listed.sort_by_key(|certificate| certificate.expires);
        let shown = listed.into_iter().map(|certificate| {
            let expires = u64::try_from(certificate.expires).unwrap_or_default();
            json!({
                "name": certificate.name,
                "expires_on": berth_control::clock::of_unix_ms(expires.saturating_mul(1000)),
                "obtained": certificate.obtained,
            })
        });
        shown.collect()
    }

    async fn list(&self, all: bool) -> Result<Vec<ContainerSummary>, String> {
        self.docker.list(all).await.map_err(|error| chain(&error))
    }
}

/// Resizing and exit code of a command.
struct Beside(Control);

#[async_trait::async_trait]
impl ExecControl for Beside {
    async fn resize(&self, rows: u16, columns: u16) {
        if let Err(error) = self.0.resize(rows, columns).await {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }

    async fn exit_code(&self) -> Option<i32> {
        self.0.exit_code().await.ok().flatten()
    }
}

type Gathered = (Vec<Value>, Vec<Value>, Value);

/// What waits for the disk.
fn gather(apps: &Apps, data: &std::path::Path) -> Result<Gathered, String> {
    let workers = apps.control.workers().map_err(|error| chain(&error))?;
    let workers = workers.iter().map(|worker| {
        let live = worker.live();
        let state = apps.health(&worker.id).unwrap_or_default();
        json!({
            "name": worker.name,
            "version_id": live.map(|version| version.id.clone()),
            "version_number": live.map(|version| version.number),
            "deployed_on": worker.deployments.first().map(|it| it.created.clone()),
            "state": if live.is_none() { "nothing deployed" } else { state.word() },
            "pending_version_id": worker.pending.as_ref().map(|one| one.version_id.clone()),
            "problem": state.problem,
            "restarts": state.restarts,
            "last_end": state.last_end.map(|(how, when)| json!({"how": how, "at": when})),
            "memory_bytes": state.pid.and_then(du::memory),
        })
    });
    let workers = workers.collect();
    let applications = apps.control.applications();
    let applications = applications.map_err(|error| chain(&error))?;
    let mut rollouts = Vec::new();
    for application in &applications {
        for rollout in &application.rollouts {
            let status = serde_json::to_value(rollout.status).unwrap_or_default();
            if !matches!(status.as_str(), Some("pending" | "progressing")) {
                continue;
            }
            rollouts.push(json!({
                "application": application.name,
                "id": rollout.id,
                "status": status,
                "current_step": rollout.begun,
                "total_steps": rollout.steps.len(),
            }));
        }
    }
    let mut disk = json!({
        "path": data,
        "server_bytes": du::size(&data.join("server")),
        "registry_bytes": du::size(&data.join("registry")),
    });
    if let Some((all, free)) = du::disk(data) {
        disk["total_bytes"] = all.into();
        disk["free_bytes"] = free.into();
    }
    Ok((workers, rollouts, disk))
}

fn summary(containers: &[ContainerSummary]) -> Value {
    let running = containers.iter().filter(|one| one.state == "running");
    let asleep = running.clone().filter(|one| one.asleep.is_some()).count();
    let used = containers.iter().filter_map(|one| one.metered.as_ref());
    let memory: u64 = used.clone().map(|used| used.memory_bytes).sum();
    let cpu: u64 = used.map(|used| used.cpu_ns).sum();
    let running = running.count();
    json!({
        "running": running - asleep,
        "asleep": asleep,
        "ended": containers.len() - running,
        "memory_bytes": memory,
        "cpu_ns": cpu,
    })
}

/// What is wrong, in words.
fn problems(status: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for worker in status["workers"].as_array().into_iter().flatten() {
        let word = |name: &str| worker[name].as_str().unwrap_or_default();
        let (name, state) = (word("name"), word("state"));
        match state {
            "failed" => problems.push(format!("`{name}` does not run: {}", word("problem"))),
            "crashed" => problems.push(format!("`{name}` has ended and is started again")),
            _ => {}
        }
    }
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        let word = |name: &str| certificate[name].as_str().unwrap_or_default();
        let (name, expires) = (word("name"), word("expires_on"));
        if berth_control::clock::is_past(expires) {
            problems.push(format!("the certificate of `{name}` has ended: {expires}"));
        } else if berth_control::clock::is_within(expires, SOON) {
            problems.push(format!("the certificate of `{name}` ends soon: {expires}"));
        }
    }
    let number = |name: &str| status["disk"][name].as_f64();
    if let (Some(all), Some(free)) = (number("total_bytes"), number("free_bytes"))
        && free < all * LEAST_FREE
    {
        problems.push(format!(
            "the disk of the data directory is almost full: {:.1} GB are free",
            free / 1e9
        ));
    }
    problems
}
