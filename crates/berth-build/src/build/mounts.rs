//! `RUN --mount`: what each mount is worth to the cache's key, and its host side.
//!
//! A mount of the context is a copy of what `.dockerignore` leaves of it, made when the step is carried
//! out: ids are those of an image, and nothing that the command does reaches the user's files. Secrets
//! and agents are in no key and in no layer.

mod cache;
mod files;
mod secrets;

use std::sync::Arc;

use berth_jail::{ExtraFile, Mount, MountSource};

use super::tree::Tree;
use super::{At, Builder, agent};
use crate::cache::Claim;
use crate::dockerfile::Run;
use crate::dockerfile::mount::{RunMount, RunMountKind};
use crate::error::BuildError;
use crate::evaluate::mounts;
use crate::lint::Linter;
use crate::run::PlannedMount;
use crate::state::State;
use crate::view::Writable;

/// The mounts of a step, sources known.
pub(super) struct Wanted {
    /// What the step's result depends on.
    pub(super) key: Vec<String>,
    mounts: Vec<(RunMount, Option<Tree>, bool)>,
}

/// The host side of a step's mounts.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) mounts: Vec<PlannedMount>,
    pub(super) files: Vec<ExtraFile>,
    /// `NAME=value`.
    pub(super) env: Vec<String>,
    /// What must stay until the command has ended.
    guards: Vec<Guard>,
}

/// Released when it is dropped.
enum Guard {
    Cache { _claim: Claim },
    Directory { _writable: Arc<Writable> },
    Agent { _agent: agent::Agent },
}

impl Builder<'_> {
    /// Understands a step's mounts.
    pub(super) async fn wanted(
        &self,
        state: &State,
        run: &Run,
        at: At<'_>,
    ) -> Result<Wanted, BuildError> {
        let scope = self.scope();
        let found = mounts(scope, state, at.instruction, run, &mut Linter::default());
        let mut wanted = Wanted {
            key: Vec::new(),
            mounts: Vec::new(),
        };
        for mount in found.map_err(|problem| at.place.problem(problem))? {
            let from = match &mount.kind {
                RunMountKind::Bind { from, .. } => Some(from.as_deref()),
                RunMountKind::Cache {
                    from: Some(from), ..
                } => Some(Some(from.as_str())),
                _ => None,
            };
            let tree = match from {
                Some(from) => Some(self.tree(from, at.stage, at.place).await?),
                None => None,
            };
            let (content, is_directory) = match (&mount.kind, &tree) {
                (RunMountKind::Bind { source, .. }, Some(tree)) => {
                    self.content(tree, source, at).await?
                }
                _ => (String::new(), true),
            };
            // Owners and all: but not what is in a cache, nor any secret.
            wanted.key.push(format!("{mount:?} {content}"));
            wanted.mounts.push((mount, tree, is_directory));
        }
        Ok(wanted)
    }

    /// Makes the host side of the mounts. Waits for caches that are in use.
    pub(super) async fn ready(&self, wanted: Wanted, at: At<'_>) -> Result<Ready, BuildError> {
        let mut ready = Ready::default();
        for (mount, tree, is_directory) in wanted.mounts {
            match (mount.kind.clone(), tree) {
                (RunMountKind::Bind { source, .. }, Some(tree)) => {
                    let source = match tree {
                        Tree::Context { .. } => self.copy_of(tree, &source, &mut ready, at).await?,
                        Tree::Layers { layers, .. } => {
                            self.layers(&layers, source, &mut ready, at)?
                        }
                    };
                    ready.mount(&mount, source, is_directory);
                }
                (RunMountKind::Cache { .. }, tree) => {
                    let directory = self.cache_mount(&mount, tree, &mut ready, at).await?;
                    ready.mount(&mount, MountSource::Bind(directory), true);
                }
                (RunMountKind::Tmpfs { size }, _) => {
                    let size = size.unwrap_or_else(half_of_memory);
                    ready.mount(&mount, MountSource::Tmpfs(size), true);
                }
                (RunMountKind::Secret { .. }, _) => self.secret(&mount, &mut ready, at)?,
                (RunMountKind::Ssh { .. }, _) => self.ssh(&mount, &mut ready, at)?,
                (RunMountKind::Bind { .. }, None) => {}
            }
        }
        Ok(ready)
    }
}

impl Ready {
    fn mount(&mut self, mount: &RunMount, source: MountSource, is_directory: bool) {
        self.mounts.push(PlannedMount {
            mount: Mount {
                target: mount.target.clone(),
                source,
                read_only: mount.read_only,
            },
            is_directory,
        });
    }
}

fn is_directory(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
}

/// What the kernel gives a tmpfs without a size.
fn half_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram * u64::from(info.mem_unit) / 2
}
