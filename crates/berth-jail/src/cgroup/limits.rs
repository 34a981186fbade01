//! Applying [`Limits`], and whether memory ran out.

use std::io;
use std::path::Path;

use super::{SandboxGroup, keyed, write};
use crate::spec::Limits;

/// CPU accounting period, the kernel's default.
const PERIOD_US: u64 = 100_000;
/// The kernel refuses smaller quotas.
const SMALLEST_QUOTA_US: u64 = 1_000;

/// Device rules of version 1, Docker's defaults: any device node may be made, and null, zero, full,
/// random, urandom, tty, ptmx and terminals used.
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

impl SandboxGroup {
    /// Writes the limits. The group may hold the calling process already.
    pub(crate) fn apply(&self, limits: &Limits) -> io::Result<()> {
        if let Some(milli) = limits.cpu_milli {
            self.limit_cpu(milli)?;
        }
        if let Some(bytes) = limits.memory_bytes {
            self.limit_memory(bytes)?;
        }
        if let Some(pids) = limits.pids {
            // At least the first process.
            let value = pids.max(1).to_string();
            for directory in [self.v1("pids"), self.v2("pids")].into_iter().flatten() {
                write(&directory.join("pids.max"), &value)?;
            }
        }
        Ok(())
    }

    /// Restricts devices, where version 1 can. The root mount's `nodev` holds everywhere.
    pub(crate) fn restrict_devices(&self) -> io::Result<()> {
        let Some(directory) = self.v1("devices") else {
            return Ok(());
        };
        write(&directory.join("devices.deny"), "a")?;
        for rule in DEVICES {
            write(&directory.join("devices.allow"), rule)?;
        }
        Ok(())
    }

    fn limit_cpu(&self, milli: u32) -> io::Result<()> {
        let quota = (u64::from(milli) * PERIOD_US / 1000).max(SMALLEST_QUOTA_US);
        if let Some(directory) = self.v1("cpu") {
            write(&directory.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
            write(&directory.join("cpu.cfs_quota_us"), &quota.to_string())?;
        }
        if let Some(directory) = self.v2("cpu") {
            write(&directory.join("cpu.max"), &format!("{quota} {PERIOD_US}"))?;
        }
        Ok(())
    }

    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let value = bytes.to_string();
        if let Some(directory) = self.v1("memory") {
            write(&directory.join("memory.limit_in_bytes"), &value)?;
            // Swap accounting may be compiled or switched off; without it swappiness has to do.
            let _ = write(&directory.join("memory.memsw.limit_in_bytes"), &value);
            let _ = write(&directory.join("memory.swappiness"), "0");
        }
        if let Some(directory) = self.v2("memory") {
            write(&directory.join("memory.max"), &value)?;
            let _ = write(&directory.join("memory.swap.max"), "0");
            write(&directory.join("memory.oom.group"), "1")?;
        }
        Ok(())
    }

    /// How many of the sandbox's processes the kernel has killed for memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let v1 = self
            .v1("memory")
            .map(|path| path.join("memory.oom_control"));
        let v2 = self.v2("memory").map(|path| path.join("memory.events"));
        let count = |path: &Path| keyed(path, "oom_kill").unwrap_or(0);
        v1.iter().chain(&v2).map(|path| count(path)).sum()
    }
}
