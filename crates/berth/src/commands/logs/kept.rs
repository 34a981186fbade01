//! What a server has kept: Workers, containers and itself on one timeline.

use std::process::ExitCode;

use berth_client::Call;
use berth_error::{Report, ResultExt as _, harmless};
use http::Method;
use serde_json::Value;

use crate::cli::LogsArgs;
use crate::paths::Paths;
use crate::{printer, remote};

pub(super) async fn run(args: &LogsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let call = asked(client.call(Method::GET, "berth/logs"), args);
    if !args.follow {
        let entries: Vec<Value> = call.send().await?;
        for entry in &entries {
            if show(entry, args).is_err() {
                break;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut answer = call.query("follow", true).stream().await?;
    let mut rest = Vec::new();
    while let Some(bytes) = answer
        .chunk()
        .await
        .context("the server has ended the log")?
    {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            // An empty one says that the connection is good.
            let Ok(entry) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            if show(&entry, args).is_err() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The question, in the API's words.
fn asked<'a>(mut call: Call<'a>, args: &LogsArgs) -> Call<'a> {
    let filter = &args.filter;
    let conditions = [
        ("app", &filter.app),
        ("level", &filter.level),
        ("source", &filter.source),
        ("version", &filter.of_version),
        ("invocation", &filter.invocation),
        ("text", &filter.grep),
        ("since", &filter.since),
        ("until", &filter.until),
        ("instance", &args.instance),
    ];
    for (name, value) in conditions {
        if let Some(value) = value {
            call = call.query(name, value);
        }
    }
    match args.tail {
        Some(lines) => call.query("limit", lines),
        None => call,
    }
}

/// An error means that nobody reads any more.
fn show(entry: &Value, args: &LogsArgs) -> std::io::Result<()> {
    let line = if args.filter.json {
        entry.to_string()
    } else {
        line(entry)
    };
    printer::raw(format!("{line}\n").as_bytes())
}

/// `time level who text`. Text of others cannot do anything to a terminal.
fn line(entry: &Value) -> String {
    let word = |name: &str| entry[name].as_str().unwrap_or_default();
    let who = match (word("app"), word("label")) {
        ("", _) => "server".to_owned(),
        (app, "") => app.to_owned(),
        (app, label) => format!("{app} {label}"),
    };
    let text = harmless(word("text"));
    format!("{}  {:5}  {who}  {text}", word("time"), word("level"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_say_who() {
        let mut entry = json!({
            "time": "2026-11-30T00:00:00Z", "level": "warn", "app": "shop", "text": "low \u{1b}[2J",
        });
        let shown = line(&entry);
        assert!(
            shown.starts_with("2026-11-30T00:00:00Z  warn   shop  low"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown}");
        entry["label"] = "Cart/0123".into();
        assert!(line(&entry).contains("  shop Cart/0123  "));
        entry["app"] = "".into();
        assert!(line(&entry).contains("  server  "));
    }
}
