//! `WORKDIR`: a setting, and a directory if the image does not have it.

use super::{At, Builder, blocking, commit};
use crate::cache::{Key, Record};
use crate::copy::resolve_owner;
use crate::error::{BuildError, StepError};
use crate::evaluate::workdir;
use crate::lint::Linter;
use crate::state::State;
use crate::view::Writable;

impl Builder<'_> {
    /// Whether the directory came from the cache (or was there). A new one belongs to the user in
    /// effect, as BuildKit has it.
    pub(super) async fn workdir_step(
        &self,
        state: &mut State,
        path: &str,
        at: At<'_>,
    ) -> Result<bool, BuildError> {
        let (place, step) = (at.place, at.step);
        let absolute = workdir(
            self.scope(),
            state,
            at.instruction,
            path,
            &mut Linter::default(),
        )
        .map_err(|problem| place.problem(problem))?;
        let line = format!("WORKDIR {absolute}");
        if absolute == "/" {
            state.note(&line, true, None);
            return Ok(true);
        }
        let user = state.user().to_owned();
        let mut key = Key::new("directory", &state.layers);
        key.add(&absolute).add(&user);
        // As it is written: `/a/../b` makes `/a`, too, as in BuildKit.
        let (store, layers, epoch) = (self.store.clone(), state.layers.clone(), self.epoch);
        let wanted = absolute.trim_start_matches('/').as_bytes().to_vec();
        let make = async {
            let made = blocking(move || -> Result<_, StepError> {
                let writable = Writable::new(&store)?;
                let mut root = writable.mount(&store, &layers)?;
                if !user.is_empty() && root.existing_parent(&wanted)?.is_none() {
                    match resolve_owner(&user, &root) {
                        Ok(owner) => root.set_owner(Some(owner)),
                        Err(problem) => return Ok(Err(problem)),
                    }
                }
                root.parent(&wanted)?;
                drop(root);
                Ok(Ok(commit(&store, &writable, epoch)?))
            });
            let made = made
                .await
                .map_err(place.failed("the directory cannot be made"))?;
            made.map_err(|problem| place.problem(problem))
        };
        let (record, cached): (Record, bool) =
            self.once(&[key.finish()], step, place, make).await?;
        state.add(&record, &line);
        Ok(cached)
    }
}
