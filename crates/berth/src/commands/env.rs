//! `berth env`.

use std::process::ExitCode;

use berth_error::Report;

use crate::cli::{EnvArgs, ServerArgs};
use crate::daemon;
use crate::paths::Paths;
use crate::serve::admin::{self, Client};
use crate::{printer, remote};

/// What a shell is told where no engine of Berth is at hand.
const NO_ENGINE: &str = "# wrangler builds images with `docker`; to build them with Berth, start `berth engine` here, \
    then `berth env` again";

type Variables = Vec<(&'static str, String)>;

/// Prints what wrangler needs to find a server: this machine's, or one elsewhere.
pub(crate) async fn run(args: &EnvArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let variables = match &args.server {
        Some(_) => elsewhere(args, paths).await?,
        None => Client::read(&paths.data)?.variables().into(),
    };
    if args.json {
        let object = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()));
        let object = serde_json::Map::from_iter(object);
        printer::line(serde_json::Value::Object(object).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for line in admin::exports(&variables) {
        printer::line(line);
    }
    if !variables
        .iter()
        .any(|(name, _)| *name == "WRANGLER_DOCKER_BIN")
    {
        printer::line(NO_ENGINE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the server who we are there, so that nothing is printed that does not work. Its registry is where its API
/// is; images are built here, with this machine's engine if one runs.
async fn elsewhere(args: &EnvArgs, paths: &Paths) -> Result<Variables, Report> {
    let named = ServerArgs {
        server: args.server.clone(),
        token: args.token.clone(),
    };
    let client = remote::connect(&named, paths)?;
    let account = client.account().await?.to_owned();
    let server = client.server();
    let mut variables = vec![
        ("CLOUDFLARE_API_BASE_URL", server.api.clone()),
        ("CLOUDFLARE_ACCOUNT_ID", account),
        ("CLOUDFLARE_API_TOKEN", server.token.clone()),
        (
            "CLOUDFLARE_CONTAINER_REGISTRY",
            client.authority().to_owned(),
        ),
    ];
    if let Some((docker, host)) = daemon::of(paths) {
        variables.push(("WRANGLER_DOCKER_BIN", docker.display().to_string()));
        variables.push(("DOCKER_HOST", host));
    }
    Ok(variables)
}
