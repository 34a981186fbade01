//! `berth containers build`: into the store of this machine, and to a registry if wanted.

use std::process::ExitCode;

use berth_error::Report;

use super::push;
use crate::build;
use crate::build::flags::ProgressFlag;
use crate::cli::ContainersBuildArgs;
use crate::host::open_store;
use crate::paths::{Paths, absolute};
use crate::transfer::{Mode, Transfer, destination};

pub(super) async fn run(mut args: ContainersBuildArgs, paths: &Paths) -> Result<ExitCode, Report> {
    if args.flags.tags.is_empty() {
        return Err(Report::new(
            "the image has no name",
            Some("give it one: `-t <name>:<tag>`".to_owned()),
        ));
    }
    if args.json {
        args.flags.progress = Some(ProgressFlag::Json);
    }
    let store = open_store(&paths.data)?;
    let json = args.flags.progress == Some(ProgressFlag::Json);
    let transfer = Transfer::new(&paths.data, &store, Mode::of(json, args.flags.quiet))?;
    if args.push {
        // A name that cannot be pushed is better found out before the build than after it.
        for tag in &args.flags.tags {
            destination(&transfer.client, tag)?;
        }
    }
    let context = absolute(&args.path)?;
    let built = build::run(&paths.data, &store, &args.flags, &context).await?;
    if built.is_none() {
        return Ok(ExitCode::from(130));
    }
    if args.push {
        for tag in &args.flags.tags {
            let code = push::push(&transfer, tag, args.compression).await?;
            if code != ExitCode::SUCCESS {
                return Ok(code);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
