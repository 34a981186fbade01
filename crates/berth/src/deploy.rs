//! `berth deploy`: a project → what a server runs, over the same API that wrangler speaks.
//!
//! | module | its job |
//! |---|---|
//! | [`source`] | the project, bundled |
//! | [`metadata`] | what an upload says of it |
//! | [`upload`] | the upload itself, and whether it is needed |
//! | [`provision`] | namespaces, databases and the like that have no id yet |
//! | [`assets`] | files that are served as they are |
//! | [`images`] | images, built and pushed |
//! | [`containers`] | container applications and their rollouts |
//! | [`triggers`] | hosts, routes, cron, consumers, settings |
//! | [`live`] | what the server has of the Worker now |
//! | [`steps`] | progress and times |
//!
//! Invariants: everything that can fail on this machine has happened before anything is sent; images are
//! in the registry before the Worker that needs them is uploaded; what the server has already is not
//! sent again.

mod assets;
mod containers;
mod images;
mod live;
mod metadata;
mod provision;
pub(crate) mod source;
mod steps;
mod triggers;
mod upload;
mod wait;

use std::process::ExitCode;

use berth_client::Client;
use berth_error::Report;
use serde_json::json;

use crate::cli::{ContainersRollout, DeployArgs, SourceArgs};
use crate::paths::Paths;
use crate::signals::Signals;
use crate::{printer, remote};

use images::Images;
use live::Live;
use source::Source;
use steps::Steps;
use upload::Upload;

/// Deploys a project. A signal ends it between two steps or in one: what is live is whole at any time.
pub(crate) async fn run(args: &DeployArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let mut signals = Signals::listen()?;
    let mut steps = Steps::start(args.source.json);
    let mut source = Source::read(&args.source, &mut steps)?;
    if args.containers_rollout == ContainersRollout::None {
        let mut containers = source.project.containers.iter();
        if let Some(app) = containers.find(|app| app.atomic) {
            return Err(Report::new(
                format!(
                    "`--containers-rollout=none` cannot be: the containers of `{}` change together with the Worker \
                     (`rollout: \"atomic\"` in `berth.jsonc`)",
                    app.class_name
                ),
                Some("deploy without it".to_owned()),
            ));
        }
        source.project.containers.clear();
    }
    let builder = images::Builder::new(&source.project, paths, args)?;
    let outcome = tokio::select! {
        outcome = Box::pin(deploy(args, paths, &source, builder.as_ref(), &steps)) => outcome,
        () = signals.next() => Ok(ExitCode::from(130)),
    };
    if let Some(builder) = builder {
        builder.end().await;
    }
    outcome
}

async fn deploy(
    args: &DeployArgs,
    paths: &Paths,
    source: &Source,
    builder: Option<&images::Builder>,
    steps: &Steps,
) -> Result<ExitCode, Report> {
    let client = client(&args.source, paths)?;
    if let Some(client) = &client {
        steps.head(&source.project, &client.server().api);
        containers::check_types(client, &source.project).await?;
    }
    let (bundle, (images, mut live)) = tokio::try_join!(
        source.bundle(&args.source, paths, steps),
        // One after the other: both are quick when there is nothing to do.
        async {
            let images = Images::build(&source.project, builder, steps).await?;
            let live = match &client {
                Some(client) => Live::ask(client, &source.project, steps).await?,
                None => Live::default(),
            };
            Ok((images, live))
        },
    )?;
    let containers = match args.containers_rollout {
        // As they are: wrangler sends what is deployed again.
        ContainersRollout::None => live.containers(),
        _ => Vec::new(),
    };
    let Some(client) = client else {
        let upload = Upload::new(source, &bundle, &live, &containers, &args.source)?;
        return dry_run(&upload, steps);
    };
    let pushed = images.push(&client, builder, steps).await?;
    let containers = match args.containers_rollout {
        ContainersRollout::None => containers,
        _ => metadata::containers(&source.project, &pushed),
    };
    let mut upload = Upload::new(source, &bundle, &live, &containers, &args.source)?;
    let unchanged = live.has(&upload) && !args.force && !args.source.is_annotated();
    let mut waits = false;
    if unchanged {
        steps.skipped("upload", "the live version is the same");
    } else {
        source.check_secrets(&client).await?;
        provision::fill(&client, &source.project, &mut upload, steps).await?;
        assets::send(&client, &source.project, &mut upload, steps).await?;
        (live.version, waits) = upload.send(&client, &source.project.name, steps).await?;
    }
    let deploying = containers::Deploying {
        client: &client,
        project: &source.project,
        steps,
        immediate: args.containers_rollout == ContainersRollout::Immediate,
        together: waits,
    };
    let applied = match args.containers_rollout {
        ContainersRollout::None => Vec::new(),
        _ => deploying.apply(&pushed).await?,
    };
    if waits {
        live::go(&client, &source.project.name, &live.version, steps).await?;
    }
    triggers::apply(&client, &source.project, &live, steps).await?;
    if args.wait {
        wait::all(&client, &applied, steps).await?;
    }
    let url = live::url(&client, &source.project.name).await?;
    steps.end(
        &source.project.name,
        &json!({
            "worker": source.project.name,
            "version_id": live.version,
            "uploaded": !unchanged,
            "url": url,
            "containers": applied,
        }),
    );
    Ok(ExitCode::SUCCESS)
}

/// Uploads a version that is not live. Containers are not touched, as with wrangler.
pub(crate) async fn upload_version(args: &SourceArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let mut steps = Steps::start(args.json);
    let source = Source::read(args, &mut steps)?;
    let client = client(args, paths)?;
    let bundle = source.bundle(args, paths, &steps).await?;
    let live = match &client {
        Some(client) => Live::ask(client, &source.project, &steps).await?,
        None => Live::default(),
    };
    let containers = live.containers();
    let mut upload = Upload::new(&source, &bundle, &live, &containers, args)?;
    let Some(client) = client else {
        return dry_run(&upload, &steps);
    };
    steps.head(&source.project, &client.server().api);
    source.check_secrets(&client).await?;
    provision::fill(&client, &source.project, &mut upload, &steps).await?;
    assets::send(&client, &source.project, &mut upload, &steps).await?;
    let name = &source.project.name;
    let version = upload.send_version(&client, name, &steps).await?;
    steps.end(name, &json!({"worker": name, "version_id": version}));
    if !args.json {
        printer::line(format!(
            "Make it live with `berth versions deploy {version}`"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn client(args: &SourceArgs, paths: &Paths) -> Result<Option<Client>, Report> {
    let client = || remote::connect(&args.server, paths);
    (!args.dry_run).then(client).transpose()
}

fn dry_run(upload: &Upload, steps: &Steps) -> Result<ExitCode, Report> {
    steps.end_dry(&upload.describe());
    Ok(ExitCode::SUCCESS)
}
