//! Turns trees into layers and layers into images with the configuration of the official ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use berth_image::{Image, ImageStore, Layer};
use oci_spec::image::{
    Arch, Config, ConfigBuilder, History, HistoryBuilder, ImageConfigurationBuilder, Os,
    RootFsBuilder,
};

use crate::BaseError;

/// The `PATH` of official images.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Label that says how the image was made.
const RECIPE_LABEL: &str = "dev.berth.base.recipe";

/// What distinguishes one image from another.
pub(crate) struct Description {
    /// `KEY=value` lines after `PATH`.
    pub(crate) env: Vec<String>,
    /// `CMD`.
    pub(crate) command: &'static str,
    /// How it was made, for the label and the history.
    pub(crate) recipe: String,
}

/// Stores `tree` as a layer on top of `base` and describes the result. Consumes the tree.
pub(crate) async fn assemble(
    store: &ImageStore,
    base: Option<&Image>,
    tree: PathBuf,
    description: Description,
) -> Result<Image, BaseError> {
    let store = store.clone();
    let base = base.cloned();
    tokio::task::spawn_blocking(move || {
        let layer = store.add_layer(&tree)?;
        assemble_blocking(&store, base.as_ref(), layer, description)
    })
    .await
    .map_err(|_| BaseError::Task {
        step: "storing a layer",
    })?
}

fn assemble_blocking(
    store: &ImageStore,
    base: Option<&Image>,
    layer: Option<Layer>,
    description: Description,
) -> Result<Image, BaseError> {
    let mut layers = base.map(|base| base.layers.clone()).unwrap_or_default();
    let mut history = base
        .and_then(|base| base.config.history().clone())
        .unwrap_or_default();
    let entry: History = HistoryBuilder::default()
        .created_by(description.recipe.clone())
        .empty_layer(layer.is_none())
        .build()
        .map_err(BaseError::Describe)?;
    history.push(entry);
    layers.extend(layer);
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(diff_ids)
        .build()
        .map_err(BaseError::Describe)?;
    let configuration = ImageConfigurationBuilder::default()
        .architecture(Arch::Amd64)
        .os(Os::Linux)
        .config(config(description)?)
        .rootfs(rootfs)
        .history(history)
        .build()
        .map_err(BaseError::Describe)?;
    Ok(store.put_image(configuration, layers)?)
}

fn config(description: Description) -> Result<Config, BaseError> {
    let mut env = vec![PATH.to_owned()];
    env.extend(description.env);
    ConfigBuilder::default()
        .env(env)
        .cmd(vec![description.command.to_owned()])
        .labels(HashMap::from([(
            RECIPE_LABEL.to_owned(),
            description.recipe,
        )]))
        .build()
        .map_err(BaseError::Describe)
}

/// The unpacked trees of an image, uppermost first.
pub(crate) fn trees(store: &ImageStore, image: &Image) -> Vec<PathBuf> {
    store.lower_directories(&image.layers)
}

/// A file as the image has it: from the uppermost layer that has one.
pub(crate) fn find_file(trees: &[PathBuf], path: &Path) -> Option<PathBuf> {
    trees.iter().map(|tree| tree.join(path)).find(|path| {
        // A symbolic link could lead out of the tree, and then it is not the image's file.
        path.symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file())
    })
}
