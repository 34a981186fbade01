//! What a command about a server's data prints: JSON for programs, words for people; and whether somebody
//! who is there to be asked agrees.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use berth_client::{Client, ClientError};
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{DataArgs, SureArgs};
use crate::table::Table;
use crate::{printer, secret};

/// Items of one page.
const PAGE: usize = 100;

/// Prints what was done.
pub(crate) fn done(
    data: &DataArgs,
    value: &Value,
    text: impl FnOnce() -> String,
) -> Result<ExitCode, Report> {
    if data.json {
        return printer::json(value);
    }
    printer::line(text());
    Ok(ExitCode::SUCCESS)
}

/// Prints a list.
pub(crate) fn list<const N: usize>(
    data: &DataArgs,
    all: Vec<Value>,
    heading: [&str; N],
    row: impl Fn(&Value) -> [String; N],
) -> Result<ExitCode, Report> {
    if data.json {
        return printer::json(&Value::Array(all));
    }
    let mut table = Table::new(heading);
    for one in &all {
        table.row(row(one));
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

/// Prints one thing by its fields.
pub(crate) fn fields<const N: usize>(
    data: &DataArgs,
    value: &Value,
    fields: [(&str, String); N],
) -> Result<ExitCode, Report> {
    done(data, value, || {
        let rows = fields.map(|(name, text)| [format!("{name}:"), text]);
        crate::table::render(&rows)
    })
}

/// A field as text.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// All pages of a list.
pub(crate) async fn pages(client: &Client, path: &str) -> Result<Vec<Value>, ClientError> {
    let mut all = Vec::new();
    for page in 1.. {
        let call = client.call(Method::GET, path);
        let call = call.query("page", page).query("per_page", PAGE);
        let found: Vec<Value> = call.send().await?;
        let last = found.len() < PAGE;
        all.extend(found);
        if last {
            break;
        }
    }
    Ok(all)
}

/// Something that is to be deleted.
pub(crate) struct Doomed<'a> {
    /// Its path in the API.
    pub(crate) path: String,
    /// What it is, for the question: `the queue \`jobs\` with its messages`.
    pub(crate) what: String,
    /// What it is called by, and under which name.
    pub(crate) named: (&'static str, &'a str),
}

/// Asks, deletes, and says so.
pub(crate) async fn delete(
    client: &Client,
    doomed: Doomed<'_>,
    sure: &SureArgs,
    data: &DataArgs,
) -> Result<ExitCode, Report> {
    let Doomed { path, what, named } = doomed;
    if !agreed(&format!("Delete {what}?"), sure, data.json)? {
        return Ok(ExitCode::SUCCESS);
    }
    let _: Value = client.call(Method::DELETE, path).send().await?;
    let (name, value) = named;
    done(data, &json!({name: value, "deleted": true}), || {
        format!("deleted `{value}`")
    })
}

/// Whether to go on. Nobody is asked who is not there, or has said so.
pub(crate) fn agreed(question: &str, sure: &SureArgs, json: bool) -> Result<bool, Report> {
    if sure.yes || json || !std::io::stdin().is_terminal() || secret::confirm(question)? {
        return Ok(true);
    }
    printer::line("nothing was changed");
    Ok(false)
}
