//! `berth queues consumer`.

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::{find, path};
use crate::cli::QueueConsumerCommand;
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn run(command: QueueConsumerCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        QueueConsumerCommand::List { queue_name, data } => {
            let client = remote::connect(&data.server, paths)?;
            let queue = find(&client, &queue_name).await?;
            let all: Vec<Value> = client.get(path(&queue, "/consumers")).await?;
            let heading = ["ID", "WORKER", "DEAD LETTERS"];
            answer::list(&data, all, heading, |one| {
                let field = |name: &str| answer::text(&one[name]);
                [
                    field("consumer_id"),
                    field("script"),
                    field("dead_letter_queue"),
                ]
            })
        }
        QueueConsumerCommand::Add {
            queue_name,
            script_name,
            batch_size,
            batch_timeout,
            message_retries,
            dead_letter_queue,
            max_concurrency,
            retry_delay_secs,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let queue = find(&client, &queue_name).await?;
            let new = json!({
                "type": "worker",
                "script_name": script_name,
                "dead_letter_queue": dead_letter_queue,
                "settings": {
                    "batch_size": batch_size,
                    "max_retries": message_retries,
                    "max_wait_time_ms": batch_timeout.map(|seconds| seconds.saturating_mul(1000)),
                    "max_concurrency": max_concurrency,
                    "retry_delay": retry_delay_secs,
                },
            });
            let call = client.call(Method::POST, path(&queue, "/consumers"));
            let made: Value = call.json(&new).send().await?;
            answer::done(&data, &made, || {
                format!("`{script_name}` consumes `{queue_name}`")
            })
        }
        QueueConsumerCommand::Remove {
            queue_name,
            script_name,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let queue = find(&client, &queue_name).await?;
            let consumers = queue["consumers"].as_array().into_iter().flatten();
            let mut of_script = consumers.filter(|one| one["script"] == *script_name);
            let consumer = of_script.next().and_then(|one| one["consumer_id"].as_str());
            let consumer = consumer.ok_or_else(|| {
                Report::new(
                    format!("`{script_name}` does not consume `{queue_name}`"),
                    Some(format!(
                        "`berth queues consumer list {queue_name}` shows who does"
                    )),
                )
            })?;
            let path = path(&queue, &format!("/consumers/{}", segment(consumer)));
            let _: Value = client.call(Method::DELETE, path).send().await?;
            let removed = json!({"consumer_id": consumer, "deleted": true});
            answer::done(&data, &removed, || {
                format!("`{script_name}` does not consume `{queue_name}` any more")
            })
        }
    }
}
