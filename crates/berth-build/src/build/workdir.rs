//! `WORKDIR`: a setting, and a directory if the image does not have it.

use super::{Builder, Place, Step, blocking, commit};
use crate::cache::{Key, Record};
use crate::dockerfile::expand::expand;
use crate::error::{BuildError, Problem, StepError};
use crate::state::State;
use crate::view::Writable;

impl Builder<'_> {
    /// Whether the directory came from the cache (or was there).
    pub(super) async fn workdir_step(
        &self,
        state: &mut State,
        path: &str,
        text: &str,
        place: &Place,
        step: &Step<'_>,
    ) -> Result<bool, BuildError> {
        let path =
            expand(path, self.plan.escape, state).map_err(|problem| place.problem(problem))?;
        if path.is_empty() {
            return Err(place.problem(Problem::new("the working directory is empty")));
        }
        let absolute = state.absolute(&path);
        let absolute = match absolute.trim_end_matches('/') {
            "" => "/",
            trimmed => trimmed,
        };
        state
            .config()
            .insert("WorkingDir".to_owned(), absolute.into());
        let mut key = Key::new("directory", &state.layers);
        key.add(absolute);
        let (store, layers, epoch) = (self.store.clone(), state.layers.clone(), self.epoch);
        let wanted = absolute.trim_start_matches('/').as_bytes().to_vec();
        let make = async {
            let made = blocking(move || -> Result<Record, StepError> {
                let writable = Writable::new(&store)?;
                let mut root = writable.mount(&store, &layers)?;
                root.parent(&wanted)?;
                drop(root);
                commit(&store, &writable, epoch)
            });
            made.await
                .map_err(place.failed("the directory cannot be made"))
        };
        let (record, cached) = self.once(&[key.finish()], step, place, make).await?;
        state.add(&record, text);
        Ok(cached)
    }
}
