//! `berth logs`: of an instance of a session, or what a server has kept.

mod kept;

use std::process::ExitCode;

use berth_docker::client::LogOptions;
use berth_docker::frame::StreamKind;
use berth_error::{Report, ResultExt as _};
use futures_util::StreamExt as _;

use crate::cli::{LogFilter, LogsArgs};
use crate::paths::Paths;
use crate::{printer, running};

pub(crate) async fn run(args: &LogsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let of_server = args.filter != LogFilter::default() || args.server.server.is_some();
    match &args.instance {
        Some(instance) if !of_server => of_session(args, instance, paths).await,
        _ => kept::run(args, paths).await,
    }
}

async fn of_session(args: &LogsArgs, instance: &str, paths: &Paths) -> Result<ExitCode, Report> {
    let client = running::client(&args.session, paths)?;
    let container = running::instance(&client, instance).await?;
    let options = LogOptions {
        follow: args.follow,
        tail: args.tail,
        timestamps: args.timestamps,
    };
    let mut lines = Box::pin(client.logs(&container.name, options).await?);
    while let Some(frame) = lines.next().await {
        let frame = frame.context("the log broke off")?;
        let printed = match frame.stream {
            StreamKind::Stdout => printer::raw(&frame.payload),
            StreamKind::Stderr => printer::raw_error(&frame.payload),
        };
        if printed.is_err() {
            // Nobody reads any more (`berth logs … | head`).
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
