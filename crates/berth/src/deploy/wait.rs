//! `--wait`: rollouts followed to their end.

use std::time::Duration;

use berth_client::{Client, segment};
use berth_error::Report;
use serde_json::Value;

use super::containers::TOGETHER;
use super::steps::Steps;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Waits for every rollout of a deployment.
pub(super) async fn all(client: &Client, applied: &[Value], steps: &Steps) -> Result<(), Report> {
    for one in applied {
        let word = |name: &str| one[name].as_str().unwrap_or_default();
        let (name, id) = (word("name"), word("id"));
        let rollouts = format!("containers/applications/{}/rollouts", segment(id));
        let rollout = match word("change") {
            // It was made when both went live.
            TOGETHER => {
                let all: Value = client.get(rollouts.clone()).await?;
                let mut all = all.as_array().into_iter().flatten();
                let newest = all.find(|rollout| rollout["atomic"] == true);
                let id = newest.and_then(|rollout| rollout["id"].as_str());
                id.unwrap_or_default().to_owned()
            }
            _ => word("rollout_id").to_owned(),
        };
        if rollout.is_empty() {
            continue;
        }
        let path = format!("{rollouts}/{}", segment(&rollout));
        let work = async {
            let detail = follow(client, &path, name, steps).await?;
            Ok(((), detail))
        };
        steps.run("rollout", work).await?;
    }
    Ok(())
}

async fn follow(client: &Client, path: &str, name: &str, steps: &Steps) -> Result<String, Report> {
    let mut said = String::new();
    loop {
        let rollout: Value = client.get(path).await?;
        let status = rollout["status"].as_str().unwrap_or_default();
        let progress = progress(name, &rollout);
        match status {
            "completed" => return Ok(progress),
            // Its steps are somebody's to begin.
            _ if rollout["kind"] == "full_manual" => return Ok(format!("{progress} (by hand)")),
            "pending" | "progressing" => {
                if progress != said {
                    steps.progress("rollout", &progress);
                    said = progress;
                }
            }
            other => return Err(ended(name, other, &rollout)),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// `greeter: step 1 of 2, 3 of 10 instances`.
fn progress(name: &str, rollout: &Value) -> String {
    let number = |field: &str| rollout["progress"][field].as_u64().unwrap_or_default();
    format!(
        "{name}: step {} of {}, {} of {} instances",
        number("current_step"),
        number("total_steps"),
        number("updated_instances"),
        number("total_instances"),
    )
}

fn ended(name: &str, status: &str, rollout: &Value) -> Report {
    let steps = rollout["steps"].as_array().into_iter().flatten();
    let mut reasons = steps.filter_map(|step| step["reason"].as_str());
    let reason = rollout["reason"].as_str().or_else(|| reasons.next());
    let hint = match rollout["atomic"] == true {
        true => "the version before is live again, with its containers",
        false => "instances that were not replaced run on with what they had",
    };
    let report = Report::new(
        format!("the rollout of `{name}` ended as `{status}`"),
        Some(hint.to_owned()),
    );
    match reason {
        Some(reason) => report.because(reason),
        None => report,
    }
}
