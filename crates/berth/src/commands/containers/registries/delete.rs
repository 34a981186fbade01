//! `berth containers registries delete`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use berth_distribution::credentials::Vault;
use berth_error::Report;

use crate::cli::DeleteRegistryArgs;
use crate::printer;
use crate::secret;
use crate::transfer::print_json;

pub(super) fn run(vault: &Vault, args: &DeleteRegistryArgs) -> Result<ExitCode, Report> {
    let domain = &args.domain;
    let unknown = || {
        Report::new(
            format!("`{domain}` is not configured"),
            Some("`berth containers registries list` shows what is".to_owned()),
        )
    };
    if !vault.list()?.iter().any(|(known, ..)| known == domain) {
        return Err(unknown());
    }
    // As in wrangler, only a person is asked.
    let ask = !args.skip_confirmation && !args.json && std::io::stdin().is_terminal();
    if ask && !secret::confirm(&format!("Forget the credentials of {domain}?"))? {
        printer::line("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    if !vault.remove(domain)? {
        return Err(unknown());
    }
    if args.json {
        print_json(&serde_json::json!({ "domain": domain }))?;
    } else {
        printer::line(format!("forgot the credentials of {domain}"));
    }
    Ok(ExitCode::SUCCESS)
}
