//! `berth secrets-store secret`.

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::path;
use crate::cli::{DataArgs, SecretAbout, SecretOf, StoreSecretCommand};
use crate::paths::Paths;
use crate::{answer, remote, secret};

/// Who may use a secret of which nothing is said.
const SCOPE: &str = "workers";

pub(super) async fn run(command: StoreSecretCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        StoreSecretCommand::Create {
            store_id,
            name,
            value,
            about,
            data,
        } => {
            let value = read(value.as_deref().unwrap_or("-"), &name)?;
            let client = remote::connect(&data.server, paths)?;
            let new = json!([{
                "name": name, "value": value, "scopes": scopes(&about),
                "comment": about.comment,
            }]);
            let call = client.call(Method::POST, path(&store_id, "/secrets"));
            let mut made: Vec<Value> = call.json(&new).send().await?;
            let made = made.pop().unwrap_or_default();
            answer::done(&data, &made, || {
                format!("made `{name}` ({})", answer::text(&made["id"]))
            })
        }
        StoreSecretCommand::List { store_id, data } => {
            let client = remote::connect(&data.server, paths)?;
            let all = answer::pages(&client, &path(&store_id, "/secrets")).await?;
            answer::list(&data, all, ["ID", "NAME", "SCOPES", "COMMENT"], |one| {
                let field = |name: &str| answer::text(&one[name]);
                [field("id"), field("name"), words(one), field("comment")]
            })
        }
        StoreSecretCommand::Get { of, data } => {
            let client = remote::connect(&data.server, paths)?;
            let found: Value = client.get(of.path("")).await?;
            let field = |name: &str| answer::text(&found[name]);
            let fields = [
                ("Id", field("id")),
                ("Name", field("name")),
                ("Scopes", words(&found)),
                ("Comment", field("comment")),
                ("Created", field("created")),
                ("Modified", field("modified")),
            ];
            answer::fields(&data, &found, fields)
        }
        StoreSecretCommand::Update {
            of,
            value,
            about,
            data,
        } => update(&of, value.as_deref(), &about, &data, paths).await,
        StoreSecretCommand::Duplicate {
            of,
            name,
            about,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let new = json!({
                "name": name, "scopes": scopes(&about), "comment": about.comment,
            });
            let call = client.call(Method::POST, of.path("/duplicate"));
            let made: Value = call.json(&new).send().await?;
            answer::done(&data, &made, || {
                format!("made `{name}` ({})", answer::text(&made["id"]))
            })
        }
        StoreSecretCommand::Delete { of, sure, data } => {
            let client = remote::connect(&data.server, paths)?;
            let doomed = answer::Doomed {
                path: of.path(""),
                what: format!("the secret {}", of.secret_id),
                named: ("id", &of.secret_id),
            };
            answer::delete(&client, doomed, &sure, &data).await
        }
    }
}

impl SecretOf {
    fn path(&self, rest: &str) -> String {
        let below = format!("/secrets/{}{rest}", segment(&self.secret_id));
        path(&self.store_id, &below)
    }
}

async fn update(
    of: &SecretOf,
    value: Option<&str>,
    about: &SecretAbout,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let mut changes = json!({});
    if let Some(value) = value {
        changes["value"] = read(value, &of.secret_id)?.into();
    }
    if !about.scopes.is_empty() {
        changes["scopes"] = json!(about.scopes);
    }
    if let Some(comment) = &about.comment {
        changes["comment"] = json!(comment);
    }
    if changes.as_object().is_none_or(serde_json::Map::is_empty) {
        let hint = "say `--value`, `--scopes` or `--comment`";
        return Err(Report::new(
            "nothing is to be changed",
            Some(hint.to_owned()),
        ));
    }
    let client = remote::connect(&data.server, paths)?;
    let call = client.call(Method::PATCH, of.path("")).json(&changes);
    let changed: Value = call.send().await?;
    answer::done(data, &changed, || {
        format!("changed `{}`", answer::text(&changed["name"]))
    })
}

/// A value as it is given; `-` is typed, or passed on standard input.
fn read(value: &str, name: &str) -> Result<String, Report> {
    match value {
        "-" => secret::read(&format!("the value of `{name}`")),
        value => Ok(value.to_owned()),
    }
}

fn scopes(about: &SecretAbout) -> Vec<String> {
    if about.scopes.is_empty() {
        return vec![SCOPE.to_owned()];
    }
    about.scopes.clone()
}

fn words(secret: &Value) -> String {
    let scopes = secret["scopes"].as_array().into_iter().flatten();
    scopes.map(answer::text).collect::<Vec<_>>().join(",")
}
