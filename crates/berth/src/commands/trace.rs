//! `berth trace`: where the time of an instance's last cold start went.

use std::process::ExitCode;

use berth_docker::client::StartTrace;
use berth_error::{Report, ResultExt as _};

use crate::cli::TraceArgs;
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, running};

pub(crate) async fn run(args: &TraceArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = running::client(&args.session, paths)?;
    let container = running::instance(&client, &args.instance).await?;
    let trace = client.trace(&container.name).await?;
    if args.json {
        let steps: Vec<_> = trace
            .steps
            .iter()
            .map(|step| {
                serde_json::json!({
                    "phase": step.phase,
                    "what": step.what,
                    "at_us": step.at_us,
                    "took_us": step.took_us,
                    "level": step.level,
                })
            })
            .collect();
        let document = serde_json::json!({
            "instance": container.display_name,
            "name": trace.name,
            "total_us": trace.total_us,
            "steps": steps,
        });
        printer::line(serde_json::to_string_pretty(&document).context("could not write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    printer::line(render(&trace));
    Ok(ExitCode::SUCCESS)
}

fn render(trace: &StartTrace) -> String {
    let mut table = Table::new(["AT", "TOOK", "PHASE", "WHAT"]);
    for step in &trace.steps {
        table.row([
            ms(step.at_us),
            ms(step.took_us),
            format!(
                "{:indent$}{}",
                "",
                step.phase,
                indent = 2 * usize::from(step.level)
            ),
            step.what.clone(),
        ]);
    }
    let end = match trace.total_us {
        Some(total) => format!(
            "{} ms from the first call to the first byte",
            ms(total).trim()
        ),
        None => "the program has not answered yet".to_owned(),
    };
    format!("{}\n{end}", table.render())
}

/// Milliseconds, aligned on the point.
fn ms(micros: u64) -> String {
    format!("{:>8}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_indented_by_level() {
        let trace: StartTrace = serde_json::from_value(serde_json::json!({
            "Name": "c", "TotalUs": 12_345, "Steps": [
                {"Phase": "call", "What": "start", "AtUs": 0, "TookUs": 9000, "Level": 0},
                {"Phase": "spawn", "What": "jail", "AtUs": 1001, "TookUs": 20, "Level": 1},
            ]
        }))
        .unwrap();
        let text = render(&trace);
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        assert_eq!(lines[1].split_whitespace().last(), Some("start"));
        assert!(lines[2].contains("0.020    spawn"), "{text}");
        assert_eq!(lines[3], "12.345 ms from the first call to the first byte");
    }
}
