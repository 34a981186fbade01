//! `berth images`.

mod import;
mod list;
mod make;
mod pull;
mod push;

use std::process::ExitCode;

use berth_error::Report;

use crate::cli::ImagesCommand;
use crate::host::open_store;
use crate::paths::Paths;
use crate::printer;

pub(crate) async fn run(command: ImagesCommand, paths: &Paths) -> Result<ExitCode, Report> {
    let store = open_store(&paths.data)?;
    match command {
        ImagesCommand::List { json } => list::run(&store, json),
        ImagesCommand::Import { path, name } => import::run(&store, &path, name.as_deref()),
        ImagesCommand::Pull(args) => Box::pin(pull::run(&paths.data, &store, &args)).await,
        ImagesCommand::Push(args) => Box::pin(push::run(&paths.data, &store, &args)).await,
        ImagesCommand::Make { name } => make::run(&store, &name).await,
        ImagesCommand::Remove { name } => {
            if store.remove(&name)? {
                printer::line(format!("removed {name}"));
                return Ok(ExitCode::SUCCESS);
            }
            Err(Report::new(
                format!("no image `{name}` on this machine"),
                Some("`berth images list` shows what is there".to_owned()),
            ))
        }
    }
}
