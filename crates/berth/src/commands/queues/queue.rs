//! `berth queues list`, `create`, `update`, `info`, `delete`, `pause-delivery`, `resume-delivery`, `purge`.

use std::process::ExitCode;

use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::{QUEUES, find, path};
use crate::cli::{DataArgs, QueueSettings, QueuesCommand, SureArgs};
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn run(command: QueuesCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        QueuesCommand::List { data } => list(&data, paths).await,
        QueuesCommand::Create {
            name,
            settings,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let new = json!({"queue_name": name, "settings": wanted(&settings)});
            let call = client.call(Method::POST, QUEUES).json(&new);
            let made: Value = call.send().await?;
            answer::done(&data, &made, || format!("made `{name}`"))
        }
        QueuesCommand::Update {
            name,
            settings,
            data,
        } => {
            let wanted = wanted(&settings);
            if wanted.as_object().is_none_or(serde_json::Map::is_empty) {
                let hint = "say `--delivery-delay-secs`, or `--message-retention-period-secs`";
                return Err(Report::new(
                    "nothing is to be changed",
                    Some(hint.to_owned()),
                ));
            }
            change(&name, &wanted, &data, paths, "changed").await
        }
        QueuesCommand::Info { name, data } => info(&name, &data, paths).await,
        QueuesCommand::PauseDelivery { name, data } => {
            let paused = json!({"delivery_paused": true});
            change(&name, &paused, &data, paths, "paused").await
        }
        QueuesCommand::ResumeDelivery { name, data } => {
            let resumed = json!({"delivery_paused": false});
            change(&name, &resumed, &data, paths, "resumed").await
        }
        QueuesCommand::Delete { name, sure, data } => delete(&name, &sure, &data, paths).await,
        QueuesCommand::Purge { name, sure, data } => purge(&name, &sure, &data, paths).await,
        QueuesCommand::Consumer(command) => super::consumer::run(command, paths).await,
    }
}

async fn delete(
    name: &str,
    sure: &SureArgs,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let queue = find(&client, name).await?;
    let doomed = answer::Doomed {
        path: path(&queue, ""),
        what: format!("the queue `{name}` with its messages"),
        named: ("queue_name", name),
    };
    answer::delete(&client, doomed, sure, data).await
}

async fn purge(
    name: &str,
    sure: &SureArgs,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let queue = find(&client, name).await?;
    let question = format!("Delete all messages of the queue `{name}`?");
    if !answer::agreed(&question, sure, data.json)? {
        return Ok(ExitCode::SUCCESS);
    }
    let call = client.call(Method::POST, path(&queue, "/purge"));
    let call = call.json(&json!({"delete_messages_permanently": true}));
    let purged: Value = call.send().await?;
    answer::done(data, &purged, || format!("purged `{name}`"))
}

fn wanted(settings: &QueueSettings) -> Value {
    let mut wanted = json!({});
    for (name, value) in [
        ("delivery_delay", settings.delivery_delay_secs),
        (
            "message_retention_period",
            settings.message_retention_period_secs,
        ),
    ] {
        if let Some(value) = value {
            wanted[name] = value.into();
        }
    }
    wanted
}

async fn change(
    name: &str,
    settings: &Value,
    data: &DataArgs,
    paths: &Paths,
    done: &str,
) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let queue = find(&client, name).await?;
    let call = client.call(Method::PATCH, path(&queue, ""));
    let changed: Value = call.json(&json!({"settings": settings})).send().await?;
    answer::done(data, &changed, || format!("{done} `{name}`"))
}

async fn list(data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let all = answer::pages(&client, QUEUES).await?;
    answer::list(data, all, ["ID", "NAME", "PRODUCERS", "CONSUMERS"], |one| {
        let field = |name: &str| answer::text(&one[name]);
        [
            field("queue_id"),
            field("queue_name"),
            field("producers_total_count"),
            field("consumers_total_count"),
        ]
    })
}

async fn info(name: &str, data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let mut queue = find(&client, name).await?;
    let metrics: Value = client.get(path(&queue, "/metrics")).await?;
    queue["metrics"] = metrics;
    let workers = |name: &str| {
        let all = queue[name].as_array().into_iter().flatten();
        let names = all.map(|one| answer::text(&one["script"]));
        names.collect::<Vec<_>>().join(", ")
    };
    let setting = |name: &str| answer::text(&queue["settings"][name]);
    let fields = [
        ("Id", answer::text(&queue["queue_id"])),
        ("Name", answer::text(&queue["queue_name"])),
        ("Created", answer::text(&queue["created_on"])),
        ("Delay", format!("{} s", setting("delivery_delay"))),
        ("Paused", setting("delivery_paused")),
        ("Producers", workers("producers")),
        ("Consumers", workers("consumers")),
        ("Waiting", answer::text(&queue["metrics"]["backlog_count"])),
    ];
    answer::fields(data, &queue, fields)
}
