//! `berth ps`.

use std::process::ExitCode;

use berth_error::{Report, harmless};

use super::versions::word;
use crate::cli::PsArgs;
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, running};

pub(crate) async fn run(args: &PsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let target = running::target(&args.session, &args.server, paths)?;
    let rows = target.list(args.all).await?;
    if args.json {
        return printer::json(&rows.into());
    }
    let mut table = Table::new(["INSTANCE", "STATUS", "CPU", "MEMORY", "IMAGE"]);
    let mut sleepless = Vec::new();
    for row in rows {
        let used = &row["usage"];
        let number = |name: &str| used[name].as_u64();
        let name = word(&row["instance"]);
        if let Some(reason) = row["sleepless"].as_str() {
            sleepless.push(format!("{name}: {}", harmless(reason)));
        }
        table.row([
            name,
            word(&row["status"]),
            number("cpu_ns").map(seconds).unwrap_or_default(),
            number("memory_bytes").map(mib).unwrap_or_default(),
            word(&row["image"]),
        ]);
    }
    printer::line(table.render());
    for line in sleepless {
        printer::line(line);
    }
    Ok(ExitCode::SUCCESS)
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
