//! `GET /containers/{name}/trace`, a route of ours: the last start as JSON.
//!
//! ```json
//! {"Name": "…", "TotalUs": 31000, "Steps": [
//!   {"Phase": "call", "What": "POST /containers/{container}/start → 204", "AtUs": 9000,
//!    "TookUs": 6000, "Level": 0},
//!   {"Phase": "rootfs", "What": "…", "AtUs": 10000, "TookUs": 2000, "Level": 2}]}
//! ```
//!
//! Times are microseconds, `AtUs` since the first call. A step of a higher level is part of the
//! step of the next lower level above it. `TotalUs` is the time until the program's first byte, or
//! null when there was none yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_engine::Timings;
use serde_json::{Value, json};

use super::{Phase, Step};
use crate::api::Api;
use crate::error::ApiError;
use crate::respond::{Reply, ok};

/// One line of the report.
struct Row {
    phase: &'static str,
    what: String,
    at: Instant,
    took: Duration,
    level: u8,
}

/// 404 without such a container.
pub(crate) fn report(api: &Arc<Api>, name: &str) -> Reply {
    let info = api
        .engine
        .inspect(name)
        .ok_or_else(|| ApiError::no_such_container(name))?;
    let steps = api.traces.steps(&info.name);
    Ok(ok(&json(&info.name, &steps, &info.timings)))
}

fn json(name: &str, steps: &[Step], timings: &Timings) -> Value {
    let mut rows: Vec<Row> = Vec::new();
    for step in steps {
        rows.push(Row {
            phase: step.phase.word(),
            what: step.what.clone(),
            at: step.at,
            took: step.took,
            level: u8::from(step.phase == Phase::Network),
        });
        if let (true, Some(took)) = (is_creation(step), timings.prepare) {
            rows.push(Row {
                phase: "prepare",
                what: "image, writable layer, log".to_owned(),
                at: step.at,
                took,
                level: 1,
            });
        }
    }
    if let Some(start) = timings.start {
        rows.extend(inside_of_start(start, timings));
    }
    rows.sort_by_key(|row| (row.at, row.level));
    let first = rows.first().map_or_else(Instant::now, |row| row.at);
    let answered = steps.iter().find(|step| step.phase == Phase::FirstByte);
    let total = answered.map(|step| micros(step.end().saturating_duration_since(first)));
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "Phase": row.phase,
                "What": row.what,
                "AtUs": micros(row.at.saturating_duration_since(first)),
                "TookUs": micros(row.took),
                "Level": row.level,
            })
        })
        .collect();
    json!({"Name": name, "TotalUs": total, "Steps": rows})
}

fn is_creation(step: &Step) -> bool {
    step.what
        .starts_with("POST /containers/create?name={container} → 201")
}

/// What the engine and the jail did while the start call waited, and the program after that.
fn inside_of_start(start: Instant, timings: &Timings) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = start;
    let mut row = |phase, what: &str, took: Option<Duration>, level| {
        let took = took?;
        rows.push(Row {
            phase,
            what: what.to_owned(),
            at,
            took,
            level,
        });
        at += took;
        Some(())
    };
    row("open", "pipes and descriptors", timings.open, 1);
    let spawned = timings
        .spawn
        .map(|took| (start + timings.open.unwrap_or_default(), took));
    if let Some(jail) = timings.jail {
        row("cgroup", "control groups and limits", Some(jail.cgroup), 2);
        row("namespaces", "namespaces", Some(jail.namespaces), 2);
        row("rootfs", "mounts", Some(jail.rootfs), 2);
        row(
            "identity",
            "user, seccomp, capabilities",
            Some(jail.identity),
            2,
        );
        row("exec", "execve", Some(jail.exec), 2);
    }
    if let Some((begin, took)) = spawned {
        let exec = begin + took;
        rows.push(Row {
            phase: "spawn",
            what: "the jail, with the messages to it".to_owned(),
            at: begin,
            took,
            level: 1,
        });
        if let Some(took) = timings.first_listen {
            rows.push(Row {
                phase: "boot",
                what: "the program, until it listens".to_owned(),
                at: exec,
                took,
                level: 0,
            });
        }
    }
    rows
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_lie_where_they_happened() {
        let begin = Instant::now();
        let ms = Duration::from_millis;
        let step = |phase, what: &str, at: u64, took: u64| Step {
            phase,
            what: what.to_owned(),
            at: begin + ms(at),
            took: ms(took),
        };
        let steps = [
            step(
                Phase::Call,
                "POST /containers/create?name={container} → 201",
                0,
                2,
            ),
            step(
                Phase::Call,
                "POST /containers/{container}/start → 204",
                3,
                5,
            ),
            step(Phase::Hold, "port 8080", 9, 10),
            step(Phase::FirstByte, "port 8080", 19, 1),
        ];
        let timings = Timings {
            prepare: Some(ms(1)),
            start: Some(begin + ms(3)),
            open: Some(ms(1)),
            spawn: Some(ms(4)),
            jail: Some(berth_jail::SpawnTimings {
                rootfs: ms(2),
                exec: ms(1),
                ..Default::default()
            }),
            first_listen: Some(ms(10)),
            ..Timings::default()
        };
        let report = json("c", &steps, &timings);
        assert_eq!(report["TotalUs"], 20_000);
        let found: Vec<_> = report["Steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let number = |field: &str| row[field].as_u64().unwrap() / 1000;
                let phase = row["Phase"].as_str().unwrap();
                (phase, number("AtUs"), number("TookUs"))
            })
            .filter(|(_, _, took)| *took > 0)
            .collect();
        assert_eq!(
            found,
            [
                ("call", 0, 2),
                ("prepare", 0, 1),
                ("call", 3, 5),
                ("open", 3, 1),
                ("spawn", 4, 4),
                ("rootfs", 4, 2),
                ("exec", 6, 1),
                ("boot", 8, 10),
                ("hold", 9, 10),
                ("first byte", 19, 1),
            ]
        );
    }
}
