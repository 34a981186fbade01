//! Limits that a process carries itself: how soon it is killed for memory, and `setrlimit`.
//!
//! Invariant: nothing is raised above what the daemon may have, and no core dump is ever made.

use rustix::process::{Resource, Rlimit};

use super::Policy;
use crate::error::{Failure, Step as _};
use crate::spec::{self, RlimitKind};

/// Descriptors a container may open, if the machine lets us.
const OPEN_FILES: u64 = 1_048_576;
/// Too small for a core file, and the one value with which the kernel does not start the host's crash
/// handler either, which runs as the host's root and looks into the crashed process (CVE-2025-4598).
const CORE_BYTES: u64 = 1;
/// Under memory pressure a container goes before the daemon does.
const OOM_SCORE_ADJUSTMENT: i32 = 100;
/// The kernel's highest.
const MOST_OOM_SCORE_ADJUSTMENT: i32 = 1000;

/// Sets them for the calling process, while the host's /proc is in reach.
pub(super) fn apply(policy: &Policy) -> Result<(), Failure> {
    let adjustment = policy
        .oom_score_adjustment
        .clamp(OOM_SCORE_ADJUSTMENT, MOST_OOM_SCORE_ADJUSTMENT);
    // Not being allowed to (a daemon with a lower score and no CAP_SYS_RESOURCE) is harmless.
    let _ = std::fs::write("/proc/self/oom_score_adj", adjustment.to_string());
    limit_open_files()?;
    rustix::process::setrlimit(Resource::Core, both(CORE_BYTES))
        .step(|| "forbid core dumps".to_owned())?;
    policy.rlimits.iter().try_for_each(limit)
}

fn both(value: u64) -> Rlimit {
    Rlimit {
        current: Some(value),
        maximum: Some(value),
    }
}

fn limit_open_files() -> Result<(), Failure> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    if rustix::process::setrlimit(Resource::Nofile, both(OPEN_FILES)).is_ok() {
        return Ok(());
    }
    let value = hard.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    rustix::process::setrlimit(Resource::Nofile, both(value)).step(|| "limit open files".to_owned())
}

fn limit(asked: &spec::Rlimit) -> Result<(), Failure> {
    let resource = resource(asked.kind);
    // More than the daemon's own limit takes CAP_SYS_RESOURCE, which it may not have.
    let most = rustix::process::getrlimit(resource).maximum;
    let lowered = |value: Option<u64>| match (value, most) {
        (Some(value), Some(most)) => Some(value.min(most)),
        (value, most) => value.or(most),
    };
    let hard = lowered(asked.hard);
    let soft = lowered(asked.soft);
    let soft = match (soft, hard) {
        (Some(soft), Some(hard)) => Some(soft.min(hard)),
        (soft, hard) => soft.or(hard),
    };
    let limit = Rlimit {
        current: soft,
        maximum: hard,
    };
    rustix::process::setrlimit(resource, limit).step(|| format!("apply the limit {resource:?}"))
}

fn resource(kind: RlimitKind) -> Resource {
    match kind {
        RlimitKind::Nofile => Resource::Nofile,
        RlimitKind::Nproc => Resource::Nproc,
        RlimitKind::Core => Resource::Core,
        RlimitKind::Memlock => Resource::Memlock,
        RlimitKind::Stack => Resource::Stack,
        RlimitKind::Fsize => Resource::Fsize,
        RlimitKind::As => Resource::As,
        RlimitKind::Data => Resource::Data,
        RlimitKind::Rss => Resource::Rss,
        RlimitKind::Cpu => Resource::Cpu,
        RlimitKind::Sigpending => Resource::Sigpending,
        RlimitKind::Msgqueue => Resource::Msgqueue,
    }
}
