//! Images that a Dockerfile names: each is found, or brought in by the host, once a build.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use berth_image::{Image, ImageError};
use tokio::sync::OnceCell;

use super::{Builder, Place, blocking};
use crate::error::{BuildError, Problem, StepError};

/// The images found so far, by name as written.
#[derive(Default)]
pub(super) struct Bases(Mutex<BTreeMap<String, Arc<OnceCell<Image>>>>);

impl Bases {
    fn cell(&self, name: &str) -> Arc<OnceCell<Image>> {
        let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        images.entry(name.to_owned()).or_default().clone()
    }
}

impl Builder<'_> {
    /// An image by its name. `shown` is the step's name.
    pub(super) async fn base(
        &self,
        name: &str,
        shown: String,
        place: &Place,
    ) -> Result<Image, BuildError> {
        let cell = self.bases.cell(name);
        let step = self.steps.start(shown);
        if let Some(image) = cell.get() {
            step.end(&Ok::<_, BuildError>(true));
            return Ok(image.clone());
        }
        let mut cached = true;
        let find = async {
            if let Some(image) = self.find_image(name, place).await? {
                return Ok(image);
            }
            cached = false;
            let line = |line: String| step.line(line);
            let provided = tokio::select! {
                provided = self.host.provide(name, &line) => provided,
                () = self.cancel.cancelled() => return Err(BuildError::Canceled),
            };
            provided.map_err(|source| BuildError::Base {
                location: place.0.clone(),
                source: Box::new(source),
            })?;
            match self.find_image(name, place).await? {
                Some(image) => Ok(image),
                None => Err(BuildError::MissingBase {
                    location: place.0.clone(),
                    image: name.to_owned(),
                }),
            }
        };
        let image = cell.get_or_try_init(|| find).await.cloned();
        match &image {
            Ok(_) => step.end(&Ok::<_, BuildError>(cached)),
            Err(error) => step.end(&Err::<bool, _>(error.summary())),
        }
        image
    }

    pub(super) async fn find_image(
        &self,
        name: &str,
        place: &Place,
    ) -> Result<Option<Image>, BuildError> {
        let (store, wanted) = (self.store.clone(), name.to_owned());
        // What is missing of it may have to be unpacked.
        let found = blocking(move || Ok(store.resolve(&wanted)?)).await;
        found.map_err(|error| match error {
            StepError::Image(error @ ImageError::InvalidReference { .. }) => {
                place.problem(Problem::new(error.to_string()))
            }
            error => place.failed(&format!("image `{name}` cannot be read"))(error),
        })
    }
}
