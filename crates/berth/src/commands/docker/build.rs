//! `build`: in this process, into the engine's store.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_build::{BuildEvent, BuildRequest};
use berth_engine::Session;
use berth_error::{Report, ResultExt as _};
use berth_image::{Image, ImageStore};
use berth_jail::Zygote;

use super::args::BuildArgs;
use super::{Target, check_platform};
use crate::host::{launch_zygote, open_store};
use crate::paths::absolute;
use crate::signals::Signals;
use crate::{base, printer};

pub(super) async fn run(target: &Target, args: BuildArgs) -> Result<ExitCode, Report> {
    check_platform(args.platform.as_deref())?;
    if args
        .provenance
        .as_deref()
        .is_some_and(|value| value != "false")
    {
        return Err(Report::new(
            "attestations of provenance are not made",
            Some("build with `--provenance=false`".to_owned()),
        ));
    }
    let data = target.data_dir().await?;
    let store = open_store(&data)?;
    let context = absolute(&args.context_directory)?;
    // A signal still ends the process while it waits for its input.
    let dockerfile = Dockerfile::read(&args, &context)?;
    let mut signals = Signals::listen()?;
    let sessions = data.join("sessions");
    berth_engine::sweep(&sessions)?;
    let session = Session::create(&sessions, &context)?;
    let outcome = tokio::select! {
        outcome = Box::pin(build(&store, &session, &args, dockerfile, context)) => outcome.map(Some),
        // What was dropped half-way leaves finished layers only.
        () = signals.next() => Ok(None),
    };
    if let Err(error) = session.remove() {
        tracing::warn!(%error, "the build's directory stays behind");
    }
    let Some(image) = outcome? else {
        return Ok(ExitCode::from(130));
    };
    if args.quiet {
        printer::line(image.id.to_string());
    } else {
        let names = args.tags.join(", ");
        printer::note(format!("built {names} ({})", image.id));
    }
    Ok(ExitCode::SUCCESS)
}

async fn build(
    store: &ImageStore,
    session: &Session,
    args: &BuildArgs,
    dockerfile: Dockerfile,
    context: PathBuf,
) -> Result<Image, Report> {
    let request = BuildRequest {
        dockerfile: dockerfile.path(&session.dir)?,
        args: build_args(&args.args),
        context,
        target: args.target.clone(),
        tags: args.tags.clone(),
        no_cache: args.no_cache,
        ca_bundle: base::host_ca_bundle(),
    };
    let note = |message: String| {
        if !args.quiet {
            printer::note(message);
        }
    };
    for image in berth_build::base_images(&request.dockerfile, &request.args)? {
        base::provide(store, &image, "", &note).await?;
    }
    let zygote = launch_zygote(session).await?;
    let outcome = carry_out(store, &zygote, &request, &note).await;
    zygote.shutdown().await;
    outcome
}

async fn carry_out(
    store: &ImageStore,
    zygote: &Zygote,
    request: &BuildRequest,
    note: &(dyn Fn(String) + Send + Sync),
) -> Result<Image, Report> {
    let show = |event| match event {
        BuildEvent::StepStarted { step, total, text } => note(format!("[{step}/{total}] {text}")),
        BuildEvent::Output { step, line } => note(format!("#{step} {line}")),
        BuildEvent::StepFinished { step, cached: true } => note(format!("#{step} CACHED")),
        BuildEvent::StepFinished { .. } => {}
    };
    Ok(berth_build::build(store, zygote, request, &show).await?)
}

/// The Dockerfile: a file, or text that needs one.
enum Dockerfile {
    File(PathBuf),
    Text(Vec<u8>),
}

impl Dockerfile {
    /// Reads it if it comes from standard input. If it is the context's, which wrangler passes that
    /// way, it is taken from there, so that errors name a file that the user has.
    fn read(args: &BuildArgs, context: &Path) -> Result<Self, Report> {
        let in_context = context.join("Dockerfile");
        match &args.file {
            None => Ok(Self::File(in_context)),
            Some(file) if file == Path::new("-") => {
                let mut text = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut text)
                    .context("could not read the Dockerfile from standard input")?;
                if fs_err::read(&in_context).is_ok_and(|found| found == text) {
                    return Ok(Self::File(in_context));
                }
                Ok(Self::Text(text))
            }
            Some(file) => Ok(Self::File(absolute(file)?)),
        }
    }

    /// Its path; text is kept in `directory`.
    fn path(self, directory: &Path) -> Result<PathBuf, Report> {
        match self {
            Self::File(path) => Ok(path),
            Self::Text(text) => {
                let path = directory.join("Dockerfile");
                fs_err::write(&path, text).context("could not keep the Dockerfile")?;
                Ok(path)
            }
        }
    }
}

/// A name without a value takes the environment's, as the docker command does.
fn build_args(args: &[String]) -> BTreeMap<String, String> {
    args.iter()
        .filter_map(|arg| match arg.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((arg.clone(), std::env::var(arg).ok()?)),
        })
        .collect()
}
