//! `berth containers registries list`.

use std::process::ExitCode;

use berth_distribution::credentials::Vault;
use berth_error::{Report, ResultExt as _};

use crate::printer;
use crate::table::Table;

pub(super) fn run(vault: &Vault, json: bool) -> Result<ExitCode, Report> {
    let found = vault.list()?;
    if json {
        let rows: Vec<_> = found
            .iter()
            .map(|(domain, kind, public, created)| {
                serde_json::json!({
                    "domain": domain,
                    "kind": kind,
                    "public_credential": public,
                    "created": created,
                })
            })
            .collect();
        printer::line(serde_json::to_string_pretty(&rows).context("could not write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["DOMAIN", "KIND", "CREDENTIAL"]);
    for (domain, kind, public, _) in found {
        table.row([domain, kind.to_string(), public]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}
