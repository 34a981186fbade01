//! `COPY` and `ADD`, with their cache.
//!
//! Files of the context are known by their content (with a memory of their digests). Files of a stage
//! or image are known by that tree as a whole first, which costs nothing, and by their content if that
//! misses, so that a rebuilt stage with the same result invalidates nothing.

use std::sync::Arc;

use berth_image::{Digest, Layer, Root};

use super::{Builder, Place, Step, blocking, commit};
use crate::cache::Key;
use crate::cache::stat::StatCache;
use crate::context::ignore::Ignore;
use crate::copy::{CopyPlan, SelectError, Selection, Sources, resolve_owner, write};
use crate::dockerfile::expand::{expand, expand_text};
use crate::dockerfile::{Copy, Heredoc, Result as Parsed};
use crate::error::{BuildError, Problem, StepError};
use crate::stages::Origin;
use crate::state::State;
use crate::view::{View, Writable};

/// Where the files come from, owned so that it can go to another thread.
enum Tree {
    Context {
        path: std::path::PathBuf,
        ignore: Ignore,
        known: std::path::PathBuf,
    },
    Layers {
        layers: Vec<Layer>,
        name: String,
    },
}

/// What can go wrong on that thread.
enum Failed {
    Problem(Problem),
    Step(StepError),
}

impl<E: Into<StepError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Step(error.into())
    }
}

/// A step whose files are known.
struct Found {
    root: Root,
    /// What the root is a view of, for as long as it is used.
    _view: Option<tempfile::TempDir>,
    selection: Selection,
    key: Digest,
}

impl Builder<'_> {
    /// Whether the result came from the cache.
    #[expect(
        clippy::too_many_arguments,
        reason = "an instruction and where it stands"
    )]
    pub(super) async fn copy_step(
        &self,
        stage: usize,
        state: &mut State,
        copy: &Copy,
        is_add: bool,
        text: &str,
        place: &Place,
        step: &Step<'_>,
    ) -> Result<bool, BuildError> {
        let plan = self
            .copy_plan(state, copy, is_add)
            .map_err(|problem| place.problem(problem))?;
        let plan = Arc::new(plan);
        let tree = self.tree(stage, copy, place).await?;
        let quick = tree.quick_key(&plan, &state.layers);
        if let Some(record) = quick.as_ref().and_then(|key| self.cache.find(key)) {
            state.add(&record, text);
            return Ok(true);
        }
        let (store, layers) = (self.store.clone(), state.layers.clone());
        let (wanted, below) = (plan.clone(), layers.clone());
        let found = self
            .files(place, move || {
                let (root, view) = tree.open(&store)?;
                let selection = tree.select(&root, &wanted)?;
                let key = tree.content_key(&wanted, &below, &root, &selection)?;
                Ok(Found {
                    root,
                    _view: view,
                    selection,
                    key,
                })
            })
            .await?;
        let key = found.key.clone();
        let (store, epoch) = (self.store.clone(), self.epoch);
        let make = self.files(place, move || {
            let writable = Writable::new(&store)?;
            let mut target = writable.mount(&store, &layers)?;
            let owner = match &plan.chown {
                Some(owner) => Some(resolve_owner(owner, &target).map_err(Failed::Problem)?),
                None => None,
            };
            write(&plan, &found.root, &found.selection, &mut target, owner)?;
            drop(target);
            Ok(commit(&store, &writable, epoch)?)
        });
        let (record, cached) = self.once(&[key], step, place, make).await?;
        if let Some(quick) = &quick {
            self.cache.keep(quick, &record);
        }
        state.add(&record, text);
        Ok(cached)
    }

    /// Blocking work with files that the step names.
    async fn files<T: Send + 'static>(
        &self,
        place: &Place,
        work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, BuildError> {
        let failed = || place.failed("the files could not be copied");
        match blocking(move || Ok(work())).await.map_err(failed())? {
            Ok(done) => Ok(done),
            Err(Failed::Problem(problem)) => Err(place.problem(problem)),
            Err(Failed::Step(error)) => Err(failed()(error)),
        }
    }

    fn copy_plan(&self, state: &State, copy: &Copy, is_add: bool) -> Parsed<CopyPlan> {
        let escape = self.plan.escape;
        let word = |text: &String| expand(text, escape, state);
        let sources = copy.sources.iter().map(word).collect::<Parsed<Vec<_>>>()?;
        if is_add && let Some(url) = sources.iter().find(|source| is_remote(source)) {
            return Err(
                Problem::new(format!("ADD from `{url}` is not supported yet"))
                    .hint("download it in a RUN step, or put it into the build context"),
            );
        }
        let destination = word(&copy.destination)?;
        if destination.is_empty() {
            return Err(Problem::new("the destination is empty"));
        }
        let heredocs = copy
            .heredocs
            .iter()
            .map(|heredoc| {
                let content = if heredoc.expand {
                    expand_text(&heredoc.content, escape, state)?
                } else {
                    heredoc.content.clone()
                };
                Ok(Heredoc {
                    content,
                    ..heredoc.clone()
                })
            })
            .collect::<Parsed<Vec<_>>>()?;
        Ok(CopyPlan {
            sources,
            heredocs,
            destination: state.absolute(&destination),
            chown: copy.chown.as_ref().map(word).transpose()?,
            chmod: copy
                .chmod
                .as_ref()
                .map(word)
                .transpose()?
                .map(|mode| parse_mode(&mode))
                .transpose()?,
            parents: copy.parents,
            exclude: copy.exclude.iter().map(word).collect::<Parsed<Vec<_>>>()?,
            unpack: is_add,
            keep_owner: copy.from.is_some(),
        })
    }

    async fn tree(&self, stage: usize, copy: &Copy, place: &Place) -> Result<Tree, BuildError> {
        let Some(from) = &copy.from else {
            return Ok(Tree::Context {
                path: self.context.path.clone(),
                ignore: self.context.ignore.clone(),
                known: self.cache.stat_path(&self.context.path),
            });
        };
        let origin = self
            .plan
            .origin(from, stage)
            .map_err(|problem| place.problem(problem))?;
        let layers = self.layers_of(origin, place).await?;
        Ok(Tree::Layers {
            layers,
            name: format!("`{from}`"),
        })
    }

    /// The layers that a `--from` means, when they are there.
    pub(super) async fn layers_of(
        &self,
        origin: Origin,
        place: &Place,
    ) -> Result<Vec<Layer>, BuildError> {
        Ok(match origin {
            Origin::Stage(index) => {
                let stage = self.finished.wait(index, &self.cancel).await?;
                stage.layers.clone()
            }
            Origin::Image(name) => {
                let shown = format!("FROM {name}");
                self.base(&name, shown, place).await?.layers
            }
        })
    }
}

impl Tree {
    /// A key that needs no look at the files.
    fn quick_key(&self, plan: &CopyPlan, below: &[Layer]) -> Option<Digest> {
        let Self::Layers { layers, .. } = self else {
            return None;
        };
        let mut key = plan.key(below);
        key.add("tree")
            .add(Key::new("tree", layers).finish().as_str());
        for text in plan.sources.iter().chain(&plan.exclude) {
            key.add(text);
        }
        Some(key.finish())
    }

    fn open(
        &self,
        store: &berth_image::ImageStore,
    ) -> Result<(Root, Option<tempfile::TempDir>), StepError> {
        match self {
            Self::Context { path, .. } => Ok((Root::open(path)?, None)),
            Self::Layers { layers, .. } => {
                let View { root, empty } = View::new(store, layers)?;
                Ok((root, Some(empty)))
            }
        }
    }

    fn select(&self, root: &Root, plan: &CopyPlan) -> Result<Selection, Failed> {
        let everything = Ignore::default();
        let sources = match self {
            Self::Context { ignore, .. } => Sources {
                root,
                ignore,
                name: "the build context".to_owned(),
            },
            Self::Layers { name, .. } => Sources {
                root,
                ignore: &everything,
                name: name.clone(),
            },
        };
        sources.select(plan).map_err(|error| match error {
            SelectError::Problem(problem) => Failed::Problem(problem),
            SelectError::Io(error) => Failed::Step(error.into()),
        })
    }

    fn content_key(
        &self,
        plan: &CopyPlan,
        below: &[Layer],
        root: &Root,
        selection: &Selection,
    ) -> std::io::Result<Digest> {
        let mut key = plan.key(below);
        key.add("files");
        match self {
            Self::Context { known, .. } => {
                let mut known = StatCache::load(known.clone());
                plan.add_files(&mut key, root, selection, Some(&mut known))?;
                known.save();
            }
            Self::Layers { .. } => plan.add_files(&mut key, root, selection, None)?,
        }
        Ok(key.finish())
    }
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ftp://"]
        .iter()
        .any(|scheme| source.starts_with(scheme))
}

fn parse_mode(text: &str) -> Parsed<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| {
            Problem::new(format!("`--chmod={text}` is no mode")).hint("for example `--chmod=755`")
        })
}
