//! Carrying a build out: the needed stages in the order of the file, instruction by instruction.

mod copy_step;
mod metadata;
mod run_step;
mod workdir;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use berth_image::{Image, ImageError, ImageStore, Layer};
use berth_jail::Zygote;

use crate::cache::{Cache, Record};
use crate::context::{Context, io};
use crate::dockerfile::{Instruction, Kind, parse, parse_trigger};
use crate::error::{BuildError, Location, Problem, StepError, first_line};
use crate::stages::{Base, Plan};
use crate::state::State;
use crate::view::Writable;
use crate::{BuildEvent, BuildRequest};

/// The images that a build of the default target takes from the store, so that the caller can provide
/// them first.
pub fn base_images(
    dockerfile: &Path,
    args: &BTreeMap<String, String>,
) -> Result<Vec<String>, BuildError> {
    let plan = plan(dockerfile, args)?;
    let images = || {
        let needed = plan.needed(plan.target(None)?)?;
        plan.images(&needed)
    };
    images().map_err(|problem| problem.in_file(dockerfile))
}

/// Builds a Dockerfile into the store.
///
/// Dropping the future ends the build: its sandbox is killed and unfinished layers are removed.
pub async fn build(
    store: &ImageStore,
    zygote: &Zygote,
    request: &BuildRequest,
    progress: &(dyn Fn(BuildEvent) + Send + Sync),
) -> Result<Image, BuildError> {
    let plan = plan(&request.dockerfile, &request.args)?;
    let in_file = |problem: Problem| problem.in_file(&request.dockerfile);
    let target = plan.target(request.target.as_deref()).map_err(in_file)?;
    let needed = plan.needed(target).map_err(in_file)?;
    let context = Context::open(&request.context, &request.dockerfile)?;
    let mut builder = Builder {
        store,
        zygote,
        request,
        progress,
        cache: Cache::new(store, request.no_cache),
        context,
        total: needed
            .iter()
            .map(|stage| 1 + plan.stages[*stage].instructions.len())
            .sum(),
        step: 0,
        finished: BTreeMap::new(),
        used_args: BTreeSet::new(),
        plan: &plan,
    };
    for stage in needed {
        builder.stage(stage).await?;
    }
    builder.warn_of_unused_args();
    let state = builder.finished.remove(&target).unwrap_or_default();
    let image = state
        .store(store)
        .map_err(|error| BuildError::Store(Box::new(error)))?;
    for tag in &request.tags {
        store
            .tag(&image, tag)
            .map_err(|error| BuildError::Store(Box::new(error)))?;
    }
    Ok(image)
}

fn plan(dockerfile: &Path, args: &BTreeMap<String, String>) -> Result<Plan, BuildError> {
    let text = fs_err::read_to_string(dockerfile).map_err(io("read the Dockerfile", dockerfile))?;
    parse(&text)
        .and_then(|parsed| Plan::new(parsed, args))
        .map_err(|problem| problem.in_file(dockerfile))
}

struct Builder<'a> {
    store: &'a ImageStore,
    zygote: &'a Zygote,
    request: &'a BuildRequest,
    progress: &'a (dyn Fn(BuildEvent) + Send + Sync),
    plan: &'a Plan,
    cache: Cache,
    context: Context,
    step: usize,
    total: usize,
    finished: BTreeMap<usize, State>,
    /// `--build-arg`s that some `ARG` asked for.
    used_args: BTreeSet<String>,
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

impl Builder<'_> {
    async fn stage(&mut self, index: usize) -> Result<(), BuildError> {
        let plan = self.plan;
        let stage = &plan.stages[index];
        let place = self.place(stage.line, &stage.text);
        self.started(&stage.text);
        let mut state = match &stage.base {
            Base::Scratch => State::default(),
            Base::Stage(base) => self
                .finished
                .get(base)
                .map(State::from_stage)
                .unwrap_or_default(),
            Base::Image(image) => {
                let image = self.base(image, &place)?;
                State::from_image(self.store, &image)
                    .map_err(|error| place.failed("the base image cannot be read")(error.into()))?
            }
        };
        self.ended(true);
        let triggers = state.take_triggers();
        self.total += triggers.len();
        for trigger in triggers {
            let instruction =
                parse_trigger(&trigger, stage.line).map_err(|problem| place.problem(problem))?;
            self.instruction(index, &mut state, &instruction).await?;
        }
        for instruction in &stage.instructions {
            self.instruction(index, &mut state, instruction).await?;
        }
        self.finished.insert(index, state);
        Ok(())
    }

    /// An image of the store.
    fn base(&self, name: &str, place: &Place) -> Result<Image, BuildError> {
        match self.store.resolve(name) {
            Ok(Some(image)) => Ok(image),
            Ok(None) => Err(BuildError::MissingBase {
                location: place.0.clone(),
                image: name.to_owned(),
            }),
            Err(error @ ImageError::InvalidReference { .. }) => {
                Err(place.problem(Problem::new(error.to_string())))
            }
            Err(error) => Err(place.failed(&format!("image `{name}` cannot be read"))(
                error.into(),
            )),
        }
    }

    async fn instruction(
        &mut self,
        stage: usize,
        state: &mut State,
        instruction: &Instruction,
    ) -> Result<(), BuildError> {
        let place = self.place(instruction.line, &instruction.text);
        self.started(&instruction.text);
        let cached = match &instruction.kind {
            Kind::Run(run) => self.run_step(state, run, &instruction.text, &place).await?,
            Kind::Copy(copy) | Kind::Add(copy) => {
                let is_add = matches!(instruction.kind, Kind::Add(_));
                self.copy_step(stage, state, copy, is_add, &instruction.text, &place)
                    .await?
            }
            Kind::Workdir(path) => {
                self.workdir_step(state, path, &instruction.text, &place)
                    .await?
            }
            _ => {
                self.metadata(state, instruction)
                    .map_err(|problem| place.problem(problem))?;
                true
            }
        };
        self.ended(cached);
        Ok(())
    }

    fn place(&self, line: usize, text: &str) -> Place {
        Place(Box::new(Location {
            path: self.request.dockerfile.clone(),
            line,
            text: first_line(text).to_owned(),
        }))
    }

    fn started(&mut self, text: &str) {
        self.step += 1;
        (self.progress)(BuildEvent::StepStarted {
            step: self.step,
            total: self.total,
            text: text.to_owned(),
        });
    }

    fn ended(&self, cached: bool) {
        (self.progress)(BuildEvent::StepFinished {
            step: self.step,
            cached,
        });
    }

    fn warn_of_unused_args(&self) {
        for name in self.request.args.keys() {
            if !self.used_args.contains(name) && !run_step::is_predefined(name) {
                tracing::warn!(argument = %name, "no ARG of the Dockerfile asks for this build argument");
            }
        }
    }
}

/// Makes a layer of what is in a writable directory; files are moved and hashed, so it blocks.
async fn commit(store: &ImageStore, writable: Writable) -> Result<Record, StepError> {
    let store = store.clone();
    blocking(move || -> Result<Record, StepError> {
        let layer: Option<Layer> = store.add_layer(&writable.upper())?;
        Ok(Record::now(layer))
    })
    .await
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
