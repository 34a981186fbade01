//! What a create request says about restarts, stopping, capabilities, devices and limits of
//! processes, and what is given of it. Pure.

use berth_engine::{InstanceLimit, Policy, RestartPolicy, STOP_GRACE};
use berth_jail::{Device, Rlimit, RlimitKind, SandboxExtras};

use crate::Application;
use crate::body::{HostConfig, Restart, Ulimit};
use crate::names::is_workerds;

/// Capabilities beyond Docker's fourteen that are given. They hold in the container's own user
/// namespace: over its mounts and processes, never over the machine's.
const GRANTED: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"];

/// Devices that are given: (path, device).
const DEVICES: [(&str, Device); 1] = [("/dev/fuse", Device::Fuse)];

/// What workerd asks for before compatibility date 2026-04-01: the program is not process 1. The host
/// whose processes it sees is then, as with a virtual machine around each container, its own sandbox.
const HOST_PIDS: &str = "host";

/// The policy of container `name`, and warnings about what is asked for and not given.
pub(super) fn policy(
    name: &str,
    host: &HostConfig,
    application: Option<&Application>,
) -> (Policy, Vec<String>) {
    let mut warnings = Vec::new();
    let policy = Policy {
        restart: restart(name, &host.restart_policy, &mut warnings),
        instances: application.map(|application| InstanceLimit {
            application: application.unique_key.clone(),
            max: application.max_instances,
        }),
        stop_grace: application.map_or(STOP_GRACE, |application| application.stop_grace),
        capabilities: capabilities(&host.cap_add, &mut warnings),
        extras: SandboxExtras {
            devices: devices(host, &mut warnings),
            rlimits: rlimits(&host.ulimits, &mut warnings),
            groups: host.group_add.clone(),
            oom_score_adjustment: i32::try_from(host.oom_score_adj).unwrap_or_default(),
            files: Vec::new(),
            init: host.init || host.pid_mode == HOST_PIDS,
            ..SandboxExtras::default()
        },
    };
    for option in &host.security_opt {
        // Nothing that could be loosened is in force: no AppArmor or SELinux profile.
        if !matches!(option.split([':', '=']).next(), Some("apparmor" | "label")) {
            warnings.push(format!(
                "SecurityOpt {option} is not supported and was ignored"
            ));
        }
    }
    if !matches!(host.pid_mode.as_str(), "" | HOST_PIDS) {
        warnings.push(format!(
            "PidMode {} is not supported: the container has its own process ids",
            host.pid_mode
        ));
    }
    (policy, warnings)
}

/// workerd asks for `on-failure` for each of its containers and takes one that has failed for ended:
/// its class has told `onStop`, and starts it anew with the next request. A program that Docker
/// started again meanwhile would run unseen, do its work twice and keep its place among
/// `max_instances`; so these stay ended.
fn restart(name: &str, asked: &Restart, warnings: &mut Vec<String>) -> RestartPolicy {
    if is_workerds(name) {
        return RestartPolicy::No;
    }
    match asked.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "on-failure" => RestartPolicy::OnFailure(
            u32::try_from(asked.maximum_retry_count)
                .ok()
                .filter(|most| *most > 0),
        ),
        "always" | "unless-stopped" => RestartPolicy::Always,
        other => {
            warnings.push(format!(
                "there is no restart policy `{other}`; it was ignored"
            ));
            RestartPolicy::No
        }
    }
}

fn capabilities(asked: &[String], warnings: &mut Vec<String>) -> Vec<String> {
    let mut given = Vec::new();
    for name in asked {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        if GRANTED.contains(&full.as_str()) {
            given.push(full);
        } else if !berth_jail::DEFAULT_CAPABILITIES.contains(&full.as_str()) {
            warnings.push(format!("CapAdd {name} is not supported and was ignored"));
        }
    }
    given
}

fn devices(host: &HostConfig, warnings: &mut Vec<String>) -> Vec<Device> {
    let mut given = Vec::new();
    for asked in &host.devices {
        let inside = match asked.path_in_container.as_str() {
            "" => &asked.path_on_host,
            path => path,
        };
        let known = DEVICES
            .iter()
            .find(|(path, _)| *path == asked.path_on_host && *path == inside);
        match known {
            Some((_, device)) => given.push(*device),
            None => warnings.push(format!(
                "Devices {} is not supported and was ignored",
                asked.path_on_host
            )),
        }
    }
    given
}

fn rlimits(asked: &[Ulimit], warnings: &mut Vec<String>) -> Vec<Rlimit> {
    let mut given = Vec::new();
    for limit in asked {
        let kind = match limit.name.as_str() {
            "nofile" => RlimitKind::Nofile,
            "nproc" => RlimitKind::Nproc,
            "core" => RlimitKind::Core,
            "memlock" => RlimitKind::Memlock,
            "stack" => RlimitKind::Stack,
            "fsize" => RlimitKind::Fsize,
            "data" => RlimitKind::Data,
            "rss" => RlimitKind::Rss,
            "cpu" => RlimitKind::Cpu,
            "sigpending" => RlimitKind::Sigpending,
            "msgqueue" => RlimitKind::Msgqueue,
            other => {
                warnings.push(format!("Ulimits {other} is not supported and was ignored"));
                continue;
            }
        };
        given.push(Rlimit {
            kind,
            soft: u64::try_from(limit.soft).ok(),
            hard: u64::try_from(limit.hard).ok(),
        });
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{CreateContainer, decode};

    fn of(name: &str, json: &str) -> (Policy, Vec<String>) {
        let body = format!(r#"{{"HostConfig":{json}}}"#);
        let body: CreateContainer = decode(body.as_bytes()).unwrap();
        policy(name, &body.host_config, None)
    }

    #[test]
    fn restart_policies_are_dockers_but_for_workerds_containers() {
        let restart = |name: &str, json: &str| {
            of(name, &format!(r#"{{"RestartPolicy":{json}}}"#))
                .0
                .restart
        };
        let on_failure = r#"{"Name":"on-failure","MaximumRetryCount":0}"#;
        assert_eq!(restart("job", on_failure), RestartPolicy::OnFailure(None));
        let workerds = format!("workerd-hello-{}", "0a".repeat(32));
        assert_eq!(restart(&workerds, on_failure), RestartPolicy::No);
        let thrice = r#"{"Name":"on-failure","MaximumRetryCount":3}"#;
        assert_eq!(restart("job", thrice), RestartPolicy::OnFailure(Some(3)));
        assert_eq!(
            restart("job", r#"{"Name":"always"}"#),
            RestartPolicy::Always
        );
        assert_eq!(restart("job", "null"), RestartPolicy::No);
    }

    #[test]
    fn what_fuse_needs_is_given_and_the_rest_is_warned_of() {
        let (policy, warnings) = of(
            "c",
            r#"{"CapAdd":["SYS_ADMIN","cap_chown"],"SecurityOpt":["apparmor:unconfined"],
                "Devices":[{"PathOnHost":"/dev/fuse","PathInContainer":"/dev/fuse","CgroupPermissions":"rwm"}]}"#,
        );
        assert_eq!(policy.capabilities, ["CAP_SYS_ADMIN"]);
        assert_eq!(policy.extras.devices, [Device::Fuse]);
        assert_eq!(warnings, Vec::<String>::new());
        let (policy, warnings) = of(
            "c",
            r#"{"CapAdd":["SYS_MODULE"],"Devices":[{"PathOnHost":"/dev/sda"}],
                "SecurityOpt":["seccomp=unconfined"],"PidMode":"container:other"}"#,
        );
        assert!(policy.capabilities.is_empty() && policy.extras.devices.is_empty());
        assert_eq!(warnings.len(), 4, "{warnings:?}");
    }

    #[test]
    fn the_host_s_process_ids_are_a_process_1_of_ours() {
        for (json, expected) in [
            (r#"{"PidMode":""}"#, false),
            (r#"{"PidMode":"host"}"#, true),
            (r#"{"Init":true}"#, true),
        ] {
            let (policy, warnings) = of("c", json);
            assert_eq!(
                (policy.extras.init, warnings.len()),
                (expected, 0),
                "{json}"
            );
        }
    }

    #[test]
    fn limits_of_processes_are_decoded() {
        let json = r#"{"Ulimits":[{"Name":"nofile","Soft":1024,"Hard":-1},{"Name":"rtprio","Soft":1,"Hard":1}]}"#;
        let (policy, warnings) = of("c", json);
        let nofile = Rlimit {
            kind: RlimitKind::Nofile,
            soft: Some(1024),
            hard: None,
        };
        assert_eq!(policy.extras.rlimits, [nofile]);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn more_groups_and_the_order_of_killing_are_given() {
        let (policy, warnings) = of("c", r#"{"GroupAdd":["video","44"],"OomScoreAdj":500}"#);
        assert_eq!(policy.extras.groups, ["video", "44"]);
        assert_eq!(policy.extras.oom_score_adjustment, 500);
        assert_eq!(warnings, Vec::<String>::new());
    }
}
