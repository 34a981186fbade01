//! What a sandbox uses now.

use super::{SandboxGroup, keyed, number};
use crate::spec::Usage;

impl SandboxGroup {
    /// Reads the accounting files; what the machine does not account for is 0.
    pub(crate) fn usage(&self) -> Usage {
        let read = |path: Option<&std::path::Path>, file: &str| number(&path?.join(file));
        let cpu_stat = self.unified().map(|path| path.join("cpu.stat"));
        let unified_cpu = || Some(keyed(&cpu_stat?, "usage_usec")?.saturating_mul(1000));
        Usage {
            memory_bytes: read(self.v1("memory"), "memory.usage_in_bytes")
                .or_else(|| read(self.v2("memory"), "memory.current"))
                .unwrap_or(0),
            cpu_ns: read(self.v1("cpuacct"), "cpuacct.usage")
                .or_else(unified_cpu)
                .unwrap_or(0),
            pids: read(self.v1("pids"), "pids.current")
                .or_else(|| read(self.v2("pids"), "pids.current"))
                .unwrap_or(0),
        }
    }

    /// Whether the groups still exist.
    pub(crate) fn exists(&self) -> bool {
        self.directories().iter().any(|path| path.exists())
    }
}
