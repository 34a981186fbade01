//! Building images from the command line and in a dev session: the flags, what a build asks of its
//! host, and how its progress is shown. [`berth_build`] does the work.

pub(crate) mod bounds;
pub(crate) mod flags;
pub(crate) mod host;
pub(crate) mod progress;
pub(crate) mod surroundings;

mod dockerfile;

use std::path::Path;

use berth_error::Report;
use berth_image::{Image, ImageStore};

use crate::signals::Signals;
use dockerfile::Dockerfile;
use flags::BuildFlags;
use host::Sandboxes;
use progress::Progress;

/// Builds what the flags say from a context directory into the store of `data`. `None` if a signal
/// ended it; what was finished until then stays in the cache.
pub(crate) async fn run(
    data: &Path,
    store: &ImageStore,
    flags: &BuildFlags,
    context: &Path,
) -> Result<Option<Image>, Report> {
    // A signal still ends the process while it waits for its input.
    let dockerfile = Dockerfile::read(flags.file.as_deref(), context)?;
    let mut request = flags.request(dockerfile.path(), context)?;
    surroundings::apply(&mut request);
    let mut signals = Signals::listen()?;
    let sandboxes = Sandboxes::new(data, context, store.clone());
    let progress = Progress::start(flags.shown());
    let show = |event| progress.show(event);
    let outcome = tokio::select! {
        outcome = Box::pin(berth_build::build(store, &sandboxes, &request, &show)) => Some(outcome),
        // What was dropped half-way leaves finished layers only.
        () = signals.next() => None,
    };
    sandboxes.end().await;
    match outcome {
        None => {
            progress.end();
            Ok(None)
        }
        Some(Ok(image)) => {
            progress.built(&image, &request.tags);
            if let Some(path) = &flags.iidfile {
                fs_err::write(path, image.id.to_string()).map_err(|error| {
                    Report::from_error(&error)
                        .context("the image is built, but its id was not written")
                })?;
            }
            Ok(Some(image))
        }
        Some(Err(error)) => {
            progress.failed(&error);
            Err(error.into())
        }
    }
}
