//! `berth workflows`.

mod instances;
mod workflow;

use std::process::ExitCode;

use berth_client::segment;
use berth_error::{Report, ResultExt as _};
use serde_json::Value;

use crate::cli::WorkflowsCommand;
use crate::paths::Paths;

const WORKFLOWS: &str = "workflows";

pub(crate) async fn run(command: WorkflowsCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        WorkflowsCommand::List { data } => workflow::list(&data, paths).await,
        WorkflowsCommand::Describe { name, data } => workflow::describe(&name, &data, paths).await,
        WorkflowsCommand::Delete { name, sure, data } => {
            workflow::delete(&name, &sure, &data, paths).await
        }
        WorkflowsCommand::Trigger {
            name,
            params,
            id,
            data,
        } => instances::trigger(&name, params.as_deref(), id, &data, paths).await,
        WorkflowsCommand::Instances(command) => instances::run(command, paths).await,
    }
}

/// Below a Workflow.
fn path(name: &str, rest: &str) -> String {
    format!("{WORKFLOWS}/{}{rest}", segment(name))
}

/// JSON of the command line.
fn parse(text: &str, what: &str) -> Result<Value, Report> {
    serde_json::from_str(text).context(format!("{what} is not JSON"))
}
