//! The project as it is deployed: its configuration and its bundled Worker.

use std::path::Path;

use berth_client::{Client, segment};
use berth_config::{LoadOptions, Project, Purpose};
use berth_error::Report;
use berth_workerd::{Bundle, Bundler};
use serde_json::Value;

use super::steps::Steps;
use crate::cli::{ProjectArgs, SourceArgs, WorkerArgs};
use crate::dev::screen::Screen;
use crate::dev::session::toolchain;
use crate::paths::{Paths, absolute};
use crate::transfer::units;

/// A project that was read for a deployment.
pub(crate) struct Source {
    pub(crate) project: Project,
}

impl SourceArgs {
    /// Says something about this very version, so that there must be one.
    pub(crate) fn is_annotated(&self) -> bool {
        self.message.is_some() || self.tag.is_some()
    }
}

/// Reads the configuration of a directory.
fn load(
    directory: &Path,
    config: Option<&Path>,
    environment: Option<&str>,
    vars: &[(String, String)],
) -> Result<berth_config::Loaded, Report> {
    let options = LoadOptions {
        directory: absolute(directory)?,
        config: config.map(absolute).transpose()?,
        environment: environment
            .map(str::to_owned)
            .or_else(|| std::env::var("CLOUDFLARE_ENV").ok()),
        vars: vars.to_vec(),
        max_compatibility_date: Some(berth_workerd::max_compatibility_date()),
        purpose: Purpose::Deploy,
        ..LoadOptions::default()
    };
    berth_config::load(&options).map_err(|errors| Report::verbatim(errors.render()))
}

/// The name of the Worker that a command is about.
pub(crate) fn name(args: &WorkerArgs) -> Result<String, Report> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let project = project(&args.project);
    let project =
        project.map_err(|report| report.with_hint("`--name` names a Worker without a project"))?;
    Ok(project.name)
}

/// The project whose bindings a command names.
pub(crate) fn project(args: &ProjectArgs) -> Result<Project, Report> {
    let loaded = load(&args.cwd, args.config.as_deref(), args.env.as_deref(), &[])?;
    Ok(loaded.project)
}

impl Source {
    /// Reads the project that the flags name.
    pub(crate) fn read(args: &SourceArgs, steps: &mut Steps) -> Result<Self, Report> {
        let (config, env) = (args.config.as_deref(), args.env.as_deref());
        let loaded = load(&args.project, config, env, &args.vars)?;
        for warning in &loaded.warnings {
            steps.warning(&warning.render());
        }
        let mut project = loaded.project;
        if let Some(name) = &args.name {
            project.name.clone_from(name);
        }
        project.bundle.minify |= args.minify;
        project.bundle.no_bundle |= args.no_bundle;
        Ok(Self { project })
    }

    /// Bundles the Worker.
    pub(crate) async fn bundle(
        &self,
        args: &SourceArgs,
        paths: &Paths,
        steps: &Steps,
    ) -> Result<Bundle, Report> {
        let screen = if steps.is_json() {
            Screen::Json
        } else {
            Screen::Text
        };
        let toolchain = toolchain(paths, screen).await?;
        let directory = match &args.outdir {
            Some(directory) => absolute(directory)?,
            None => self.project.root.join(".berth/deploy"),
        };
        let work = async {
            let bundle = Bundler::new(&toolchain, &directory)
                .bundle(&self.project)
                .await?;
            let size = bundle.modules.iter().filter_map(|module| {
                let metadata = fs_err::metadata(&module.path).ok()?;
                Some(metadata.len())
            });
            let (count, size) = (bundle.modules.len(), units::size(size.sum()));
            let modules = if count == 1 { "module" } else { "modules" };
            Ok((bundle, format!("{count} {modules}, {size}")))
        };
        let bundle = steps.run("bundle", work).await?;
        for warning in &bundle.warnings {
            steps.warning(warning);
        }
        Ok(bundle)
    }

    /// Secrets that the configuration requires are on the server.
    pub(crate) async fn check_secrets(&self, client: &Client) -> Result<(), Report> {
        let required = self.project.written.get("secrets");
        let required = required.and_then(|secrets| secrets["required"].as_array());
        let Some(required) = required.filter(|required| !required.is_empty()) else {
            return Ok(());
        };
        let path = format!("workers/scripts/{}/secrets", segment(&self.project.name));
        let found: Value = match client.get(path).await {
            Ok(found) => found,
            Err(error) if error.is_missing() => Value::Null,
            Err(error) => return Err(error.into()),
        };
        let has = |name: &str| {
            let mut found = found.as_array().into_iter().flatten();
            found.any(|secret| secret["name"] == name)
        };
        let missing: Vec<&str> = required
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !has(name))
            .collect();
        let Some(first) = missing.first() else {
            return Ok(());
        };
        Err(Report::new(
            format!(
                "`secrets.required` names what the Worker `{}` does not have: {}",
                self.project.name,
                missing.join(", ")
            ),
            Some(format!("set each, first `berth secret put {first}`")),
        ))
    }
}
