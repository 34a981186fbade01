//! `berth queues`.

mod consumer;
mod queue;

use std::process::ExitCode;

use berth_client::{Client, segment};
use berth_error::Report;
use http::Method;
use serde_json::Value;

use crate::cli::QueuesCommand;
use crate::paths::Paths;

const QUEUES: &str = "queues";

pub(crate) async fn run(command: QueuesCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        QueuesCommand::Consumer(command) => consumer::run(command, paths).await,
        command => queue::run(command, paths).await,
    }
}

/// Below a queue.
fn path(queue: &Value, rest: &str) -> String {
    let id = queue["queue_id"].as_str().unwrap_or_default();
    format!("{QUEUES}/{}{rest}", segment(id))
}

/// The queue of this name.
async fn find(client: &Client, name: &str) -> Result<Value, Report> {
    let call = client.call(Method::GET, QUEUES).query("name", name);
    let mut found: Vec<Value> = call.send().await?;
    if found.is_empty() {
        return Err(Report::new(
            format!("there is no queue `{name}`"),
            Some("`berth queues list` shows what there is".to_owned()),
        ));
    }
    Ok(found.swap_remove(0))
}
