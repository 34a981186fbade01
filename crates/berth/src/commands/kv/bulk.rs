//! `berth kv bulk`.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use berth_client::Client;
use berth_error::{Report, ResultExt as _};
use http::Method;
use serde_json::{Map, Value, json};

use super::{find, path};
use crate::cli::KvBulkCommand;
use crate::paths::Paths;
use crate::{answer, printer, remote};

/// Keys of one request.
const AT_ONCE: usize = 1000;

pub(super) async fn run(command: KvBulkCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        KvBulkCommand::Put { filename, of, data } => {
            let pairs = read(&filename)?;
            let client = remote::connect(&data.server, paths)?;
            let id = find(&client, &of).await?;
            send(&client, Method::PUT, &path(&id, "/bulk"), &pairs).await?;
            let count = pairs.len();
            answer::done(&data, &json!({"written": count}), || {
                format!("wrote {count} keys")
            })
        }
        KvBulkCommand::Get {
            filename,
            of,
            server,
        } => {
            let keys = names(read(&filename)?)?;
            let client = remote::connect(&server, paths)?;
            let id = find(&client, &of).await?;
            let mut values = Map::new();
            for some in keys.chunks(AT_ONCE) {
                let call = client.call(Method::POST, path(&id, "/bulk/get"));
                let found: Value = call.json(&json!({"keys": some})).send().await?;
                values.extend(found["values"].as_object().cloned().unwrap_or_default());
            }
            printer::json(&Value::Object(values))
        }
        KvBulkCommand::Delete {
            filename,
            of,
            sure,
            data,
        } => {
            let keys = names(read(&filename)?)?;
            let client = remote::connect(&data.server, paths)?;
            let id = find(&client, &of).await?;
            let count = keys.len();
            let question = format!("Delete {count} keys of the KV namespace {id}?");
            if !answer::agreed(&question, &sure, data.json)? {
                return Ok(ExitCode::SUCCESS);
            }
            send(&client, Method::POST, &path(&id, "/bulk/delete"), &keys).await?;
            answer::done(&data, &json!({"deleted": count}), || {
                format!("deleted {count} keys")
            })
        }
    }
}

async fn send(client: &Client, method: Method, path: &str, items: &[Value]) -> Result<(), Report> {
    for some in items.chunks(AT_ONCE) {
        let call = client.call(method.clone(), path).json(&some);
        let _: Value = call.send().await?;
    }
    Ok(())
}

/// The array in a file.
fn read(file: &Path) -> Result<Vec<Value>, Report> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.context("could not read the keys from standard input")?;
        text
    } else {
        fs_err::read_to_string(file).context("could not read the keys")?
    };
    serde_json::from_str(&text).context(format!("`{}` is not a JSON array", file.display()))
}

/// Keys, each as text or as `{"name": …}`.
fn names(items: Vec<Value>) -> Result<Vec<Value>, Report> {
    let named = items.into_iter().enumerate().map(|(index, item)| {
        let name = if item.is_object() {
            &item["name"]
        } else {
            &item
        };
        if name.is_string() {
            return Ok(name.clone());
        }
        Err(Report::new(
            format!("item {index} is no key: {item}"),
            Some("write `\"key\"` or `{\"name\": \"key\"}`".to_owned()),
        ))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_texts_or_have_a_name() {
        let found = names(vec![json!("a"), json!({"name": "b", "x": 1})]).unwrap();
        assert_eq!(found, [json!("a"), json!("b")]);
        let refused = names(vec![json!("a"), json!({"key": "b"})]).unwrap_err();
        assert!(refused.render().contains("item 1"));
    }
}
