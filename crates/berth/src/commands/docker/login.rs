//! `login` and `logout`: credentials are kept where Docker keeps them.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use berth_distribution::credentials::{DockerConfig, Vault};
use berth_distribution::{Client, ClientOptions, Credential, Keyring, Registries};
use berth_error::Report;
use berth_image::Reference;

use super::args::{LoginArgs, LogoutArgs};
use crate::paths::Paths;
use crate::{printer, secret};

/// Longest wait for a credential helper.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
const HUB: &str = "docker.io";

pub(super) async fn login(
    args: LoginArgs,
    config: Option<&Path>,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let host = host(args.server.as_deref())?;
    let config = docker_config(config)?;
    let (username, password) = ask(&args, &host)?;
    let registries = Registries::load(&paths.data)?;
    let credential = Credential::password(&username, &password, "this login");
    let keyring = Keyring::only(&host, credential);
    Client::new(registries, keyring, ClientOptions::default())
        .check_login(&host)
        .await?;
    config
        .store(&host, &username, &password, HELPER_TIMEOUT)
        .await?;
    if !config.has_helper(&host)? {
        printer::note(format!(
            "the password is kept unencrypted in {}; `berth containers registries configure {host}` \
             keeps it encrypted",
            config.path().display()
        ));
    }
    if let Ok(Some(_)) = Vault::open(&paths.data).get(&host) {
        printer::note(format!(
            "what is configured with `berth containers registries configure {host}` comes before it"
        ));
    }
    printer::line("Login Succeeded");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn logout(args: &LogoutArgs, config: Option<&Path>) -> Result<ExitCode, Report> {
    let host = host(args.server.as_deref())?;
    let config = docker_config(config)?;
    let known = config.erase(&host, HELPER_TIMEOUT).await?;
    printer::line(if known {
        format!("Removing login credentials for {host}")
    } else {
        format!("Not logged in to {host}")
    });
    Ok(ExitCode::SUCCESS)
}

/// User and password, from the flags, standard input or a person.
fn ask(args: &LoginArgs, host: &str) -> Result<(String, String), Report> {
    let person = std::io::stdin().is_terminal();
    if args.password_stdin && args.password.is_some() {
        return Err(Report::new(
            "--password and --password-stdin are mutually exclusive",
            None,
        ));
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None if args.password_stdin || args.password.is_some() || !person => {
            return Err(Report::new(
                "who logs in?",
                Some("name the user with `--username`".to_owned()),
            ));
        }
        None => secret::prompt(&format!("Username for {host}: "), true)?,
    };
    let password = match &args.password {
        Some(password) => {
            printer::note("other programs can see the password: use `--password-stdin`");
            password.clone()
        }
        None if !args.password_stdin && !person => {
            return Err(Report::new(
                "there is no terminal to ask for a password",
                Some("pass it on standard input with `--password-stdin`".to_owned()),
            ));
        }
        None => secret::read("the password")?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Report::new("user and password must not be empty", None));
    }
    Ok((username, password))
}

/// The registry of a login, as image names have it; none means Docker Hub. A URL is taken too, as
/// Docker takes it.
fn host(server: Option<&str>) -> Result<String, Report> {
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        return Ok(HUB.to_owned());
    };
    let rest = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    let host = rest.split('/').next().unwrap_or(rest);
    if matches!(host, "index.docker.io" | "registry-1.docker.io" | HUB) {
        return Ok(HUB.to_owned());
    }
    match format!("{host}/x").parse::<Reference>() {
        Ok(parsed) if parsed.host() == host => Ok(host.to_owned()),
        _ => Err(Report::new(
            format!("`{server}` is not the host of a registry"),
            Some("give it as image names have it, such as `registry.example.com:5000`".to_owned()),
        )),
    }
}

/// `--config`, `DOCKER_CONFIG` or the home directory's.
fn docker_config(named: Option<&Path>) -> Result<DockerConfig, Report> {
    match named {
        Some(directory) => Ok(DockerConfig::in_directory(directory)),
        None => DockerConfig::of_user().ok_or_else(|| {
            Report::new(
                "there is no home directory to keep the login in",
                Some("name a directory with `DOCKER_CONFIG`".to_owned()),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn servers_are_hosts_whatever_they_are_written_as() {
        for (server, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("r.example.com:5000"), "r.example.com:5000"),
            (Some("https://r.example.com/v2/"), "r.example.com"),
        ] {
            assert_eq!(host(server).unwrap(), expected);
        }
        assert!(host(Some("not a host")).is_err());
        assert!(host(Some("name")).is_err());
    }
}
