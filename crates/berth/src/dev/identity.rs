//! What containers are told about where they run (`CLOUDFLARE_*`).

use std::time::Duration;

use berth_config::Project;
use berth_docker::{Application, Applications, Identity};
use berth_engine::SleepPolicy;
use berth_jail::Limits;

/// Processes and threads of one instance.
pub(crate) const PIDS: u32 = 4096;

/// What the command line says of how instances stop and start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopAndStart {
    /// See [`Application::stop_grace`].
    pub(crate) stop_grace: Duration,
    /// See [`Applications::starts_per_second`].
    pub(crate) starts_per_second: Option<u32>,
}

/// The applications of a project. The application ids stay the same as long as the project stays
/// where it is; the deployment id is the session's.
pub(crate) fn applications(
    project: &Project,
    deployment_id: &str,
    policy: StopAndStart,
) -> Applications {
    let applications = project
        .containers
        .iter()
        .map(|app| Application {
            unique_key: berth_workerd::unique_key(&project.name, &app.class_name),
            class_name: app.class_name.clone(),
            limits: Limits {
                cpu_milli: Some(cpu_milli(app.resources.vcpu)),
                memory_bytes: Some(app.resources.memory_mib << 20),
                pids: Some(PIDS),
                disk_bytes: Some(app.resources.disk_mb * 1_000_000),
            },
            chooser: None,
            sizer: None,
            made_for: None,
            sleep: app.sleep.map(|sleep| SleepPolicy {
                freeze_after: sleep.freeze_after,
                quiet_connection_after: sleep.quiet_connection_after,
                checkpoint_after: sleep.checkpoint_after,
            }),
            max_instances: app.max_instances,
            stop_grace: policy.stop_grace,
            application_id: stable_id(&[
                project.root.as_os_str().as_encoded_bytes(),
                app.name.as_bytes(),
            ]),
        })
        .collect();
    Applications {
        applications,
        identity: identity(deployment_id),
        starts_per_second: policy.starts_per_second,
    }
}

/// For clients that tell nothing of their applications: what they get is the defaults.
pub(crate) fn unknown_applications(deployment_id: &str) -> Applications {
    Applications {
        applications: Vec::new(),
        identity: identity(deployment_id),
        starts_per_second: None,
    }
}

/// Where this machine is. The defaults say «unknown»: a laptop does not know its region.
fn identity(deployment_id: &str) -> Identity {
    let setting = |name: &str, default: &str| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .unwrap_or(default.to_owned())
    };
    Identity {
        deployment_id: deployment_id.to_owned(),
        location: setting("BERTH_LOCATION", "local"),
        region: setting("BERTH_REGION", "LOCAL"),
        country: setting("BERTH_COUNTRY", "XX"),
        node_id: setting("BERTH_NODE_ID", &node_id()),
    }
}

/// Stays the same on one machine without giving away its machine id, as machine-id(5) asks.
fn node_id() -> String {
    let machine = fs_err::read("/etc/machine-id").or_else(|_| fs_err::read("/etc/hostname"));
    stable_id(&[b"berth node", &machine.unwrap_or_default()])
}

fn stable_id(parts: &[&[u8]]) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &parts.join(&b'\0')).to_string()
}

/// Thousandths of a CPU, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "validated to lie between 0.0625 and 4"
)]
pub(crate) fn cpu_milli(vcpu: f64) -> u32 {
    ((vcpu * 1000.0).round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_differ() {
        assert_eq!(stable_id(&[b"a", b"b"]), stable_id(&[b"a", b"b"]));
        assert_ne!(stable_id(&[b"a", b"b"]), stable_id(&[b"ab", b""]));
    }

    #[test]
    fn a_sixteenth_of_a_cpu_is_63_thousandths() {
        assert_eq!(cpu_milli(0.0625), 63);
        assert_eq!(cpu_milli(4.0), 4000);
    }
}
