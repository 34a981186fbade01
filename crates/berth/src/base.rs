//! Images that a project names but does not build: in the store already, or made on this machine.

use berth_error::Report;
use berth_image::ImageStore;

/// Makes sure that an image is in the store. `wanted_by` follows its name in the error, such as
/// " of container `box`".
pub(crate) async fn provide(
    store: &ImageStore,
    reference: &str,
    wanted_by: &str,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Report> {
    if store.resolve(reference)?.is_some() {
        return Ok(());
    }
    match berth_base::ensure(store, reference, progress).await? {
        Some(_) => Ok(()),
        None => Err(Report::new(
            format!("image `{reference}`{wanted_by} is not on this machine"),
            Some(format!(
                "pulling from registries is not supported yet: bring it in with `berth images \
                 import <tar> {reference}`; `berth images list` shows what is there"
            )),
        )),
    }
}
