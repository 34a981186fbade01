//! `WORKDIR`: a setting, and a directory if the image does not have it.

use super::{Builder, Place, blocking};
use crate::cache::{Key, Record};
use crate::dockerfile::expand::expand;
use crate::error::{BuildError, Problem, StepError};
use crate::state::State;
use crate::view::Writable;

impl Builder<'_> {
    /// Whether the directory came from the cache (or was there).
    pub(super) async fn workdir_step(
        &mut self,
        state: &mut State,
        path: &str,
        text: &str,
        place: &Place,
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
        let key = key.finish();
        let (record, cached) = match self.cache.find(&key) {
            Some(record) => (record, true),
            None => {
                let (store, layers) = (self.store.clone(), state.layers.clone());
                let wanted = absolute.trim_start_matches('/').as_bytes().to_vec();
                let made = blocking(move || -> Result<Record, StepError> {
                    let writable = Writable::new(&store)?;
                    let mut root = writable.mount(&store, &layers)?;
                    root.parent(&wanted)?;
                    drop(root);
                    Ok(Record::now(store.add_layer(&writable.upper())?))
                })
                .await;
                let record = made.map_err(place.failed("the directory cannot be made"))?;
                self.cache.keep(&key, &record);
                (record, false)
            }
        };
        state.add(&record, text);
        Ok(cached)
    }
}
