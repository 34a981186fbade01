//! `berth ps`.

use std::process::ExitCode;

use berth_docker::client::ContainerUsage;
use berth_error::{Report, ResultExt as _};

use crate::cli::PsArgs;
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, running};

pub(crate) async fn run(args: &PsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let containers = running::client(&args.session, paths)?
        .list(args.all)
        .await?;
    if args.json {
        let rows: Vec<_> = containers
            .iter()
            .map(|container| {
                serde_json::json!({
                    "instance": container.display_name,
                    "state": container.state,
                    "status": container.status,
                    "asleep": container.asleep,
                    "sleepless": container.sleepless,
                    "usage": container.metered.as_ref().map(usage),
                    "image": container.image,
                    "name": container.name,
                    "id": container.id,
                    "created": container.created,
                    "exit_code": container.exit_code,
                })
            })
            .collect();
        printer::line(serde_json::to_string_pretty(&rows).context("could not write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["INSTANCE", "STATUS", "CPU", "MEMORY", "IMAGE"]);
    let mut sleepless = Vec::new();
    for container in containers {
        let (cpu, memory) = container.metered.map_or_else(Default::default, |used| {
            (seconds(used.cpu_ns), mib(used.memory_bytes))
        });
        if let Some(reason) = container.sleepless {
            sleepless.push(format!("{}: {reason}", container.display_name));
        }
        table.row([
            container.display_name,
            container.status,
            cpu,
            memory,
            container.image,
        ]);
    }
    printer::line(table.render());
    for line in sleepless {
        printer::line(line);
    }
    Ok(ExitCode::SUCCESS)
}

/// What it has used, for tools.
fn usage(used: &ContainerUsage) -> serde_json::Value {
    serde_json::json!({
        "cpu_ns": used.cpu_ns,
        "running_ms": used.running_ms,
        "frozen_ms": used.frozen_ms,
        "stored_ms": used.stored_ms,
        "memory_bytes": used.memory_bytes,
        "memory_byte_ms": used.memory_byte_ms,
        "ingress_bytes": used.ingress_bytes,
        "egress_bytes": used.egress_bytes,
    })
}

/// `1.3 s`.
fn seconds(nanos: u64) -> String {
    let tenths = nanos / 100_000_000;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_in_words() {
        assert_eq!(seconds(1_360_000_000), "1.3 s");
        assert_eq!((mib(0), mib(1)), ("0 MiB".to_owned(), "1 MiB".to_owned()));
    }
}
