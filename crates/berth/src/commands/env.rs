//! `berth env`.

use std::process::ExitCode;

use berth_error::Report;

use crate::cli::EnvArgs;
use crate::paths::Paths;
use crate::printer;
use crate::serve::admin::Client;

/// Prints what wrangler needs to find this machine's server.
pub(crate) fn run(args: &EnvArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = Client::read(&paths.data)?;
    if args.json {
        let variables = serde_json::json!({
            "CLOUDFLARE_API_BASE_URL": client.api,
            "CLOUDFLARE_ACCOUNT_ID": client.account,
            "CLOUDFLARE_API_TOKEN": client.token,
        });
        printer::line(variables.to_string());
    } else {
        for line in client.exports() {
            printer::line(line);
        }
    }
    Ok(ExitCode::SUCCESS)
}
