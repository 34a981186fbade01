//! Whether a Worker starts at all, and what it calls has the entrypoints that it calls, and what it is told to has
//! a `tail()` handler: tried out before it is deployed, with a state of its own that is empty.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_control::worker::Worker;
use berth_error::Report;
use berth_workerd::{Entrypoint, NO_TAIL_HANDLER};

use super::app;
use super::apps::Apps;
use super::links::{self, Links, Records};

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
    let started = start(apps, worker, &records.of(worker)).await;
    started.map_err(|report| not_started(&records, worker, &report))?;
    if records.consumes_tails(worker) && !links::has_code(worker) {
        return Err(no_handler(&records, worker));
    }
    check_calls(apps, &records, worker).await?;
    check_consumers(apps, &records, worker).await
}

/// Why a Worker does not start.
fn not_started(records: &Records, worker: &Worker, report: &Report) -> String {
    let text = said(report);
    if text.contains(NO_TAIL_HANDLER) {
        return no_handler(records, worker);
    }
    text
}

fn no_handler(records: &Records, worker: &Worker) -> String {
    let all = records.workers().iter().chain([worker]);
    let named = all.filter(|one| one.tail_consumers().contains(&worker.name));
    let names: BTreeSet<String> = named.map(|one| format!("`{}`", one.name)).collect();
    let names: Vec<String> = names.into_iter().collect();
    let (name, names) = (&worker.name, names.join(", "));
    format!("the Worker `{name}` has no tail() handler, and is in `tail_consumers` of {names}")
}

fn said(report: &Report) -> String {
    report.chain().join(": ")
}

/// Every Worker that it names in `tail_consumers` has a handler for them.
async fn check_consumers(
    apps: &Arc<Apps>,
    records: &Records,
    worker: &Worker,
) -> Result<(), String> {
    for name in worker.tail_consumers() {
        let mut others = records.workers().iter().filter(|one| one.id != worker.id);
        let Some(consumer) = others.find(|one| one.name == name) else {
            continue;
        };
        let none = format!("the tail consumer `{name}` has no tail() handler");
        if !links::has_code(consumer) {
            return Err(none);
        }
        let Some(links) = records.of(consumer).called_at(&Entrypoint::tail()) else {
            continue;
        };
        if let Err(report) = start(apps, consumer, &links).await {
            let text = said(&report);
            return Err(if text.contains(NO_TAIL_HANDLER) {
                none
            } else {
                format!("the tail consumer `{name}` does not start: {text}")
            });
        }
    }
    Ok(())
}

async fn check_calls(apps: &Arc<Apps>, records: &Records, worker: &Worker) -> Result<(), String> {
    // A socket for an entrypoint that is not there would keep the callee from starting.
    for call in records.calls(worker) {
        let Some(class) = &call.entrypoint.class else {
            continue;
        };
        let Some(links) = records.of(call.callee).called_at(&call.entrypoint) else {
            continue;
        };
        if let Err(report) = start(apps, call.callee, &links).await {
            let text = said(&report);
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
