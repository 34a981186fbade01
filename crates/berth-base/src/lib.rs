//! Base images made on this machine: `debian:bookworm-slim`, `node:22-slim`, `python:3.11-slim`.
//!
//! Role: a Dockerfile names its base image, and until images are pulled from registries the common
//! ones are assembled here from package registries that every machine reaches through its own
//! package clients: Debian packages through `mmdebstrap` and `apt-get` with the machine's own apt
//! sources, Node.js and npm through `npm`. An image is made once, under a lock, and stays in the
//! image store under the name the Dockerfile used.
//!
//! Owner: the caller's [`ImageStore`]. Invariants:
//!
//! - A name that the store has already is never touched, whoever brought it in.
//! - An image gets its name last: nobody ever sees a half-made one, and a killed run leaves only
//!   a temporary directory, which the next run removes.
//! - Every helper process lives in a PID and mount namespace that dies with us.
//! - The images trust what this machine trusts: certificates in the host's
//!   `/usr/local/share/ca-certificates` are installed in them the way Debian does it, and npm is
//!   told to use that bundle, so that a package client in a `RUN` works wherever it works outside.
#![forbid(unsafe_code)]

mod command;
mod debian;
mod error;
mod image;
mod lock;
mod node;
mod python;
mod recipe;
mod sources;

use berth_image::{Image, ImageStore};

pub use error::BaseError;
use recipe::Recipe;

/// Receives one line of text per step of the work.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Finds the image `reference`, making it first if this crate knows how.
///
/// `Ok(None)`: the store does not have it and there is no recipe for it.
///
/// # Errors
///
/// There is a recipe but it could not be followed: not root, not Debian, no network, or a package
/// client failed. [`berth_error::Hint`] says what to do instead.
pub async fn ensure(
    store: &ImageStore,
    reference: &str,
    progress: Progress<'_>,
) -> Result<Option<Image>, BaseError> {
    if let Some(image) = store.resolve(reference)? {
        return Ok(Some(image));
    }
    let Some(recipe) = recipe::find(reference) else {
        return Ok(None);
    };
    if !rustix::process::geteuid().is_root() {
        return Err(BaseError::NotRoot {
            reference: reference.to_owned(),
        });
    }
    let _lock = lock::acquire(store, reference, progress).await?;
    if let Some(image) = store.resolve(reference)? {
        return Ok(Some(image));
    }
    let image = make(store, &recipe, progress).await?;
    store.tag(&image, reference)?;
    Ok(Some(image))
}

/// Whether [`ensure`] could make this image.
pub fn has_recipe(reference: &str) -> bool {
    recipe::find(reference).is_some()
}

/// Makes the image of a recipe under its canonical name, or finds it there.
async fn make(
    store: &ImageStore,
    recipe: &Recipe,
    progress: Progress<'_>,
) -> Result<Image, BaseError> {
    let name = recipe.canonical_name();
    if let Some(image) = store.resolve(&name)? {
        return Ok(image);
    }
    let report = |line: &str| progress(format!("{name}: {line}"));
    let image = match recipe {
        Recipe::Debian(release) => debian::make(store, release, &report).await?,
        Recipe::Node { version, release } => {
            let base = Recipe::Debian(*release);
            let base = Box::pin(make(store, &base, progress));
            // The download needs the network, Debian's installation mostly the processor.
            let (base, files) = tokio::join!(base, node::download(store, version, &report));
            node::make(store, &base?, version, files?, &report).await?
        }
        Recipe::Python { release } => {
            let base = Box::pin(make(store, &Recipe::Debian(*release), progress)).await?;
            python::make(store, &base, release, &report).await?
        }
    };
    store.tag(&image, &name)?;
    report("ready");
    Ok(image)
}
