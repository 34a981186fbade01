//! Carrying a build out. [`stages`](stages) lets every needed stage run as soon as what it needs is
//! there; [`steps`] numbers and reports; the step modules do the work.
//!
//! Invariants: the steps of a stage run in order; the first failure ends the others and is the one
//! that is reported; a builder is shared by all stages and never changed but behind a lock.

mod agent;
mod bases;
mod copy_step;
mod epoch;
mod keys;
mod mounts;
mod once;
mod prepare;
mod remote;
mod run_step;
mod stages;
mod steps;
mod tree;
mod workdir;

use std::time::Duration;

use berth_image::{Image, ImageStore, Layer};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::sweep::sweep_sometimes;
use crate::cache::{Cache, Record};
use crate::context::{Context, io, read_document};
use crate::dockerfile::{Instruction, Kind, parse};
use crate::epoch::Epoch;
use crate::error::{BuildError, Location, Problem, StepError, first_line};
use crate::evaluate::{Scope, settings};
use crate::excerpt::excerpt;
use crate::lint::Linter;
use crate::remote::Fetcher;
use crate::stages::{Origin, Plan, check_platform};
use crate::state::State;
use crate::view::Writable;
use crate::{BuildEvent, BuildHost, BuildRequest};
use bases::Bases;
use stages::Finished;
use steps::{Step, Steps};

/// Builds a Dockerfile into the store.
///
/// Dropping the future ends the build: its sandboxes are killed and unfinished layers are removed.
///
/// # Errors
/// The first thing that went wrong; the other stages have ended by then.
pub async fn build(
    store: &ImageStore,
    host: &dyn BuildHost,
    request: &BuildRequest,
    progress: &(dyn Fn(BuildEvent) + Send + Sync),
) -> Result<Image, BuildError> {
    let text = read_document(&request.dockerfile, &request.context)
        .map_err(io("read the Dockerfile", &request.dockerfile))?;
    let dockerfile = request.dockerfile.clone();
    let in_file = |problem: Problem| problem.in_file(&dockerfile);
    let limit = request.bounds.time;
    let deadline = limit.map(|time| Instant::now() + time);
    let mut request = request.clone();
    let outcome = async {
        let mut plan = parse(&text)
            .and_then(|parsed| Plan::new(parsed, &request.args))
            .map_err(in_file)?;
        if let Some(platform) = &request.platform {
            check_platform(platform).map_err(in_file)?;
        }
        let target = plan.target(request.target.as_deref()).map_err(in_file)?;
        plan.needed(target).map_err(in_file)?;
        let _agents = keys::serve(&mut request).await?;
        let fetcher = fetcher(store, &request);
        let epoch = epoch::resolve(&mut request, &mut plan, &fetcher).await?;
        let builder = Builder {
            store,
            host,
            request: &request,
            cache: Cache::new(store, request.no_cache, epoch),
            context: Context::open(&request.context, &request.dockerfile)?,
            steps: Steps::new(progress),
            bases: Bases::default(),
            fetcher,
            finished: Finished::new(plan.stages.len()),
            cancel: CancellationToken::new(),
            plan: &plan,
            epoch,
            deadline,
        };
        let complete = builder.prepare(target, &text).await?;
        let builder = builder.with_plan(&complete);
        let needed = builder.plan.needed(target).map_err(in_file)?;
        builder.stages(&needed).await?;
        builder.export(target).await
    };
    within(limit, outcome)
        .await
        .map_err(|error: BuildError| match error.location() {
            Some(location) => {
                let excerpt = excerpt(&location.path, &text, location.line);
                error.with_excerpt(excerpt)
            }
            None => error,
        })
}

/// Ends a build that takes too long. A command that runs then ends itself, and its step says where
/// that was.
async fn within<T>(
    limit: Option<Duration>,
    outcome: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    match limit {
        None => outcome.await,
        Some(limit) => match tokio::time::timeout(limit + LAST_WORDS, outcome).await {
            Ok(outcome) => outcome,
            Err(_) => Err(BuildError::OutOfTime { limit }),
        },
    }
}

/// How long a build whose time is over may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The name of every build's last step, in which its layers become an image.
pub const EXPORT_STEP: &str = "exporting to image";

/// What all stages share.
struct Builder<'a> {
    store: &'a ImageStore,
    host: &'a dyn BuildHost,
    request: &'a BuildRequest,
    plan: &'a Plan,
    cache: Cache,
    context: Context,
    steps: Steps<'a>,
    bases: Bases,
    fetcher: Fetcher,
    finished: Finished,
    /// Set by the first failure.
    cancel: CancellationToken,
    /// `SOURCE_DATE_EPOCH`.
    epoch: Option<Epoch>,
    /// When its time is over.
    deadline: Option<Instant>,
}

/// What fetches the remote sources of `ADD`.
fn fetcher(store: &ImageStore, request: &BuildRequest) -> Fetcher {
    let agent = request.ssh.get("default").and_then(|paths| paths.first());
    Fetcher::new(
        store.cache_dir().join("build/downloads"),
        store.scratch_dir(),
        request.ca_bundle.clone(),
        agent.cloned(),
        !request.no_cache,
    )
}

/// A step: its instruction, where it stands, and how it is shown.
#[derive(Clone, Copy)]
struct At<'a> {
    stage: usize,
    instruction: &'a Instruction,
    place: &'a Place,
    step: &'a Step<'a>,
}

/// Where a step is in the Dockerfile, for its errors.
#[derive(Clone, Debug)]
struct Place(Box<Location>);

impl Place {
    fn problem(&self, problem: Problem) -> BuildError {
        BuildError::Dockerfile {
            location: self.0.clone(),
            problem: problem.problem,
            hint: problem.hint,
        }
    }

    fn failed(&self, action: &str) -> impl FnOnce(StepError) -> BuildError {
        let (location, action) = (self.0.clone(), action.to_owned());
        move |source| BuildError::Step {
            location,
            action,
            source: Box::new(source),
        }
    }
}

impl<'a> Builder<'a> {
    fn with_plan<'b>(self, plan: &'b Plan) -> Builder<'b>
    where
        'a: 'b,
    {
        Builder { plan, ..self }
    }
}

impl Builder<'_> {
    /// Carries out one instruction. Those that make no layer are no steps.
    async fn instruction(
        &self,
        stage: usize,
        state: &mut State,
        instruction: &Instruction,
        number: &mut steps::Numbering,
    ) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() {
            return Err(BuildError::Canceled);
        }
        let place = self.place(instruction.line, &instruction.text);
        if !makes_layer(&instruction.kind) {
            // Warnings have been given before the first step.
            return settings(self.scope(), state, instruction, &mut Linter::default())
                .map_err(|problem| place.problem(problem));
        }
        let named = self.plan.named_by(instruction, stage);
        for origin in named.map_err(|problem| place.problem(problem))? {
            // Waiting for another stage is no part of the step.
            if let Origin::Stage(stage) = origin {
                self.finished.wait(stage, &self.cancel).await?;
            }
        }
        let shown = if instruction.is_trigger {
            format!("ONBUILD {}", instruction.text)
        } else {
            instruction.text.clone()
        };
        let step = self.steps.start(number.next(&shown));
        let at = At {
            stage,
            instruction,
            place: &place,
            step: &step,
        };
        let cached = match &instruction.kind {
            Kind::Run(run) => self.run_step(state, run, at).await,
            Kind::Copy(copy) | Kind::Add(copy) => self.copy_step(state, copy, at).await,
            Kind::Workdir(path) => self.workdir_step(state, path, at).await,
            _ => Ok(true),
        };
        step.end(&cached);
        cached.map(drop)
    }

    fn place(&self, line: usize, text: &str) -> Place {
        Place(Box::new(Location {
            path: self.request.dockerfile.clone(),
            line,
            text: first_line(text).to_owned(),
            excerpt: String::new(),
        }))
    }

    /// Makes the image of the target's layers and settings, and names it.
    async fn export(&self, target: usize) -> Result<Image, BuildError> {
        let step = self.steps.start(EXPORT_STEP.to_owned());
        let mut state = self
            .finished
            .wait(target, &self.cancel)
            .await?
            .as_ref()
            .clone();
        for (name, value) in &self.request.labels {
            state.label(name, Value::from(value.as_str()));
        }
        let (store, tags, epoch) = (self.store.clone(), self.request.tags.clone(), self.epoch);
        let result = blocking(move || {
            let image = state.store(&store, epoch)?;
            for tag in &tags {
                store.tag(&image, tag)?;
            }
            sweep_sometimes(&store);
            Ok(image)
        })
        .await;
        let result = result.map_err(|error| match error {
            StepError::Image(source) => BuildError::Store(Box::new(source)),
            other => BuildError::Export(Box::new(other)),
        });
        if let Ok(image) = &result {
            step.line(format!("writing image {}", image.id));
            for tag in &self.request.tags {
                step.line(format!("naming to {tag}"));
            }
        }
        step.end(&result.as_ref().map(|_| false).map_err(ToString::to_string));
        result
    }

    /// What instructions are evaluated in.
    fn scope(&self) -> Scope<'_> {
        Scope {
            plan: self.plan,
            args: &self.request.args,
        }
    }

    /// Makes a layer of what is in a writable directory.
    async fn commit(&self, writable: Writable) -> Result<Record, StepError> {
        let (store, epoch) = (self.store.clone(), self.epoch);
        blocking(move || commit(&store, &writable, epoch)).await
    }
}

/// Whether an instruction is a step of its own, as BuildKit counts them.
fn makes_layer(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_)
    )
}

/// Makes a layer of what is in a writable directory; files are moved and hashed, so it blocks.
fn commit(
    store: &ImageStore,
    writable: &Writable,
    epoch: Option<Epoch>,
) -> Result<Record, StepError> {
    let upper = writable.upper();
    if let Some(epoch) = epoch {
        epoch.clamp_times(&upper)?;
    }
    let layer: Option<Layer> = store.add_layer(&upper)?;
    Ok(Record::now(layer))
}

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StepError::Io(std::io::Error::other(error))),
    }
}
