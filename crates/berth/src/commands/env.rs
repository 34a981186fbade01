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
        let object = client
            .variables()
            .map(|(name, value)| (name.to_owned(), value.into()));
        let object = serde_json::Map::from_iter(object);
        printer::line(serde_json::Value::Object(object).to_string());
    } else {
        for line in client.exports() {
            printer::line(line);
        }
    }
    Ok(ExitCode::SUCCESS)
}
