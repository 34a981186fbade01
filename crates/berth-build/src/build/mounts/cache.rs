//! `RUN --mount=type=cache`: directories that stay between builds.

use std::path::PathBuf;

use berth_image::{Digest, Root};

use super::super::tree::{Failed, Tree};
use super::super::{At, Builder};
use super::{Guard, Ready, is_directory};
use crate::bounds::Room;
use crate::cache::{Attempt, Claim};
use crate::context::ignore::clean;
use crate::copy::{CopyPlan, Writer};
use crate::dockerfile::mount::{Owner, RunMount, RunMountKind, Sharing};
use crate::error::{BuildError, Problem, StepError};
use crate::view::Writable;

impl Builder<'_> {
    /// The directory of a cache, ours for as long as its sharing asks.
    pub(super) async fn cache_mount(
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
