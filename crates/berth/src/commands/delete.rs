//! `berth delete`.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use crate::cli::DeleteArgs;
use crate::deploy::source;
use crate::paths::Paths;
use crate::{printer, remote, secret};

pub(crate) async fn run(args: &DeleteArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let name = match &args.script {
        Some(name) => name.clone(),
        None => source::name(&args.worker)?,
    };
    let client = remote::connect(&args.worker.server, paths)?;
    let path = format!("workers/services/{}", segment(&name));
    // What is not there is said before anything is asked.
    let _: Value = client.get(path.clone()).await?;
    let references = format!("workers/scripts/{}/references", segment(&name));
    let references: Value = client.get(references).await?;
    let tails = format!("workers/tails/by-consumer/{}", segment(&name));
    let tails: Value = client.get(tails).await?;
    let users = users(&references, &tails);
    if args.dry_run {
        if args.json {
            return printer::json(&json!({"worker": name, "used_by": users, "deleted": false}));
        }
        printer::line(format!("`{name}` would be deleted with all its objects"));
        return Ok(ExitCode::SUCCESS);
    }
    let asks = !args.force && !args.json && std::io::stdin().is_terminal();
    if !users.is_empty() && !args.force && !asks {
        return Err(Report::new(
            format!("`{name}` is used by {}", users.join(", ")),
            Some("`--force` deletes it nevertheless".to_owned()),
        ));
    }
    if asks {
        let also = match users.as_slice() {
            [] => String::new(),
            users => format!(" It is used by {}.", users.join(", ")),
        };
        let question = format!("Delete `{name}` with all its objects and containers?{also}");
        if !secret::confirm(&question)? {
            printer::line("nothing was changed");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let call = client.call(Method::DELETE, path);
    let _: Value = call.query("force", !users.is_empty()).send().await?;
    if args.json {
        return printer::json(&json!({"worker": name, "deleted": true}));
    }
    printer::line(format!("deleted `{name}`"));
    Ok(ExitCode::SUCCESS)
}

/// Workers that need this one.
fn users(references: &Value, tails: &Value) -> Vec<String> {
    let incoming = references["services"]["incoming"].as_array();
    let objects = references["durable_objects"].as_array();
    let all = incoming.into_iter().chain(objects).flatten();
    let names = all.filter_map(|user| user.as_str().or_else(|| user["service"].as_str()));
    let producers = tails.as_array().into_iter().flatten();
    let producers = producers.filter_map(|tail| tail["producer"]["script"].as_str());
    let names: BTreeSet<&str> = names.chain(producers).collect();
    names.into_iter().map(str::to_owned).collect()
}
