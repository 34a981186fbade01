//! `berth status`.

use std::process::ExitCode;

use berth_error::Report;
use serde_json::Value;

use super::versions::word;
use crate::cli::StatusArgs;
use crate::paths::Paths;
use crate::table::Table;
use crate::transfer::units::size;
use crate::{printer, remote};

/// Errors that are shown to people.
const SHOWN: usize = 5;

/// Fails if something is wrong, so that scripts can ask.
pub(crate) async fn run(args: &StatusArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let status: Value = client.get("berth/status").await?;
    let healthy = status["healthy"] == true;
    if args.json {
        printer::json(&status)?;
    } else {
        show(&status, &client.server().api);
    }
    Ok(match healthy {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn show(status: &Value, server: &str) {
    let up = duration(status["uptime_s"].as_u64().unwrap_or_default());
    let version = word(&status["version"]);
    printer::line(format!("Berth {version} at {server}, up {up}"));
    let workers = status["workers"].as_array();
    let mut table = Table::new([
        "WORKER", "STATE", "VERSION", "DEPLOYED", "RESTARTS", "MEMORY",
    ]);
    for worker in workers.into_iter().flatten() {
        let version = match worker["version_number"].as_u64() {
            Some(number) => format!("{number} ({})", &start(&word(&worker["version_id"]))),
            None => String::new(),
        };
        table.row([
            word(&worker["name"]),
            word(&worker["state"]),
            version,
            word(&worker["deployed_on"]),
            word(&worker["restarts"]),
            worker["memory_bytes"]
                .as_u64()
                .map(size)
                .unwrap_or_default(),
        ]);
    }
    if workers.is_some_and(|workers| !workers.is_empty()) {
        printer::line(table.render());
    }
    for worker in workers.into_iter().flatten() {
        if let Some(version) = worker["pending_version_id"].as_str() {
            printer::line(format!(
                "Waiting     version {version} of {}, for its containers; the version above is live",
                word(&worker["name"]),
            ));
        }
    }
    let containers = &status["containers"];
    let count = |name: &str| containers[name].as_u64().unwrap_or_default();
    printer::line(format!(
        "Containers  {} running, {} asleep, {} of memory",
        count("running"),
        count("asleep"),
        size(count("memory_bytes")),
    ));
    for rollout in status["rollouts"].as_array().into_iter().flatten() {
        printer::line(format!(
            "Rollout     {}: step {} of {}, {}",
            word(&rollout["application"]),
            word(&rollout["current_step"]),
            word(&rollout["total_steps"]),
            word(&rollout["status"]),
        ));
    }
    let disk = &status["disk"];
    let bytes = |name: &str| size(disk[name].as_u64().unwrap_or_default());
    printer::line(format!(
        "Disk        {} free of {}; registry {}, Workers {}",
        bytes("free_bytes"),
        bytes("total_bytes"),
        bytes("registry_bytes"),
        bytes("server_bytes"),
    ));
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        printer::line(format!(
            "Certificate {} until {}",
            word(&certificate["name"]),
            word(&certificate["expires_on"]),
        ));
    }
    for error in status["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .take(SHOWN)
    {
        printer::line(format!(
            "Error       {} {}",
            word(&error["at"]),
            word(&error["message"])
        ));
    }
    match status["problems"].as_array().map(Vec::as_slice) {
        None | Some([]) => printer::line("Everything is well"),
        Some(problems) => {
            for problem in problems {
                printer::line(format!("Problem     {}", word(problem)));
            }
        }
    }
}

fn start(id: &str) -> String {
    id.chars().take(8).collect()
}

/// `3 d 4 h`, `12 min`, `5 s`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_in_words() {
        for (seconds, text) in [
            (5, "5 s"),
            (725, "12 min"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(super::duration(seconds), text);
        }
    }
}
