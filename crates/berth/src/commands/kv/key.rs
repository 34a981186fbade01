//! `berth kv key`.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_client::{Body, Client, Form, Part, segment};
use berth_error::{Report, ResultExt as _};
use http::Method;
use serde_json::{Value, json};

use super::{find, path};
use crate::cli::KvKeyCommand;
use crate::paths::Paths;
use crate::{answer, printer, remote};

/// Keys of one page, which are as many as there can be.
const PAGE: usize = 1000;

pub(super) async fn run(command: KvKeyCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        KvKeyCommand::Put {
            key,
            value,
            path: file,
            ttl,
            expiration,
            metadata,
            of,
            data,
        } => {
            let body = body(read(value, file)?, metadata.as_deref())?;
            let client = remote::connect(&data.server, paths)?;
            let id = find(&client, &of).await?;
            let mut call = client.call(Method::PUT, value_path(&id, &key));
            if let Some(seconds) = ttl {
                call = call.query("expiration_ttl", seconds);
            }
            if let Some(time) = expiration {
                call = call.query("expiration", time);
            }
            let _: Value = call.body(body).send().await?;
            answer::done(&data, &json!({"key": key, "namespace_id": id}), || {
                format!("wrote `{key}`")
            })
        }
        KvKeyCommand::List { prefix, of, data } => {
            let client = remote::connect(&data.server, paths)?;
            let id = find(&client, &of).await?;
            let keys = keys(&client, &id, prefix.as_deref()).await?;
            answer::list(&data, keys, ["NAME", "EXPIRES", "METADATA"], |key| {
                let field = |name: &str| answer::text(&key[name]);
                [field("name"), field("expiration"), field("metadata")]
            })
        }
        KvKeyCommand::Get { key, of, server } => {
            let client = remote::connect(&server, paths)?;
            let id = find(&client, &of).await?;
            let call = client.call(Method::GET, value_path(&id, &key));
            let value = call.stream().await?.bytes().await;
            let value = value.context("the value broke off")?;
            printer::raw(&value).context("could not print the value")?;
            Ok(ExitCode::SUCCESS)
        }
        KvKeyCommand::Delete { key, of, data } => {
            let client = remote::connect(&data.server, paths)?;
            let id = find(&client, &of).await?;
            let call = client.call(Method::DELETE, value_path(&id, &key));
            let _: Value = call.send().await?;
            answer::done(&data, &json!({"key": key, "deleted": true}), || {
                format!("deleted `{key}`")
            })
        }
    }
}

fn value_path(id: &str, key: &str) -> String {
    path(id, &format!("/values/{}", segment(key)))
}

/// A value that is given, in a file, or on standard input.
fn read(value: Option<String>, file: Option<PathBuf>) -> Result<Vec<u8>, Report> {
    if let Some(value) = value {
        return Ok(value.into_bytes());
    }
    if let Some(file) = file {
        return fs_err::read(file).context("could not read the value");
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.context("could not read the value from standard input")?;
    Ok(bytes)
}

fn body(value: Vec<u8>, metadata: Option<&str>) -> Result<Body, Report> {
    let Some(metadata) = metadata else {
        return Ok(Body::Bytes("application/octet-stream", value.into()));
    };
    let parsed: Result<Value, _> = serde_json::from_str(metadata);
    parsed.context("`--metadata` is not JSON")?;
    let form = Form::new()
        .part("value", Part::bytes(value))
        .text("metadata", metadata.to_owned());
    Ok(Body::Form(form))
}

/// All of them: a page that is full may have another one behind it.
async fn keys(client: &Client, id: &str, prefix: Option<&str>) -> Result<Vec<Value>, Report> {
    let mut keys: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut call = client.call(Method::GET, path(id, "/keys"));
        call = call.query("limit", PAGE);
        if let Some(prefix) = prefix {
            call = call.query("prefix", prefix);
        }
        if !cursor.is_empty() {
            call = call.query("cursor", &cursor);
        }
        let page = call.stream().await?.bytes().await;
        let page = page.context("the list of keys broke off")?;
        let page: Value = serde_json::from_slice(&page).context("the list of keys is not JSON")?;
        keys.extend(page["result"].as_array().cloned().unwrap_or_default());
        cursor = answer::text(&page["result_info"]["cursor"]);
        if cursor.is_empty() {
            return Ok(keys);
        }
    }
}
