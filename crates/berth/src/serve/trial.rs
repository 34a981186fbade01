//! Whether a Worker starts at all, and what it calls has the entrypoints that it calls: tried out before it
//! is deployed, with a state of its own that is empty.

use std::sync::Arc;

use berth_control::worker::Worker;
use berth_error::Report;

use super::app;
use super::apps::Apps;
use super::links::{Links, Records};

/// What workerd says of an entrypoint that is not there.
const NO_ENTRYPOINT: &str = "no such named entrypoint";

/// # Errors
/// What is wrong, for the author of the Worker.
pub(super) async fn check(apps: &Arc<Apps>, worker: &Worker) -> Result<(), String> {
    let (control, session) = (apps.control.clone(), apps.session.clone());
    let read = move || {
        let workers = control.workers()?;
        Records::read(&control, workers, &session)
    };
    let records = tokio::task::spawn_blocking(read).await;
    let records = records.map_err(|error| error.to_string())?;
    let records = records.map_err(|error| berth_error::chain(&error))?;
    let said = |report: Report| report.chain().join(": ");
    start(apps, worker, &records.of(worker))
        .await
        .map_err(said)?;
    // A socket for an entrypoint that is not there would keep the callee from starting.
    for call in records.calls(worker) {
        let Some(class) = &call.entrypoint.class else {
            continue;
        };
        let Some(links) = records.of(call.callee).called_at(&call.entrypoint) else {
            continue;
        };
        if let Err(report) = start(apps, call.callee, &links).await {
            let text = said(report);
            let (binding, callee) = (call.binding, &call.callee.name);
            return Err(if text.contains(NO_ENTRYPOINT) {
                format!(
                    "the binding `{binding}`: the Worker `{callee}` has no entrypoint `{class}`"
                )
            } else {
                format!("the binding `{binding}`: the Worker `{callee}` does not start: {text}")
            });
        }
    }
    Ok(())
}

async fn start(apps: &Apps, worker: &Worker, links: &Links) -> Result<(), Report> {
    let directory = tempfile::Builder::new()
        .prefix("try-")
        .tempdir_in(&apps.session)
        .map_err(|error| Report::from_error(&error).context("no directory to try it out in"))?;
    app::check(
        &apps.control,
        &apps.toolchain,
        &apps.layouts,
        (directory.path(), &super::r2::socket(&apps.session)),
        worker,
        links,
        &apps.plane.socket,
    )
    .await
}
