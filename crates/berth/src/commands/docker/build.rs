//! `build`: in this process, into the engine's store.

use std::process::ExitCode;

use berth_error::Report;

use super::Target;
use super::args::BuildArgs;
use crate::build;
use crate::host::open_store;
use crate::paths::absolute;

pub(super) async fn run(target: &Target, args: Box<BuildArgs>) -> Result<ExitCode, Report> {
    if args
        .provenance
        .as_deref()
        .is_some_and(|value| value != "false")
    {
        return Err(Report::new(
            "attestations of provenance are not made",
            Some("build with `--provenance=false`".to_owned()),
        ));
    }
    let data = target.data_dir().await?;
    let store = open_store(&data)?;
    let context = absolute(&args.context_directory)?;
    match build::run(&data, &store, &args.flags, &context).await? {
        Some(_) => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::from(130)),
    }
}
