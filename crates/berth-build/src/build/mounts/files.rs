//! `RUN --mount=type=bind`: a part of the context, or the files of a stage or image.

use std::path::PathBuf;
use std::sync::Arc;

use berth_image::Root;
use berth_jail::{MountSource, OverlayMount, Rootfs};

use super::super::tree::{Failed, Tree};
use super::super::{At, Builder};
use super::{Guard, Ready, is_directory};
use crate::bounds::Room;
use crate::cache::Key;
use crate::copy::{CopyPlan, Writer};
use crate::error::{BuildError, Problem};
use crate::view::{Writable, lower};

impl Builder<'_> {
    /// What stands for the files of a bind mount, which must exist, and whether it is a directory.
    pub(super) async fn content(
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

    /// A copy of a part of the context.
    pub(super) async fn copy_of(
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

    pub(super) fn layers(
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
}
