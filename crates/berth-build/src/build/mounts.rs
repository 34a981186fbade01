//! `RUN --mount`: what each mount is worth to the cache's key, and its host side.
//!
//! A mount of the context is a copy of what `.dockerignore` leaves of it, made when the step is carried
//! out: ids are those of an image, and nothing that the command does reaches the user's files. Secrets
//! and agents are in no key and in no layer.

use std::path::PathBuf;
use std::sync::Arc;

use berth_image::{Digest, Root};
use berth_jail::{ExtraFile, Mount, MountSource, OverlayMount, Rootfs};

use super::tree::{Failed, Tree};
use super::{At, Builder, agent};
use crate::Secret;
use crate::bounds::Room;
use crate::cache::{Attempt, Claim, Key};
use crate::context::ignore::clean;
use crate::copy::{CopyPlan, Writer};
use crate::dockerfile::Run;
use crate::dockerfile::mount::{Owner, RunMount, RunMountKind, Sharing};
use crate::error::{BuildError, Problem, StepError};
use crate::evaluate::mounts;
use crate::lint::Linter;
use crate::run::PlannedMount;
use crate::state::State;
use crate::view::{Writable, lower};

/// Largest secret, as in BuildKit.
const MAX_SECRET: usize = 500 * 1024;

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

    /// What stands for the files of a bind mount, which must exist, and whether it is a directory.
    async fn content(
        &self,
        tree: &Tree,
        source: &str,
        at: At<'_>,
    ) -> Result<(String, bool), BuildError> {
        let (store, tree, source) = (self.store.clone(), tree.clone(), PathBuf::from(source));
        self.files(at.place, move || {
            let opened = tree.open(&store)?;
            if let (Some(identity), Tree::Layers { name, .. }) = (tree.identity(), &tree) {
                let path = source.to_string_lossy();
                let path = path.trim_matches('/');
                let flags = rustix::fs::OFlags::PATH;
                let Some(found) = opened.root.open_any(path.as_bytes(), flags)? else {
                    let problem = format!("`{path}` is not in {name}");
                    return Err(Failed::Problem(Problem::new(problem)));
                };
                let stat = rustix::fs::fstat(&found).map_err(std::io::Error::from)?;
                return Ok((identity.to_string(), is_directory(&stat)));
            }
            let selection = tree.select(&opened.root, |sources| {
                sources.exactly(&source, &source.to_string_lossy(), &[])
            })?;
            let mut key = Key::new("mount", &[]);
            tree.add_content(&mut key, &opened.root, &selection)?;
            let first = selection
                .groups
                .first()
                .and_then(|group| group.items.first());
            let is_directory = first.is_some_and(|item| is_directory(&item.stat));
            Ok((key.finish().to_string(), is_directory))
        })
        .await
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

    /// A copy of a part of the context.
    async fn copy_of(
        &self,
        tree: Tree,
        source: &str,
        ready: &mut Ready,
        at: At<'_>,
    ) -> Result<MountSource, BuildError> {
        let (store, source) = (self.store.clone(), PathBuf::from(source));
        let bounds = self.request.bounds;
        let writable = self
            .files(at.place, move || {
                let opened = tree.open(&store)?;
                let selection = tree.select(&opened.root, |sources| {
                    sources.exactly(&source, &source.to_string_lossy(), &[])
                })?;
                let writable = Writable::new(&store)?;
                let mut target = Root::open(&writable.upper())?;
                let plan = CopyPlan {
                    destination: "/part".to_owned(),
                    ..CopyPlan::default()
                };
                let room = Room {
                    bounds,
                    store: &store,
                };
                let mut writer = Writer::new(&plan, &mut target, None, room);
                writer.groups(&opened.root, &selection.groups, false)?;
                writer.finish();
                Ok(writable)
            })
            .await?;
        let path = writable.upper().join("part");
        ready.guards.push(Guard::Directory {
            _writable: Arc::new(writable),
        });
        Ok(MountSource::Bind(path))
    }

    fn layers(
        &self,
        layers: &[berth_image::Layer],
        path: String,
        ready: &mut Ready,
        at: At<'_>,
    ) -> Result<MountSource, BuildError> {
        let failed = |error| at.place.failed("the mount cannot be made")(error);
        let writable = Writable::new(self.store).map_err(failed)?;
        let place = writable.place().map_err(failed)?;
        let rootfs = Rootfs {
            lower: lower(self.store, layers),
            upper: writable.upper(),
            work: writable.work(),
            read_only: false,
        };
        ready.guards.push(Guard::Directory {
            _writable: Arc::new(writable),
        });
        Ok(MountSource::Overlay(OverlayMount {
            rootfs,
            at: place,
            path,
        }))
    }

    /// The directory of a cache, ours for as long as its sharing asks.
    async fn cache_mount(
        &self,
        mount: &RunMount,
        tree: Option<Tree>,
        ready: &mut Ready,
        at: At<'_>,
    ) -> Result<PathBuf, BuildError> {
        let RunMountKind::Cache {
            id,
            source,
            sharing,
            owner,
            ..
        } = &mount.kind
        else {
            return Err(at.place.problem(Problem::new("no cache")));
        };
        let failed = |error| at.place.failed("the cache cannot be used")(StepError::Io(error));
        let namespace = self.request.args.get("BUILDKIT_CACHE_MOUNT_NS");
        let mut name = format!(
            "{}/{}",
            namespace.map_or("", String::as_str),
            id.as_deref().unwrap_or(&mount.target)
        );
        // Another beginning makes another cache, as in BuildKit.
        let begins = tree.as_ref().and_then(Tree::identity);
        if begins.is_some() || *owner != Owner::default() {
            let begins = begins.as_ref().map_or("", Digest::as_str);
            name = format!("{name}\0{begins}\0{source}\0{owner:?}");
        }
        let mut number = 0;
        let directory = loop {
            let slot = match number {
                0 => name.clone(),
                _ => format!("{name}\0{number}"),
            };
            let (directory, lock) = self.cache.mount(&slot).map_err(failed)?;
            match sharing {
                Sharing::Shared => break directory,
                Sharing::Locked => {
                    let claim = self.claim_cache(&lock, at).await?;
                    ready.guards.push(Guard::Cache { _claim: claim });
                    break directory;
                }
                Sharing::Private => {
                    if let Some(claim) = Claim::try_take(&lock).map_err(failed)? {
                        ready.guards.push(Guard::Cache { _claim: claim });
                        break directory;
                    }
                    number += 1;
                }
            }
        };
        let (store, wanted) = (self.store.clone(), directory.clone());
        let (source, owner) = (PathBuf::from(source), *owner);
        let bounds = self.request.bounds;
        self.files(at.place, move || {
            let room = Room {
                bounds,
                store: &store,
            };
            make_cache(room, &wanted, tree.as_ref(), &source, owner)
        })
        .await?;
        Ok(directory)
    }

    async fn claim_cache(&self, lock: &std::path::Path, at: At<'_>) -> Result<Claim, BuildError> {
        let failed = |error| at.place.failed("the cache cannot be used")(StepError::Io(error));
        if let Some(parent) = lock.parent() {
            fs_err::create_dir_all(parent).map_err(failed)?;
        }
        match Claim::take(lock).map_err(failed)? {
            Attempt::Taken(claim) => Ok(claim),
            Attempt::Waiting(claim) => {
                at.step
                    .line("waiting for another step that uses the cache".to_owned());
                let claim = tokio::select! {
                    claim = claim => claim,
                    () = self.cancel.cancelled() => return Err(BuildError::Canceled),
                };
                let gone = |_| std::io::Error::other("nobody waits for the cache any more");
                claim.map_err(gone).and_then(|claim| claim).map_err(failed)
            }
        }
    }

    fn secret(&self, mount: &RunMount, ready: &mut Ready, at: At<'_>) -> Result<(), BuildError> {
        let RunMountKind::Secret {
            id,
            env,
            required,
            owner,
        } = &mount.kind
        else {
            return Ok(());
        };
        let content = match self.request.secrets.get(id) {
            Some(Secret::Value(value)) => value.clone(),
            Some(Secret::File(path)) => fs_err::read(path).map_err(|error| {
                let action = format!("the secret `{id}` cannot be read");
                at.place.failed(&action)(StepError::Io(error))
            })?,
            None if *required => {
                let problem = Problem::new(format!("the secret `{id}` is required"));
                let hint = format!(
                    "give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"
                );
                return Err(at.place.problem(problem.hint(hint)));
            }
            None => return Ok(()),
        };
        if content.len() > MAX_SECRET {
            let problem = format!("the secret `{id}` has more than {MAX_SECRET} bytes");
            return Err(at.place.problem(Problem::new(problem)));
        }
        if let Some(name) = env {
            let value = String::from_utf8(content.clone()).ok();
            let value = value.filter(|value| !value.contains('\0')).ok_or_else(|| {
                let problem = Problem::new(format!("the secret `{id}` is no text"));
                at.place
                    .problem(problem.hint("mount it as a file: leave out `env`"))
            })?;
            ready.env.push(format!("{name}={value}"));
        }
        if !mount.target.is_empty() {
            ready.files.push(ExtraFile {
                path: mount.target.clone(),
                content,
                uid: owner.uid.unwrap_or(0),
                gid: owner.gid.unwrap_or(0),
                mode: owner.mode.unwrap_or(0o400),
            });
        }
        Ok(())
    }

    fn ssh(&self, mount: &RunMount, ready: &mut Ready, at: At<'_>) -> Result<(), BuildError> {
        let RunMountKind::Ssh {
            id,
            required,
            owner,
        } = &mount.kind
        else {
            return Ok(());
        };
        let socket = match self.request.ssh.get(id).map(Vec::as_slice) {
            Some([socket, ..]) => socket.clone(),
            _ if *required => {
                let problem = Problem::new(format!("an ssh agent `{id}` is required"));
                let hint = format!("forward yours with `--ssh {id}`, or `--ssh {id}=SOCKET`");
                return Err(at.place.problem(problem.hint(hint)));
            }
            _ => return Ok(()),
        };
        let failed =
            |error| at.place.failed("the ssh agent cannot be forwarded")(StepError::Io(error));
        let agent = agent::Agent::forward(self.store, socket, *owner).map_err(failed)?;
        let number = ready
            .guards
            .iter()
            .filter(|guard| matches!(guard, Guard::Agent { .. }))
            .count();
        let target = match mount.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{number}"),
            target => target.to_owned(),
        };
        if number == 0 {
            ready.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        ready.mounts.push(PlannedMount {
            mount: Mount {
                target,
                source: MountSource::Bind(agent.socket()),
                read_only: false,
            },
            is_directory: false,
        });
        ready.guards.push(Guard::Agent { _agent: agent });
        Ok(())
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

/// Makes a cache's directory if it does not exist, whole or not at all. As in BuildKit one that begins
/// with a directory of a stage has that one's owner and mode, whatever the mount says; one that begins
/// with all of a stage is empty if the mount says whose it is.
fn make_cache(
    room: Room<'_>,
    directory: &std::path::Path,
    tree: Option<&Tree>,
    source: &std::path::Path,
    owner: Owner,
) -> Result<(), Failed> {
    if directory.is_dir() {
        return Ok(());
    }
    let store = room.store;
    let writable = Writable::new(store)?;
    let new = writable.upper();
    let (mut uid, mut gid) = (owner.uid.unwrap_or(0), owner.gid.unwrap_or(0));
    let mut mode = owner.mode.unwrap_or(0o755);
    let is_everything = clean(&format!("/{}", source.display())) == "/";
    if let Some(tree) = tree.filter(|_| !is_everything || owner == Owner::default()) {
        let opened = tree.open(store)?;
        let selection = tree.select(&opened.root, |sources| {
            sources.exactly(source, &source.to_string_lossy(), &[])
        })?;
        let mut target = Root::open(&new)?;
        let plan = CopyPlan {
            destination: "/".to_owned(),
            keep_owner: true,
            ..CopyPlan::default()
        };
        let mut writer = Writer::new(&plan, &mut target, None, room);
        writer.groups(&opened.root, &selection.groups, false)?;
        writer.finish();
        let first = selection
            .groups
            .iter()
            .find_map(|group| group.items.first());
        if let Some(first) = first.filter(|first| is_directory(&first.stat)) {
            (uid, gid) = (first.stat.st_uid, first.stat.st_gid);
            mode = first.stat.st_mode & 0o7777;
        }
    }
    std::os::unix::fs::chown(&new, Some(uid), Some(gid))?;
    fs_err::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    if let Some(parent) = directory.parent() {
        fs_err::create_dir_all(parent)?;
    }
    match std::fs::rename(&new, directory) {
        Ok(()) => Ok(()),
        // Somebody else was faster.
        Err(_) if directory.is_dir() => Ok(()),
        Err(error) => Err(error.into()),
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
