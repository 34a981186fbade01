//! `berth usage`.

use std::process::ExitCode;

use berth_error::Report;
use http::Method;
use serde_json::Value;

use super::versions::word;
use crate::cli::UsageArgs;
use crate::paths::Paths;
use crate::table::Table;
use crate::transfer::units::size;
use crate::{printer, remote};

/// Prints what was used.
pub(crate) async fn run(args: &UsageArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let mut call = client.call(Method::GET, "berth/usage");
    for (name, value) in [
        ("since", &args.since),
        ("until", &args.until),
        ("app", &args.app),
    ] {
        if let Some(value) = value {
            call = call.query(name, value);
        }
    }
    let usage: Value = call.send().await?;
    if args.json {
        printer::json(&usage)?;
    } else {
        show(&usage, args.instances);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(usage: &Value, instances: bool) {
    let currency = word(&usage["prices"]["currency"]);
    printer::line(format!(
        "From {} until {}",
        word(&usage["since"]),
        word(&usage["until"])
    ));
    let cost = format!("COST ({currency})");
    let mut table = Table::new([
        "WORKER", "REQUESTS", "STARTS", "RUNNING", "vCPU s", "GiB s", "GB s", "EGRESS", &cost,
    ]);
    for app in usage["apps"].as_array().into_iter().flatten() {
        table.row(row(word(&app["app"]), app));
        let shown = app["instances"].as_array().filter(|_| instances);
        for instance in shown.into_iter().flatten() {
            table.row(row(format!("  {}", word(&instance["label"])), instance));
        }
    }
    table.row(row("all".to_owned(), &usage["total"]));
    printer::line(table.render());
}

fn row(name: String, used: &Value) -> [String; 9] {
    let number = |name: &str| used[name].as_f64().unwrap_or_default();
    let count = |name: &str| used[name].as_u64().unwrap_or_default();
    [
        name,
        count("requests").to_string(),
        count("container_starts").to_string(),
        format!("{:.1} s", number("running_seconds")),
        format!("{:.1}", number("vcpu_seconds")),
        format!("{:.1}", number("memory_gib_seconds")),
        format!("{:.1}", number("disk_gb_seconds")),
        size(count("egress_bytes")),
        format!("{:.6}", used["cost"]["total"].as_f64().unwrap_or_default()),
    ]
}
