//! `berth dev`.

use std::process::ExitCode;

use berth_error::Report;

use crate::cli::DevArgs;
use crate::dev::event::DevEvent;
use crate::dev::screen::Screen;
use crate::dev::session::DevSession;
use crate::paths::Paths;
use crate::{dev, printer};

pub(crate) async fn run(args: DevArgs, paths: Paths) -> Result<ExitCode, Report> {
    let screen = if args.json {
        Screen::Json
    } else {
        Screen::Text
    };
    let outcome = if args.print_config {
        print_config(&args, &paths).await
    } else {
        dev::run::run(&args, &paths, screen).await
    };
    match (outcome, screen) {
        (Err(report), Screen::Json) => {
            screen.show(&DevEvent::Error {
                message: report.render(),
            });
            Ok(ExitCode::FAILURE)
        }
        (outcome, _) => outcome,
    }
}

/// Nothing but the configuration goes to standard output.
async fn print_config(args: &DevArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let outcome = Box::pin(DevSession::print_config(args, paths, Screen::Quiet)).await;
    berth_engine::sweep(&paths.sessions())?;
    printer::raw(outcome?.as_bytes()).map_err(|error| Report::from_error(&error))?;
    Ok(ExitCode::SUCCESS)
}
