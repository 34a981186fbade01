//! `info`, `version`, `context`.

use std::process::ExitCode;

use berth_error::Report;
use serde_json::json;

use super::{Target, print_documents, print_rows, refused};
use crate::printer;

/// Name of the only context.
const CONTEXT: &str = "berth";

pub(super) async fn info(target: &Target, format: Option<&str>) -> Result<ExitCode, Report> {
    let info = target.client.info().await.map_err(refused)?;
    if format.is_some() {
        print_documents(&[info], format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |key: &str| match &info[key] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    printer::line(format!(
        "Server: {} {}\n Containers: {} ({} running)\n Architecture: {}\n CPUs: {}\n Kernel: {}\n Data: {}\n Socket: {}",
        text("OperatingSystem"),
        text("ServerVersion"),
        text("Containers"),
        text("ContainersRunning"),
        text("Architecture"),
        text("NCPU"),
        text("KernelVersion"),
        text("DockerRootDir"),
        target.host,
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn version(target: &Target, format: Option<&str>) -> Result<ExitCode, Report> {
    let server = target.client.version().await.map_err(refused)?;
    let client = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": server["ApiVersion"],
        "Os": std::env::consts::OS,
        "Arch": server["Arch"],
    });
    let versions = json!({"Client": client, "Server": server});
    if format.is_some() {
        print_documents(&[versions], format)?;
    } else {
        printer::line(format!("{versions:#}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn contexts(target: &Target, format: Option<&str>) -> Result<ExitCode, Report> {
    let context = json!({
        "Current": true,
        "Description": "berth engine",
        "DockerEndpoint": target.host,
        "Error": "",
        "Name": CONTEXT,
    });
    print_rows(
        &[context],
        format.unwrap_or("{{.Name}} {{.DockerEndpoint}}"),
    )?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::unnecessary_wraps, reason = "as the other commands")]
pub(super) fn context() -> Result<ExitCode, Report> {
    printer::line(CONTEXT);
    Ok(ExitCode::SUCCESS)
}
