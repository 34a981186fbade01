//! `berth ps`.

use std::process::ExitCode;

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
    let mut table = Table::new(["INSTANCE", "STATUS", "IMAGE"]);
    for container in containers {
        table.row([container.display_name, container.status, container.image]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}
