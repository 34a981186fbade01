//! `berth docker`, and this program under the name `docker`: what wrangler calls as
//! `WRANGLER_DOCKER_BIN`.
//!
//! Everything about containers and images goes through the Docker API of `berth engine`; a build
//! works on the same store from this process, with a short session of its own.

mod args;
mod build;
mod builder;
mod containers;
mod images;
mod login;
mod registry;
mod run;
mod system;
mod template;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_docker::client::{Client, ClientError};
use berth_error::Report;
use clap::Parser as _;
use serde_json::Value;

use crate::daemon::default_socket;
use crate::paths::Paths;
use crate::printer;
use args::{
    BuilderCommand, BuildxCommand, ContainerCommand, ContextCommand, DockerCli, DockerCommand,
    EngineCommand, ImageCommand, ManifestCommand, RegistryCommand,
};
use template::Template;

/// The server a command talks to.
#[derive(Debug)]
struct Target {
    client: Client,
    /// As in `DOCKER_HOST`.
    host: String,
    /// Directory of Docker's `config.json`, if it is not the user's.
    config: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Vec<OsString>, paths: Paths) -> Result<ExitCode, Report> {
    let words = std::iter::once(OsString::from("docker")).chain(arguments);
    let cli = match DockerCli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are such errors too, with their own exit codes.
            let _ = error.print();
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    match cli.command {
        DockerCommand::Registry(command) => {
            at_registry(command, cli.config.as_deref(), &paths).await
        }
        DockerCommand::Engine(command) => {
            let mut target = target(cli.host, &paths)?;
            target.config = cli.config;
            at_engine(&target, command).await
        }
    }
}

async fn at_registry(
    command: RegistryCommand,
    config: Option<&Path>,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    match command {
        RegistryCommand::Login(args) => Box::pin(login::login(args, config, paths)).await,
        RegistryCommand::Logout(args) => login::logout(&args, config).await,
        RegistryCommand::Manifest(ManifestCommand::Inspect(args)) => {
            Box::pin(registry::manifest(&args, config, paths)).await
        }
    }
}

async fn at_engine(target: &Target, command: EngineCommand) -> Result<ExitCode, Report> {
    match command {
        EngineCommand::Info(args) => system::info(target, args.format.as_deref()).await,
        EngineCommand::Version(args) => system::version(target, args.format.as_deref()).await,
        EngineCommand::Context(ContextCommand::Ls(args)) => {
            system::contexts(target, args.format.as_deref())
        }
        EngineCommand::Context(ContextCommand::Show) => system::context(),
        EngineCommand::Build(args)
        | EngineCommand::Buildx(BuildxCommand::Build(args))
        | EngineCommand::Image(ImageCommand::Build(args)) => {
            Box::pin(build::run(target, args)).await
        }
        EngineCommand::Builder(BuilderCommand::Prune(args))
        | EngineCommand::Buildx(BuildxCommand::Prune(args)) => builder::prune(target, args).await,
        EngineCommand::Image(command) => image(target, command).await,
        EngineCommand::Images(args) => images::list(target, &args).await,
        EngineCommand::Inspect(args) => containers::inspect_any(target, &args).await,
        EngineCommand::Pull(args) => Box::pin(registry::pull(target, &args)).await,
        EngineCommand::Push(args) => Box::pin(registry::push(target, &args)).await,
        EngineCommand::Tag(args) => images::tag(target, &args).await,
        EngineCommand::Rmi(args) => images::remove(target, &args).await,
        EngineCommand::Ps(args) | EngineCommand::Container(ContainerCommand::Ls(args)) => {
            containers::list(target, &args).await
        }
        EngineCommand::Rm(args) | EngineCommand::Container(ContainerCommand::Rm(args)) => {
            containers::remove(target, &args).await
        }
        EngineCommand::Container(ContainerCommand::Inspect(args)) => {
            containers::inspect(target, &args).await
        }
        EngineCommand::Stop(args) => containers::stop(target, &args).await,
        EngineCommand::Kill(args) => containers::kill(target, &args).await,
        EngineCommand::Logs(args) => containers::logs(target, &args).await,
        EngineCommand::Exec(args) => run::exec(target, args).await,
        EngineCommand::Run(args) => run::run(target, args).await,
        EngineCommand::Load(args) => images::load(target, &args).await,
    }
}

async fn image(target: &Target, command: ImageCommand) -> Result<ExitCode, Report> {
    match command {
        ImageCommand::Inspect(args) => images::inspect(target, &args).await,
        ImageCommand::Ls(args) => images::list(target, &args).await,
        ImageCommand::Pull(args) => Box::pin(registry::pull(target, &args)).await,
        ImageCommand::Push(args) => Box::pin(registry::push(target, &args)).await,
        ImageCommand::Tag(args) => images::tag(target, &args).await,
        ImageCommand::Rm(args) => images::remove(target, &args).await,
        ImageCommand::Build(args) => Box::pin(build::run(target, args)).await,
        ImageCommand::Load(args) => images::load(target, &args).await,
    }
}

/// `--host`, `DOCKER_HOST`, or the socket of the data directory's engine.
fn target(host: Option<String>, paths: &Paths) -> Result<Target, Report> {
    let host = host
        .or_else(|| std::env::var("DOCKER_HOST").ok())
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| format!("unix://{}", default_socket(paths).display()));
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(Target {
            client: Client::new(path),
            host,
            config: None,
        }),
        _ => Err(Report::new(
            format!("`{host}` is not the address of a socket on this machine"),
            Some("set `DOCKER_HOST` to the address that `berth engine` prints".to_owned()),
        )),
    }
}

impl Target {
    /// The data directory of the engine there.
    async fn data_dir(&self) -> Result<PathBuf, Report> {
        let info = self.client.info().await.map_err(refused)?;
        let data = info["DockerRootDir"].as_str().map(Path::new);
        match data {
            Some(data) if info["OperatingSystem"] == "Berth" => Ok(data.to_owned()),
            _ => Err(Report::new(
                format!("`{}` is not an engine of Berth", self.host),
                Some("set `DOCKER_HOST` to the address that `berth engine` prints".to_owned()),
            )),
        }
    }
}

/// A failed request, with what to do about it here.
fn refused(error: ClientError) -> Report {
    let report = Report::from_error(&error);
    match error {
        ClientError::NoSession { .. } => report
            .with_hint("start `berth engine`, and set `DOCKER_HOST` to the address that it prints"),
        _ => report,
    }
}

/// `--filter key=value` as the API takes it.
fn filters(filters: &[String]) -> Result<Value, Report> {
    let mut parsed = serde_json::Map::new();
    for filter in filters {
        let (key, value) = filter.split_once('=').ok_or_else(|| {
            Report::new(format!("the filter `{filter}` is not `key=value`"), None)
        })?;
        let values = parsed
            .entry(key)
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        values[value] = true.into();
    }
    Ok(parsed.into())
}

/// Prints documents as `inspect` does: through a template, or as a JSON array.
fn print_documents(documents: &[Value], format: Option<&str>) -> Result<(), Report> {
    match format {
        None => printer::line(format!("{:#}", Value::from(documents.to_vec()))),
        Some(format) => {
            let format = if format == "json" {
                "{{json .}}"
            } else {
                format
            };
            let template = Template::parse(format).map_err(bad_template)?;
            for document in documents {
                printer::line(template.render(document).map_err(bad_template)?);
            }
        }
    }
    Ok(())
}

/// Prints the rows of a listing through a template.
fn print_rows(rows: &[Value], format: &str) -> Result<(), Report> {
    let template = Template::of_listing(format).map_err(bad_template)?;
    for row in rows {
        printer::line(template.render(row).map_err(bad_template)?);
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn bad_template(error: template::TemplateError) -> Report {
    Report::from_error(&error)
}

/// Only this machine's platform can run here.
fn check_platform(platform: Option<&str>) -> Result<(), Report> {
    let own = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    match platform {
        Some(asked) if asked != own && !asked.starts_with(&format!("{own}/")) => Err(Report::new(
            format!("the platform {asked} cannot be used on this machine, which is {own}"),
            None,
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_sets() {
        let filters = filters(&["label=a=b".to_owned(), "label=c".to_owned()]).unwrap();
        assert_eq!(
            filters,
            serde_json::json!({"label": {"a=b": true, "c": true}})
        );
        assert!(super::filters(&["x".to_owned()]).is_err());
    }

    #[test]
    fn only_sockets_of_this_machine_are_addresses() {
        let paths = Paths {
            data_is_given: false,
            data: "/data".into(),
            cache: "/cache".into(),
        };
        let host = |text: &str| target(Some(text.to_owned()), &paths);
        assert_eq!(host("unix:///a").unwrap().client.socket(), Path::new("/a"));
        assert!(host("tcp://1.2.3.4:2375").is_err());
        assert!(host("unix://relative").is_err());
    }
}
