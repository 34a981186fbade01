//! What a successor must know of a running container.

use berth_jail::SandboxSpec;
use berth_net::NetworkUsage;
use serde::{Deserialize, Serialize};

use crate::commit::OriginRecord;
use crate::meter::Past;
use crate::process::Effective;
use crate::{ContainerInfo, SleepPolicy};

/// Version of [`Record`]: raised with every change that an older or newer daemon would misunderstand.
const VERSION: u32 = 1;

/// What stays the same for all of a container's life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fixed {
    pub(crate) sandbox: SandboxSpec,
    pub(crate) process: Effective,
    pub(crate) origin: OriginRecord,
    /// Names of the volumes that it uses.
    pub(crate) volumes: Vec<String>,
    /// It has a disk of its own.
    pub(crate) disk: bool,
    pub(crate) sleep: Option<SleepPolicy>,
    /// What its network had carried before it.
    pub(crate) carried_before: (u64, u64),
    /// See [`crate::ContainerSpec::companion`].
    pub(crate) companion: serde_json::Value,
}

/// How it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Now {
    pub(crate) info: ContainerInfo,
    pub(crate) launches: u32,
    pub(crate) trusts_ca: bool,
    /// What it had used before its process was started.
    pub(crate) past: Past,
    /// When it is to be killed, in Unix milliseconds: it was asked to end.
    pub(crate) kill_at_ms: Option<u64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) fixed: Fixed,
    pub(crate) now: Now,
}

impl Record {
    pub(crate) fn new(fixed: Fixed, now: Now) -> Self {
        Self {
            version: VERSION,
            fixed,
            now,
        }
    }

    /// Whether it means what this daemon takes it to mean.
    pub(crate) fn is_ours(&self) -> bool {
        self.version == VERSION
    }

    /// The id of the sandbox that the latest launch made.
    pub(crate) fn sandbox_id(&self) -> String {
        sandbox_id(&self.fixed.sandbox.id, self.now.launches)
    }

    pub(crate) fn carried_before(&self) -> NetworkUsage {
        let (egress_bytes, ingress_bytes) = self.fixed.carried_before;
        NetworkUsage {
            egress_bytes,
            ingress_bytes,
        }
    }
}

/// The id of the sandbox that a launch makes.
pub(crate) fn sandbox_id(of_container: &str, ordinal: u32) -> String {
    if ordinal > 1 {
        format!("{of_container}-{ordinal}")
    } else {
        of_container.to_owned()
    }
}
