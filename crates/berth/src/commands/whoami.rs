//! `berth whoami`.

use std::process::ExitCode;

use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use crate::cli::WhoamiArgs;
use crate::paths::Paths;
use crate::{printer, remote};

/// Prints which server is meant, and who we are there.
pub(crate) async fn run(args: &WhoamiArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let token: Value = client.at(Method::GET, "/user/tokens/verify").send().await?;
    let account = client.account().await?;
    let server = &client.server().api;
    if args.json {
        let shown = json!({
            "server": server, "account": account, "token": token,
        });
        return printer::json(&shown);
    }
    let word = |name: &str| token[name].as_str().unwrap_or("unknown").to_owned();
    printer::line(format!("Server   {server}"));
    printer::line(format!("Account  {account}"));
    printer::line(format!("Token    {} ({})", word("name"), word("id")));
    printer::line(format!("Scope    {}", word("scope")));
    if let Some(expires) = token["expires_on"].as_str() {
        printer::line(format!("Expires  {expires}"));
    }
    Ok(ExitCode::SUCCESS)
}
