//! `berth d1 execute`.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use berth_client::{Client, ClientError};
use berth_error::{Report, ResultExt as _};
use http::Method;
use serde_json::{Value, json};

use super::path;
use crate::cli::DataArgs;
use crate::paths::Paths;
use crate::{answer, printer, remote, table};

pub(super) async fn run(
    database: &str,
    command: Option<String>,
    file: Option<&Path>,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let sql = match (command, file) {
        (Some(sql), _) => sql,
        (None, Some(file)) if file.as_os_str() != "-" => {
            fs_err::read_to_string(file).context("could not read the SQL")?
        }
        (None, _) => {
            let mut sql = String::new();
            let read = std::io::stdin().read_to_string(&mut sql);
            read.context("could not read the SQL from standard input")?;
            sql
        }
    };
    let client = remote::connect(&data.server, paths)?;
    let results = query(&client, database, &sql).await?;
    if data.json {
        return printer::json(&Value::Array(results));
    }
    for result in &results {
        printer::line(shown(result));
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs statements in one transaction; a result for each.
pub(super) async fn query(
    client: &Client,
    database: &str,
    sql: &str,
) -> Result<Vec<Value>, ClientError> {
    let call = client.call(Method::POST, path(database, "/query"));
    call.json(&json!({"sql": sql})).send().await
}

/// Rows as a table, or what was changed.
fn shown(result: &Value) -> String {
    let rows = result["results"].as_array().map(Vec::as_slice);
    let rows = rows.unwrap_or_default();
    let Some(names) = rows.first().and_then(Value::as_object) else {
        let changed = answer::text(&result["meta"]["changes"]);
        return match changed.as_str() {
            "" | "0" => "no rows".to_owned(),
            changed => format!("{changed} rows changed"),
        };
    };
    let mut lines = vec![names.keys().cloned().collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| {
        let cells = names.keys().map(|name| match &row[name] {
            Value::Null => "NULL".to_owned(),
            cell => answer::text(cell),
        });
        cells.collect()
    }));
    table::render(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_a_table() {
        let result = json!({"results": [{"id": 1, "name": "one"}, {"id": 20, "name": null}]});
        assert_eq!(shown(&result), "id  name\n1   one\n20  NULL");
        assert_eq!(shown(&json!({"results": []})), "no rows");
        let changed = json!({"results": [], "meta": {"changes": 2}});
        assert_eq!(shown(&changed), "2 rows changed");
    }
}
