//! `berth restore`.

use std::path::Path;
use std::process::ExitCode;

use berth_error::{Report, ResultExt as _};

use crate::cli::RestoreArgs;
use crate::paths::Paths;
use crate::{backup, printer};

pub(crate) async fn run(args: RestoreArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let data = paths.data.clone();
    let file = args.file.clone();
    let restored = tokio::task::spawn_blocking(move || {
        if file == Path::new("-") {
            return backup::restore(std::io::stdin().lock(), &data);
        }
        let opened = fs_err::File::open(&file);
        let archive = opened.map_err(|error| Report::from_error(&error))?;
        backup::restore(std::io::BufReader::with_capacity(1 << 20, archive), &data)
    });
    let about = restored.await.context("the restoration broke off")??;
    if args.json {
        return printer::json(&about);
    }
    printer::line(format!("restored to {}", paths.data.display()));
    if about["keys"] != true {
        printer::note(format!(
            "The backup holds no keys: put `control.key` into {} before you start `berth serve`, or \
             every secret is lost",
            paths.data.join("keys").display()
        ));
    }
    if about["images"] != true {
        printer::note(
            "The backup holds no images: `berth deploy` of each project brings them back",
        );
    }
    Ok(ExitCode::SUCCESS)
}
