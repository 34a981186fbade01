//! `berth versions`.

use std::process::ExitCode;

use berth_client::{Client, ClientError, segment};
use berth_error::{Report, harmless};
use http::Method;
use serde_json::{Value, json};

use crate::cli::{VersionsCommand, WorkerArgs};
use crate::deploy::{self, source};
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, remote};

/// Versions that are listed for people.
const SHOWN: usize = 10;

pub(crate) async fn run(command: VersionsCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        VersionsCommand::Upload(args) => deploy::upload_version(&args, paths).await,
        VersionsCommand::List { worker, json } => list(&worker, json, paths).await,
        VersionsCommand::View {
            version,
            worker,
            json,
        } => view(&worker, &version, json, paths).await,
        VersionsCommand::Deploy {
            version,
            message,
            worker,
            yes: _,
            json,
        } => {
            let of = Of::find(&worker, paths)?;
            let version = of.id(share(&version)?).await?;
            let deployment = of.make_live(&version, message.as_deref(), false).await?;
            of.say_live(&deployment, &version, json)
        }
    }
}

/// A Worker on a server.
pub(crate) struct Of {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Of {
    /// The Worker that a command is about.
    pub(crate) fn find(args: &WorkerArgs, paths: &Paths) -> Result<Self, Report> {
        Ok(Self {
            name: source::name(args)?,
            client: remote::connect(&args.server, paths)?,
        })
    }

    /// Below the Worker.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("workers/scripts/{}/{rest}", segment(&self.name))
    }

    /// All versions, newest first.
    pub(crate) async fn versions(&self) -> Result<Vec<Value>, ClientError> {
        let found: Value = self.client.get(self.path("versions")).await?;
        Ok(found["items"].as_array().cloned().unwrap_or_default())
    }

    /// All deployments, newest first.
    pub(crate) async fn deployments(&self) -> Result<Vec<Value>, ClientError> {
        let found: Value = self.client.get(self.path("deployments")).await?;
        let found = &found["deployments"];
        Ok(found.as_array().cloned().unwrap_or_default())
    }

    /// The version that waits for its containers, or `null`.
    pub(crate) async fn pending(&self) -> Result<Value, ClientError> {
        let found: Value = self.client.get(self.path("deployments")).await?;
        Ok(found["pending"].clone())
    }

    /// The version whose id begins like this.
    pub(crate) async fn id(&self, wanted: &str) -> Result<String, Report> {
        let versions = self.versions().await?;
        let ids = versions.iter().filter_map(|version| version["id"].as_str());
        let found: Vec<&str> = ids.filter(|id| id.starts_with(wanted)).collect();
        let hint = || Some("`berth versions list` shows what there is".to_owned());
        let name = &self.name;
        match found.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(Report::new(
                format!("the Worker `{name}` has no version `{wanted}`"),
                hint(),
            )),
            several => Err(Report::new(
                format!("`{wanted}` means {} versions of `{name}`", several.len()),
                hint(),
            )),
        }
    }

    /// Makes a version live; the deployment.
    pub(crate) async fn make_live(
        &self,
        version: &str,
        message: Option<&str>,
        force: bool,
    ) -> Result<Value, ClientError> {
        let mut body = json!({
            "strategy": "percentage",
            "versions": [{"version_id": version, "percentage": 100}],
        });
        if let Some(message) = message {
            body["annotations"] = json!({"workers/message": message});
        }
        let mut call = self.client.call(Method::POST, self.path("deployments"));
        if force {
            call = call.query("force", true);
        }
        call.json(&body).send().await
    }

    /// Says what is live now.
    pub(crate) fn say_live(
        &self,
        deployment: &Value,
        version: &str,
        json: bool,
    ) -> Result<ExitCode, Report> {
        if json {
            return printer::json(deployment);
        }
        printer::line(format!("{version} of `{}` is live", self.name));
        Ok(ExitCode::SUCCESS)
    }
}

/// `<id>` of `<id>@100%`.
fn share(text: &str) -> Result<&str, Report> {
    match text.split_once('@') {
        None => Ok(text),
        Some((id, "100" | "100%")) => Ok(id),
        Some((_, share)) => Err(Report::new(
            format!("a version cannot have {share} of the traffic"),
            Some("one version has all of it: `@100%`".to_owned()),
        )),
    }
}

async fn list(worker: &WorkerArgs, json: bool, paths: &Paths) -> Result<ExitCode, Report> {
    let of = Of::find(worker, paths)?;
    let versions = of.versions().await?;
    if json {
        return printer::json(&versions.into());
    }
    let deployments = of.deployments().await?;
    let live = deployments
        .first()
        .map(|live| live["versions"][0]["version_id"].clone());
    let mut table = Table::new(["VERSION", "CREATED", "AUTHOR", "TAG", "MESSAGE"]);
    for version in versions.iter().take(SHOWN) {
        let mut id = word(&version["id"]);
        if live.as_ref() == Some(&version["id"]) {
            id.push_str(" (live)");
        }
        table.row([
            id,
            word(&version["metadata"]["created_on"]),
            word(&version["metadata"]["author_email"]),
            word(&version["annotations"]["workers/tag"]),
            word(&version["annotations"]["workers/message"]),
        ]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

async fn view(
    worker: &WorkerArgs,
    version: &str,
    json: bool,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let of = Of::find(worker, paths)?;
    let id = of.id(version).await?;
    let path = of.path(&format!("versions/{}", segment(&id)));
    let version: Value = of.client.get(path).await?;
    if json {
        return printer::json(&version);
    }
    let runtime = &version["resources"]["script_runtime"];
    for (name, value) in [
        ("Version", &version["id"]),
        ("Number", &version["number"]),
        ("Created", &version["metadata"]["created_on"]),
        ("Author", &version["metadata"]["author_email"]),
        ("Tag", &version["annotations"]["workers/tag"]),
        ("Message", &version["annotations"]["workers/message"]),
        ("Compatibility date", &runtime["compatibility_date"]),
    ] {
        let value = word(value);
        if !value.is_empty() {
            printer::line(format!("{name:20}{value}"));
        }
    }
    let bindings = version["resources"]["bindings"].as_array();
    for binding in bindings.into_iter().flatten() {
        let (name, kind) = (word(&binding["name"]), word(&binding["type"]));
        printer::line(format!("env.{name:16}{kind}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Text as it may be shown; a number as text; nothing else.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text).replace('\n', " "),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}
