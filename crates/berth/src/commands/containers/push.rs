//! `berth containers push`.

use std::process::ExitCode;

use berth_error::Report;
use berth_image::LayerCompression;

use crate::cli::ContainersPushArgs;
use crate::host::open_store;
use crate::paths::Paths;
use crate::transfer::{Mode, Transfer, destination};

pub(super) async fn run(args: &ContainersPushArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let store = open_store(&paths.data)?;
    let transfer = Transfer::new(&paths.data, &store, Mode::of(args.json, false))?;
    push(&transfer, &args.tag, args.compression).await
}

/// Pushes an image of the store; one whose name has no registry gets the name it is pushed under.
pub(super) async fn push(
    transfer: &Transfer<'_>,
    tag: &str,
    compression: Option<LayerCompression>,
) -> Result<ExitCode, Report> {
    let name = destination(&transfer.client, tag)?;
    if name != tag
        && let Some(image) = transfer.store.resolve(tag)?
    {
        transfer.store.tag(&image, &name)?;
    }
    transfer.push_named(&name, compression).await
}
