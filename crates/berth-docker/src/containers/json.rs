//! Containers in Docker's JSON.

use std::time::Duration;

use berth_engine::{ContainerInfo, Metered, Rest, Status};
use serde_json::{Value, json};

use crate::sidecar::{INGRESS_PORT, Sidecar, SidecarStatus};
use crate::time::{now_ms, rfc3339, rfc3339_or_never};

/// Docker's word for where a container is. A container in removal is stopped in workerd's eyes.
pub(crate) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Created | Status::Starting => "created",
        Status::Running => "running",
        Status::Exited => "exited",
        Status::Removing => "removing",
    }
}

/// `GET /containers/{id}/json`. `DisplayName` is ours.
pub(crate) fn inspect(info: &ContainerInfo) -> Value {
    // A container that sleeps runs, as far as workerd is concerned: whoever needs it wakes it.
    let paused = matches!(info.rest, Some((Rest::Paused, _)));
    let status = if info.restarting {
        "restarting"
    } else if paused {
        "paused"
    } else {
        status_word(info.status)
    };
    let running = info.status == Status::Running;
    json!({
        "Id": info.id,
        "Name": format!("/{}", info.name),
        "DisplayName": info.display_name,
        "Created": rfc3339(info.created_ms),
        "Path": info.argv.first(),
        "Args": info.argv.get(1..).unwrap_or_default(),
        "State": {
            "Status": status,
            "Running": running,
            "Paused": paused,
            "Restarting": info.restarting,
            "OOMKilled": info.exit.is_some_and(|exit| exit.oom_killed),
            "Dead": false,
            "Pid": info.pid.filter(|_| running).unwrap_or_default(),
            "ExitCode": info.exit.map_or(0, |exit| exit.code),
            "Error": info.error.as_deref().unwrap_or_default(),
            "StartedAt": rfc3339_or_never(info.started_ms),
            "FinishedAt": rfc3339_or_never(info.finished_ms),
        },
        "Image": info.image_id,
        "RestartCount": info.restart_count,
        "Config": {
            "Image": info.image,
            "Env": info.env,
            "Cmd": info.argv,
            "Labels": info.labels,
            "Tty": false,
        },
        "HostConfig": {
            "Memory": info.limits.memory_bytes.unwrap_or_default(),
            "NanoCpus": u64::from(info.limits.cpu_milli.unwrap_or_default()) * 1_000_000,
            "PidsLimit": info.limits.pids.unwrap_or_default(),
        },
        "NetworkSettings": {"Ports": {}},
        "Mounts": [],
    })
}

/// The same of a sidecar.
pub(crate) fn inspect_sidecar(sidecar: &Sidecar) -> Value {
    let status = sidecar.status();
    let ports = match status {
        SidecarStatus::Running { port } => {
            json!({INGRESS_PORT: [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]})
        }
        _ => json!({}),
    };
    json!({
        "Id": sidecar.id,
        "Name": format!("/{}", sidecar.name),
        "Created": rfc3339(sidecar.created_ms),
        "Path": "",
        "Args": sidecar.command,
        "State": {
            "Status": status.word(),
            "Running": matches!(status, SidecarStatus::Running { .. }),
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": 0,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": rfc3339_or_never(sidecar.started_ms()),
            "FinishedAt": rfc3339_or_never(None),
        },
        "Image": "",
        "Config": {
            "Hostname": sidecar.hostname(),
            "Image": sidecar.image,
            "Cmd": sidecar.command,
            "Labels": sidecar.labels,
            "ExposedPorts": {INGRESS_PORT: {}},
        },
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Ports": ports},
    })
}

/// One entry of `GET /containers/json`. `DisplayName`, `StartedMs`, `ExitCode`, `Asleep`,
/// `AsleepSinceMs`, `Sleepless`, `CheckpointUs`, `RestoreUs` and `Metered` are ours.
pub(crate) fn summary(info: &ContainerInfo, metered: Option<&Metered>) -> Value {
    json!({
        "Id": info.id,
        "Names": [format!("/{}", info.name)],
        "DisplayName": info.display_name,
        "Image": info.image,
        "ImageID": info.image_id,
        "Command": info.argv.join(" "),
        "Created": info.created_ms / 1000,
        "Ports": [],
        "Labels": info.labels,
        "State": status_word(info.status),
        "Status": describe(info),
        "StartedMs": info.started_ms,
        "Asleep": info.rest.map(|(rest, _)| rest_word(rest)),
        "AsleepSinceMs": info.rest.map(|(_, since)| since),
        "Sleepless": info.sleepless,
        "CheckpointUs": info.timings.checkpoint.map(micros),
        "RestoreUs": info.timings.restore.map(micros),
        "Metered": metered.map(super::stats::metered),
        "ExitCode": info.exit.map(|exit| exit.code),
    })
}

/// The same of a sidecar.
pub(crate) fn summary_of_sidecar(sidecar: &Sidecar) -> Value {
    let status = sidecar.status();
    let ports = match status {
        SidecarStatus::Running { port } => {
            json!([{"IP": "127.0.0.1", "PrivatePort": 39001, "PublicPort": port, "Type": "tcp"}])
        }
        _ => json!([]),
    };
    json!({
        "Id": sidecar.id,
        "Names": [format!("/{}", sidecar.name)],
        "Sidecar": true,
        "Image": sidecar.image,
        "ImageID": "",
        "Command": "",
        "Created": sidecar.created_ms / 1000,
        "Ports": ports,
        "Labels": sidecar.labels,
        "State": status.word(),
        "Status": match status {
            SidecarStatus::Running { .. } => format!("Up {}", since(sidecar.started_ms())),
            SidecarStatus::Created => "Created".to_owned(),
            SidecarStatus::Exited => "Exited (0)".to_owned(),
        },
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rest_word(rest: Rest) -> &'static str {
    match rest {
        Rest::Frozen => "frozen",
        Rest::OnDisk => "on disk",
        Rest::Paused => "paused",
    }
}

/// `Up 5 minutes`, `Up 5 minutes, asleep (frozen) for 20 seconds`, `Exited (1) 3 seconds ago`, …
fn describe(info: &ContainerInfo) -> String {
    match info.status {
        Status::Created => "Created".to_owned(),
        Status::Starting => "Starting".to_owned(),
        Status::Running => {
            let up = since(info.started_ms);
            match info.rest {
                None => format!("Up {up}"),
                Some((Rest::Paused, _)) => format!("Up {up} (Paused)"),
                Some((rest, at)) => {
                    let (rest, asleep) = (rest_word(rest), since(Some(at)));
                    format!("Up {up}, asleep ({rest}) for {asleep}")
                }
            }
        }
        Status::Exited => format!(
            "Exited ({}) {} ago",
            info.exit.map_or(0, |exit| exit.code),
            since(info.finished_ms)
        ),
        Status::Removing => "Removal In Progress".to_owned(),
    }
}

fn since(unix_ms: Option<u64>) -> String {
    let now = now_ms();
    let seconds = now.saturating_sub(unix_ms.unwrap_or(now)) / 1000;
    let (number, unit) = match seconds {
        0 => return "less than a second".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        let ago = |seconds: u64| since(Some(now_ms() - seconds * 1000));
        assert_eq!(ago(0), "less than a second");
        assert_eq!(ago(1), "1 second");
        assert_eq!(ago(120), "2 minutes");
        assert_eq!(ago(7200), "2 hours");
        assert_eq!(ago(200_000), "2 days");
    }
}
