//! `berth images pull`.

use std::path::Path;
use std::process::ExitCode;

use berth_error::Report;
use berth_image::{ImageStore, Reference};

use crate::cli::PullArgs;
use crate::printer;
use crate::transfer::{Failure, Mode, Transfer, print_json};

pub(super) async fn run(
    data: &Path,
    store: &ImageStore,
    args: &PullArgs,
) -> Result<ExitCode, Report> {
    let reference: Reference = args.reference.parse()?;
    let mode = Mode::of(args.json, args.quiet);
    let transfer = Transfer::new(data, store, mode)?;
    let pulled = transfer.pull(&reference, args.platform.as_deref()).await;
    let pulled = pulled.map_err(|failure| match failure {
        Failure::Unreachable(report) if berth_base::has_recipe(&args.reference) => {
            let reference = &args.reference;
            report.with_hint(format!(
                "without a registry, `berth images make {reference}` makes it from packages"
            ))
        }
        failure => failure.into(),
    })?;
    let Some(pulled) = pulled else {
        return Ok(ExitCode::from(130));
    };
    match mode {
        Mode::Json => print_json(&serde_json::json!({
            "event": "pulled",
            "reference": reference.to_string(),
            "id": pulled.image.id,
            "digest": pulled.digest,
            "fetched": pulled.fetched,
        }))?,
        Mode::Quiet => printer::line(reference.to_string()),
        Mode::Screen | Mode::Plain => {
            printer::line(format!("{reference} ({})", pulled.digest));
        }
    }
    Ok(ExitCode::SUCCESS)
}
