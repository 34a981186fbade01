//! Where a step's files come from: the context, or the layers of a stage or image.

use berth_image::{Digest, Layer, Root};

use super::{Builder, Place, blocking};
use crate::cache::Key;
use crate::cache::stat::StatCache;
use crate::context::ignore::Ignore;
use crate::copy::{SelectError, Selection, Sources, add_files};
use crate::error::{BuildError, Problem, StepError};
use crate::stages::Origin;
use crate::view::View;

/// Owned, so that it can go to another thread.
#[derive(Clone, Debug)]
pub(super) enum Tree {
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

/// A tree that is open.
pub(super) struct Opened {
    pub(super) root: Root,
    /// What the root is a view of, for as long as it is used.
    _view: Option<tempfile::TempDir>,
}

/// What can go wrong on that thread.
pub(super) enum Failed {
    Problem(Problem),
    Step(StepError),
}

impl<E: Into<StepError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Step(error.into())
    }
}

impl From<SelectError> for Failed {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Problem(problem) => Self::Problem(problem),
            SelectError::Io(error) => Self::Step(error.into()),
        }
    }
}

impl Tree {
    /// What stands for the whole tree, if that needs no look at its files.
    pub(super) fn identity(&self) -> Option<Digest> {
        match self {
            Self::Context { .. } => None,
            Self::Layers { layers, .. } => Some(Key::new("tree", layers).finish()),
        }
    }

    pub(super) fn open(&self, store: &berth_image::ImageStore) -> Result<Opened, StepError> {
        Ok(match self {
            Self::Context { path, .. } => Opened {
                root: Root::open(path)?,
                _view: None,
            },
            Self::Layers { layers, .. } => {
                let View { root, empty } = View::new(store, layers)?;
                Opened {
                    root,
                    _view: Some(empty),
                }
            }
        })
    }

    /// Selects files of the opened tree.
    pub(super) fn select<T>(
        &self,
        root: &Root,
        select: impl FnOnce(&Sources<'_>) -> Result<T, SelectError>,
    ) -> Result<T, Failed> {
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
        Ok(select(&sources)?)
    }

    /// Adds selected files to a key, by content.
    pub(super) fn add_content(
        &self,
        key: &mut Key,
        root: &Root,
        selection: &Selection,
    ) -> std::io::Result<()> {
        key.add("files");
        match self {
            Self::Context { known, .. } => {
                let mut known = StatCache::load(known.clone());
                add_files(key, root, selection, false, Some(&mut known))?;
                known.save();
                Ok(())
            }
            Self::Layers { .. } => add_files(key, root, selection, true, None),
        }
    }
}

impl Builder<'_> {
    /// The tree that `from` means in a stage; the context if there is none. Waits for stages.
    pub(super) async fn tree(
        &self,
        from: Option<&str>,
        stage: usize,
        place: &Place,
    ) -> Result<Tree, BuildError> {
        let Some(from) = from else {
            return Ok(Tree::Context {
                path: self.context.path.clone(),
                ignore: self.context.ignore.clone(),
                known: self.cache.stat_path(&self.context.path),
            });
        };
        let origin = self.plan.origin(from, stage);
        let origin = origin.map_err(|problem| place.problem(problem))?;
        let layers = match origin {
            Origin::Scratch => Vec::new(),
            Origin::Stage(index) => {
                let stage = self.finished.wait(index, &self.cancel).await?;
                stage.layers.clone()
            }
            Origin::Image(name) => {
                let shown = format!("FROM {name}");
                self.base(&name, shown, place).await?.layers
            }
        };
        Ok(Tree::Layers {
            layers,
            name: format!("`{from}`"),
        })
    }

    /// Blocking work with files that a step names.
    pub(super) async fn files<T: Send + 'static>(
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
}
