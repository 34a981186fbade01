//! `berth registry gc`: beside a running server, or without one.

use std::process::ExitCode;

use berth_error::{Report, ResultExt as _};
use berth_registry::auth::Anonymous;
use berth_registry::{Collected, RegistryOptions};

use super::{Kept, collect_options};
use crate::cli::RegistryGcArgs;
use crate::paths::Paths;
use crate::printer;

pub(crate) async fn run(args: RegistryGcArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let kept = Kept::open(&args.storage, paths)?;
    let options = RegistryOptions {
        collect: collect_options(&args.collect),
        ..RegistryOptions::default()
    };
    let registry = kept.registry(Anonymous::Nothing, options).await?;
    let collected = registry.collect().await;
    let collected = collected.context("could not collect the registry's garbage")?;
    if collected.busy {
        return Err(Report::new(
            "another process is collecting the registry's garbage",
            Some("try again when it is done".to_owned()),
        ));
    }
    if args.json {
        let json = serde_json::to_string(&collected).context("could not write the result")?;
        printer::line(json);
    } else {
        printer::line(shown(&collected));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(collected: &Collected) -> String {
    let Collected {
        manifests,
        blobs,
        uploads,
        ..
    } = collected;
    let bytes = berth_registry::limits::shown(collected.bytes);
    format!("removed {manifests} manifests, {blobs} blobs and {uploads} uploads ({bytes})")
}
