//! `berth images push`.

use std::path::Path;
use std::process::ExitCode;

use berth_error::Report;
use berth_image::ImageStore;

use crate::cli::PushArgs;
use crate::transfer::{Mode, Transfer};

pub(super) async fn run(
    data: &Path,
    store: &ImageStore,
    args: &PushArgs,
) -> Result<ExitCode, Report> {
    let transfer = Transfer::new(data, store, Mode::of(args.json, args.quiet))?;
    transfer.push_named(&args.reference, args.compression).await
}
