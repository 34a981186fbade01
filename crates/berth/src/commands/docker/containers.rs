//! `ps`, `inspect`, `rm`, `stop`, `kill`, `logs`.

use std::process::ExitCode;

use berth_docker::client::{ClientError, LogOptions};
use berth_error::Report;
use serde_json::{Value, json};

use super::args::{InspectArgs, KillArgs, LogsArgs, PsArgs, RmArgs, StopArgs};
use super::run::print_frames;
use super::{Target, filters, images, print_documents, print_rows, refused};
use crate::printer;
use crate::table::Table;

/// Digits of an id that listings show.
const SHORT_ID: usize = 12;

pub(super) async fn list(target: &Target, args: &PsArgs) -> Result<ExitCode, Report> {
    let filters = filters(&args.filter)?;
    let containers = target.client.containers(args.all, &filters).await;
    let rows: Vec<Value> = containers
        .map_err(refused)?
        .iter()
        .map(|container| row(container, args.no_trunc))
        .collect();
    let cell = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    if args.quiet {
        rows.iter().for_each(|row| printer::line(cell(row, "ID")));
    } else if let Some(format) = &args.format {
        print_rows(&rows, format)?;
    } else {
        let mut table = Table::new(["CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "NAMES"]);
        for row in &rows {
            table.row(["ID", "Image", "Command", "Status", "Names"].map(|key| cell(row, key)));
        }
        printer::line(table.render());
    }
    Ok(ExitCode::SUCCESS)
}

/// The fields that a `--format` of `ps` can name.
fn row(container: &Value, whole_ids: bool) -> Value {
    let text = |key: &str| container[key].as_str().unwrap_or_default();
    let id = match text("Id") {
        id if whole_ids => id,
        id => id.get(..SHORT_ID).unwrap_or(id),
    };
    let list = |value: &Value, show: &dyn Fn(&Value) -> String| match value {
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| match value.as_str() {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            });
            pairs.collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    };
    let name = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        name.strip_prefix('/').unwrap_or(name).to_owned()
    };
    let port = |port: &Value| {
        let (public, private) = (&port["PublicPort"], &port["PrivatePort"]);
        let kind = port["Type"].as_str().unwrap_or("tcp");
        format!(
            "{}:{public}->{private}/{kind}",
            port["IP"].as_str().unwrap_or_default()
        )
    };
    json!({
        "ID": id,
        "Image": text("Image"),
        "Command": format!("{:?}", text("Command")),
        "CreatedAt": container["Created"].to_string(),
        "Names": list(&container["Names"], &name),
        "Labels": list(&container["Labels"], &|_| String::new()),
        "Ports": list(&container["Ports"], &port),
        "State": text("State"),
        "Status": text("Status"),
    })
}

pub(super) async fn inspect(target: &Target, args: &InspectArgs) -> Result<ExitCode, Report> {
    let mut documents = Vec::new();
    for name in &args.names {
        documents.push(target.client.inspect(name).await.map_err(refused)?);
    }
    print_documents(&documents, args.format.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// `docker inspect`: containers first, then images, unless it is told which.
pub(super) async fn inspect_any(target: &Target, args: &InspectArgs) -> Result<ExitCode, Report> {
    match args.kind.as_deref() {
        Some("image") => return images::inspect(target, args).await,
        Some("container") => return inspect(target, args).await,
        Some(other) => {
            return Err(Report::new(
                format!("there is nothing of type `{other}`"),
                None,
            ));
        }
        None => {}
    }
    let mut documents = Vec::new();
    for name in &args.names {
        let found = match target.client.inspect(name).await {
            Err(ClientError::Refused { status: 404, .. }) => target.client.image(name).await,
            found => found,
        };
        documents.push(found.map_err(|error| match error {
            ClientError::Refused { status: 404, .. } => {
                Report::new(format!("no container or image `{name}`"), None)
            }
            error => refused(error),
        })?);
    }
    print_documents(&documents, args.format.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(target: &Target, args: &RmArgs) -> Result<ExitCode, Report> {
    for name in &args.names {
        match target.client.remove(name, args.force, args.volumes).await {
            Ok(()) => printer::line(name),
            Err(ClientError::Refused { status: 404, .. }) if args.force => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn stop(target: &Target, args: &StopArgs) -> Result<ExitCode, Report> {
    for name in &args.names {
        target.client.stop(name, args.time).await.map_err(refused)?;
        printer::line(name);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn kill(target: &Target, args: &KillArgs) -> Result<ExitCode, Report> {
    for name in &args.names {
        let killed = target.client.kill(name, &args.signal).await;
        killed.map_err(refused)?;
        printer::line(name);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn logs(target: &Target, args: &LogsArgs) -> Result<ExitCode, Report> {
    let tail = match args.tail.as_str() {
        "all" => None,
        number => Some(number.parse().map_err(|_| {
            Report::new(
                format!("`--tail {number}` is neither a number nor `all`"),
                None,
            )
        })?),
    };
    let options = LogOptions {
        follow: args.follow,
        tail,
        timestamps: args.timestamps,
    };
    let lines = target.client.logs(&args.name, options).await;
    print_frames(&mut Box::pin(lines.map_err(refused)?), 0).await?;
    Ok(ExitCode::SUCCESS)
}
