//! `berth images`.

mod delete;
mod df;
mod import;
mod inspect;
mod list;
mod make;
mod prune;
mod pull;
mod push;
mod tag;

use std::process::ExitCode;

use berth_error::{Report, ResultExt as _};
use berth_image::{Image, ImageStore};

use crate::cli::ImagesCommand;
use crate::host::open_store;
use crate::paths::Paths;
use crate::printer;

pub(crate) async fn run(command: ImagesCommand, paths: &Paths) -> Result<ExitCode, Report> {
    let store = open_store(&paths.data)?;
    match command {
        ImagesCommand::List(args) => list::run(&store, &args),
        ImagesCommand::Import { path, name, json } => {
            import::run(&store, &path, name.as_deref(), json)
        }
        ImagesCommand::Pull(args) => Box::pin(pull::run(&paths.data, &store, &args)).await,
        ImagesCommand::Push(args) => Box::pin(push::run(&paths.data, &store, &args)).await,
        ImagesCommand::Make { name } => make::run(&store, &name).await,
        ImagesCommand::Inspect(args) => inspect::run(&store, &args),
        ImagesCommand::Tag {
            source,
            target,
            json,
        } => tag::run(&store, &source, &target, json),
        ImagesCommand::Delete(args) => delete::run(&store, &args),
        ImagesCommand::Prune(args) => prune::run(&store, &args),
        ImagesCommand::Df { json } => df::run(&store, json),
    }
}

/// An image that must be there.
fn find(store: &ImageStore, reference: &str) -> Result<Image, Report> {
    store.resolve(reference)?.ok_or_else(|| {
        Report::new(
            format!("no image `{reference}` on this machine"),
            Some("`berth images list` shows what is there".to_owned()),
        )
    })
}

fn print_json(document: &serde_json::Value) -> Result<ExitCode, Report> {
    printer::line(serde_json::to_string_pretty(document).context("could not write JSON")?);
    Ok(ExitCode::SUCCESS)
}
