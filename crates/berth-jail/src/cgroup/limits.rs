//! Applying [`Limits`], and whether memory ran out.

use std::io;
use std::path::Path;

use super::{SandboxGroup, keyed, write};
use crate::spec::{Device, Limits};

/// CPU accounting period, the kernel's default.
const PERIOD_US: u64 = 100_000;
/// What CRIU takes for itself while it restores.
const ROOM_BYTES: u64 = 64 << 20;
/// Processes of its own.
const ROOM_PIDS: u32 = 16;
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

    /// Allows a device besides the usual ones, where version 1 restricts them.
    pub(crate) fn allow_device(&self, device: Device) -> io::Result<()> {
        let (major, minor) = device.number();
        match self.v1("devices") {
            Some(directory) => {
                let rule = format!("c {major}:{minor} rwm");
                write(&directory.join("devices.allow"), &rule)
            }
            None => Ok(()),
        }
    }

    /// Sets the CPU quota, in thousandths of a CPU.
    pub(crate) fn limit_cpu(&self, milli: u32) -> io::Result<()> {
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

    /// Room for CRIU, which restores a sandbox inside its groups: what it makes there stays there.
    /// [`SandboxGroup::apply`] takes it back.
    pub(crate) fn make_room(&self, limits: &Limits) -> io::Result<()> {
        if let Some(bytes) = limits.memory_bytes {
            let value = bytes.saturating_add(ROOM_BYTES).to_string();
            if let Some(directory) = self.v1("memory") {
                let _ = write(&directory.join("memory.memsw.limit_in_bytes"), &value);
                write(&directory.join("memory.limit_in_bytes"), &value)?;
            }
            if let Some(directory) = self.v2("memory") {
                write(&directory.join("memory.max"), &value)?;
            }
        }
        self.apply(&Limits {
            pids: limits.pids.map(|pids| pids.saturating_add(ROOM_PIDS)),
            ..Limits::default()
        })
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::cgroup::{Hierarchies, SandboxGroup};
    use crate::spec::Limits;

    /// A directory that looks like a sandbox's group, with these control files.
    fn pretend(root: &Path, files: &[(&str, &str)]) {
        let group = root.join("session/box");
        std::fs::create_dir_all(&group).unwrap();
        for (name, content) in files {
            std::fs::write(group.join(name), content).unwrap();
        }
    }

    fn written(root: &Path, name: &str) -> String {
        std::fs::read_to_string(root.join("session/box").join(name)).unwrap()
    }

    const LIMITS: Limits = Limits {
        cpu_milli: Some(250),
        memory_bytes: Some(1 << 30),
        pids: Some(77),
        disk_bytes: None,
    };

    #[test]
    fn version_2_gets_its_files_and_reports_kills_and_usage() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let empty = [
            "cpu.max",
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
        ];
        pretend(root, &empty.map(|name| (name, "")));
        pretend(
            root,
            &[
                ("memory.events", "oom 3\noom_kill 2\noom_group_kill 1\n"),
                ("memory.current", "4096\n"),
                ("pids.current", "5\n"),
                ("cpu.stat", "usage_usec 7\nuser_usec 3\n"),
            ],
        );
        let hierarchies = Hierarchies {
            unified: Some(root.to_owned()),
            unified_controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
            v1: Vec::new(),
        };
        let group = SandboxGroup::new(&hierarchies, "session", "box");
        group.apply(&LIMITS).unwrap();
        assert_eq!(written(root, "cpu.max"), "25000 100000");
        assert_eq!(written(root, "memory.max"), "1073741824");
        assert_eq!(written(root, "memory.swap.max"), "0");
        assert_eq!(written(root, "memory.oom.group"), "1");
        assert_eq!(written(root, "pids.max"), "77");
        assert_eq!(group.oom_kills(), 2);
        let usage = group.usage();
        assert_eq!(
            (usage.memory_bytes, usage.cpu_ns, usage.pids),
            (4096, 7000, 5)
        );
    }

    #[test]
    fn a_limit_that_cannot_be_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        pretend(directory.path(), &[]);
        let hierarchies = Hierarchies {
            unified: None,
            unified_controllers: Vec::new(),
            v1: vec![("pids".to_owned(), directory.path().to_owned())],
        };
        let group = SandboxGroup::new(&hierarchies, "session", "box");
        assert!(group.apply(&LIMITS).is_err());
        // What the machine does not have is left out.
        let limits = Limits {
            pids: None,
            ..LIMITS
        };
        group.apply(&limits).unwrap();
    }
}
