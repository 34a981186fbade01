//! `COPY` and `ADD`, with their cache.
//!
//! Files of the context are known by their content (with a memory of their digests). Files of a stage
//! or image are known by that tree as a whole first, which costs nothing, and by their content if that
//! misses, so that a rebuilt stage with the same result invalidates nothing. Downloads are known by
//! what the server says of them.
//!
//! A directory of the context that was copied before is not copied as a whole again: see [`Reuse`].

use std::path::PathBuf;
use std::sync::Arc;

use berth_image::{Digest, Layer};

use super::tree::{Failed, Opened, Tree};
use super::{At, Builder, commit};
use crate::bounds::Room;
use crate::cache::{Cache, Former};
use crate::copy::{CopyPlan, ItemKind, Reuse, Selection, Writer, resolve_owner};
use crate::dockerfile::{Copy, Kind};
use crate::error::BuildError;
use crate::evaluate::{copy_history, copy_plan};
use crate::lint::Linter;
use crate::remote::Resolved;
use crate::state::State;
use crate::view::Writable;

/// A step whose files are known.
struct Found {
    opened: Opened,
    selection: Selection,
    key: Digest,
    /// The context, if the files come from it.
    context: Option<PathBuf>,
}

impl Found {
    /// Where to note what a step makes that copies nothing but one directory of the context.
    fn notes(&self, plan: &CopyPlan, cache: &Cache) -> Option<PathBuf> {
        let context = self.context.as_ref()?;
        let [group] = self.selection.groups.as_slice() else {
            return None;
        };
        let is_directory = group.items.first()?.kind == ItemKind::Directory;
        let is_all = plan.remote.is_empty() && plan.heredocs.is_empty();
        (is_directory && is_all).then(|| cache.copy_path(&plan.place(context)))
    }
}

impl Builder<'_> {
    /// Whether the result came from the cache.
    pub(super) async fn copy_step(
        &self,
        state: &mut State,
        copy: &Copy,
        at: At<'_>,
    ) -> Result<bool, BuildError> {
        let (place, step) = (at.place, at.step);
        let is_add = matches!(at.instruction.kind, Kind::Add(_));
        let plan = copy_plan(
            self.scope(),
            state,
            at.instruction,
            copy,
            is_add,
            &mut Linter::default(),
        )
        .map_err(|problem| place.problem(problem))?;
        let line = copy_history(&plan, copy);
        let plan = Arc::new(plan);
        let tree = self.tree(copy.from.as_deref(), at.stage, place).await?;
        let below = state.layers.clone();
        let quick = quick_key(&tree, &plan, &below);
        if let Some(record) = quick.as_ref().and_then(|key| self.cache.find(key)) {
            state.add(&record, &line);
            return Ok(true);
        }
        let remotes = Box::pin(self.remotes(&plan, at)).await?;
        let found = self.find(tree, &plan, below, &remotes, at).await?;
        for source in &found.selection.unmatched {
            step.line(format!("`{source}` matches nothing"));
        }
        let key = found.key.clone();
        let notes = found.notes(&plan, &self.cache);
        let cache = self.cache.clone();
        let layers = state.layers.clone();
        let make = async {
            let remotes = Box::pin(self.download(remotes, at)).await?;
            let (store, epoch, bounds) = (self.store.clone(), self.epoch, self.request.bounds);
            let write = self.files(place, move || {
                let writable = Writable::new(&store)?;
                let mut target = writable.mount(&store, &layers)?;
                let owner = plan.chown.as_deref();
                let owner = owner.map(|owner| resolve_owner(owner, &target));
                let owner = owner.transpose().map_err(Failed::Problem)?;
                let room = Room {
                    bounds,
                    store: &store,
                };
                let mut writer = Writer::new(&plan, &mut target, owner, room);
                if let Some(path) = &notes {
                    let former = cache.former(path);
                    writer.reuse(Reuse::new(&store, former, epoch)?);
                }
                for (index, _) in plan.sources.iter().enumerate() {
                    match remotes.iter().find(|(remote, _)| *remote == index) {
                        Some((_, files)) => files.write(&plan, &mut writer)?,
                        None => {
                            let groups = found.selection.of_source(index);
                            writer.groups(&found.opened.root, groups, plan.unpacks())?;
                        }
                    }
                }
                writer.heredocs()?;
                let links = writer.finish();
                drop(target);
                let files = links.map(|links| links.place(&writable.upper()));
                let files = files.transpose()?;
                let record = commit(&store, &writable, epoch)?;
                if let (Some(path), Some(files), Some(layer)) = (notes, files, &record.layer) {
                    Former::save(&path, layer, &files);
                }
                Ok(record)
            });
            write.await
        };
        let (record, cached) = self.once(&[key], step, place, Box::pin(make)).await?;
        if let Some(quick) = &quick {
            self.cache.keep(quick, &record);
        }
        state.add(&record, &line);
        Ok(cached)
    }

    /// Selects the local files and makes the key of the step.
    async fn find(
        &self,
        tree: Tree,
        plan: &Arc<CopyPlan>,
        below: Vec<Layer>,
        remotes: &[(usize, Resolved)],
        at: At<'_>,
    ) -> Result<Found, BuildError> {
        let identities: Vec<(usize, String)> = remotes
            .iter()
            .map(|(index, remote)| (*index, remote.identity.clone()))
            .collect();
        let (store, plan) = (self.store.clone(), plan.clone());
        self.files(at.place, move || {
            let opened = tree.open(&store)?;
            let selection = tree.select(&opened.root, |sources| sources.select(&plan))?;
            let mut key = plan.key(&below);
            tree.add_content(&mut key, &opened.root, &selection)?;
            for (index, identity) in identities {
                key.add("remote").add(index.to_le_bytes()).add(identity);
            }
            let context = match tree {
                Tree::Context { path, .. } => Some(path),
                Tree::Layers { .. } => None,
            };
            Ok(Found {
                context,
                opened,
                selection,
                key: key.finish(),
            })
        })
        .await
    }
}

/// A key that needs no look at the files.
fn quick_key(tree: &Tree, plan: &CopyPlan, below: &[Layer]) -> Option<Digest> {
    let identity = tree.identity()?;
    let mut key = plan.key(below);
    key.add("tree").add(identity.as_str());
    for text in plan.sources.iter().chain(&plan.exclude) {
        key.add(text);
    }
    Some(key.finish())
}
