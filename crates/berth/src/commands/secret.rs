//! `berth secret`.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use berth_client::{Body, ClientError, Form, Part, segment};
use berth_error::{Report, ResultExt as _};
use http::Method;
use serde_json::{Map, Value, json};

use super::versions::{Of, word};
use crate::cli::SecretCommand;
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, secret};

/// What a Worker is until it is deployed: as wrangler has it, so that secrets can be set before.
const DRAFT: &str = "export default { fetch() {} }";

pub(crate) async fn run(command: SecretCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        SecretCommand::Put { key, worker, json } => {
            let of = Of::find(&worker, paths)?;
            let text = secret::read(&format!("the value of `{key}`"))?;
            put(&of, &key, &text).await?;
            say(
                &of,
                json,
                &json!({"name": key, "type": "secret_text"}),
                || format!("set the secret `{key}` of `{}`", of.name),
            )
        }
        SecretCommand::List { worker, json } => {
            let of = Of::find(&worker, paths)?;
            let secrets: Value = of.client.get(of.path("secrets")).await?;
            if json {
                return printer::json(&secrets);
            }
            let mut table = Table::new(["NAME", "TYPE"]);
            for secret in secrets.as_array().into_iter().flatten() {
                table.row([word(&secret["name"]), word(&secret["type"])]);
            }
            printer::line(table.render());
            Ok(ExitCode::SUCCESS)
        }
        SecretCommand::Delete { key, worker, json } => {
            let of = Of::find(&worker, paths)?;
            let path = of.path(&format!("secrets/{}", segment(&key)));
            let call = of.client.call(Method::DELETE, path);
            let _: Value = call.query("url_encoded", true).send().await?;
            say(&of, json, &json!({"name": key, "deleted": true}), || {
                format!("deleted the secret `{key}` of `{}`", of.name)
            })
        }
        SecretCommand::Bulk { file, worker, json } => {
            let of = Of::find(&worker, paths)?;
            let secrets = read_bulk(file.as_deref())?;
            let count = secrets.len();
            let changed = bulk(&of, secrets).await?;
            say(&of, json, &changed, || {
                format!("changed {count} secrets of `{}`", of.name)
            })
        }
    }
}

fn say(
    _: &Of,
    json: bool,
    value: &Value,
    text: impl FnOnce() -> String,
) -> Result<ExitCode, Report> {
    if json {
        return printer::json(value);
    }
    printer::line(text());
    Ok(ExitCode::SUCCESS)
}

async fn put(of: &Of, key: &str, text: &str) -> Result<(), Report> {
    let body = json!({"name": key, "text": text, "type": "secret_text"});
    let put = || {
        let call = of.client.call(Method::PUT, of.path("secrets"));
        call.json(&body).send::<Value>()
    };
    match put().await {
        Err(error) if error.is_missing() => {
            draft(of).await?;
            put().await?;
        }
        other => {
            other?;
        }
    }
    Ok(())
}

async fn bulk(of: &Of, secrets: Map<String, Value>) -> Result<Value, Report> {
    let secrets = secrets.into_iter().map(|(name, text)| {
        let secret = match text {
            Value::Null => Value::Null,
            text => json!({"name": name, "text": text, "type": "secret_text"}),
        };
        (name, secret)
    });
    let body = json!({"secrets": Map::from_iter(secrets)});
    let patch = || {
        let call = of.client.call(Method::PATCH, of.path("secrets-bulk"));
        call.json(&body).send::<Value>()
    };
    match patch().await {
        Err(error) if error.is_missing() => {
            draft(of).await?;
            Ok(patch().await?)
        }
        other => Ok(other?),
    }
}

/// A Worker that does nothing, to have secrets.
async fn draft(of: &Of) -> Result<(), Report> {
    let name = &of.name;
    let metadata = json!({"main_module": name, "bindings": []});
    let part = Part::text(DRAFT)
        .file_name(name.clone())
        .mime_str("application/javascript+module")
        .context("could not write the upload")?;
    let form = Form::new()
        .text("metadata", metadata.to_string())
        .part(name.clone(), part);
    let path = format!("workers/scripts/{}", segment(name));
    let call = of.client.call(Method::PUT, path).body(Body::Form(form));
    let made: Result<Value, ClientError> = call.send().await;
    made?;
    Ok(())
}

/// Names and texts of a JSON object, or of lines `KEY=VALUE`.
fn read_bulk(file: Option<&Path>) -> Result<Map<String, Value>, Report> {
    let (text, what) = match file {
        Some(path) => {
            let text = fs_err::read_to_string(path).context("could not read the secrets")?;
            (text, format!("`{}`", path.display()))
        }
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("could not read the secrets from standard input")?;
            (text, "standard input".to_owned())
        }
    };
    parse_bulk(&text).map_err(|problem| {
        Report::new(
            format!("{what} does not hold secrets: {problem}"),
            Some("write `{\"KEY\": \"value\"}`, or lines `KEY=value`".to_owned()),
        )
    })
}

fn parse_bulk(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_start().starts_with('{') {
        let secrets: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (name, value) in &secrets {
            if !value.is_string() && !value.is_null() {
                return Err(format!("`{name}` is neither a string nor null"));
            }
        }
        return Ok(secrets);
    }
    let mut secrets = Map::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {} has no `=`", index + 1))?;
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|quote| {
            let inner = value.strip_prefix(*quote)?;
            inner.strip_suffix(*quote)
        });
        secrets.insert(name.trim().to_owned(), bare.unwrap_or(value).into());
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_secrets_come_as_json_or_lines() {
        let parsed = parse_bulk(r#" {"A": "1", "B": null}"#).unwrap();
        assert_eq!(Value::Object(parsed), json!({"A": "1", "B": null}));
        let parsed = parse_bulk("# keys\nA=1=2\nexport B=\"x y\"\n\n").unwrap();
        assert_eq!(Value::Object(parsed), json!({"A": "1=2", "B": "x y"}));
        assert!(parse_bulk(r#"{"A": 1}"#).unwrap_err().contains("`A`"));
        assert!(parse_bulk("nothing").unwrap_err().contains("line 1"));
    }
}
