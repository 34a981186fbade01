//! Which hierarchies this machine has mounted, read from `/proc/self/mountinfo`.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version 1 controllers a sandbox joins, where they are mounted.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "devices"];
/// Controllers without which a limit cannot be held.
const LIMITING: [&str; 3] = ["cpu", "memory", "pids"];

/// What the machine's control groups can and cannot do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Limits that cannot be held here: of `cpu`, `memory`, `pids`.
    pub missing_limits: Vec<String>,
    /// Sandboxes can be frozen.
    pub freezer: bool,
    /// A version 2 hierarchy is mounted.
    pub unified: bool,
}

/// The mounted hierarchies that Berth uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hierarchies {
    /// Mount point of version 2.
    pub(crate) unified: Option<PathBuf>,
    /// Controllers that version 2 offers at its root.
    pub(crate) unified_controllers: Vec<String>,
    /// Version 1 controllers and their mount points; `freezer` only if version 2 is not mounted.
    pub(crate) v1: Vec<(String, PathBuf)>,
}

impl Hierarchies {
    /// Reads the mount table.
    pub(crate) fn detect() -> io::Result<Self> {
        let mut found = Self::parse(&std::fs::read_to_string("/proc/self/mountinfo")?);
        if let Some(root) = &found.unified {
            let offered =
                std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            found.unified_controllers = offered
                .split_whitespace()
                .filter(|name| LIMITING.contains(name))
                .map(str::to_owned)
                .collect();
        }
        Ok(found)
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        let mut freezer = None;
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = before.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let mut fields = after.split(' ');
            match (fields.next(), fields.nth(1)) {
                (Some("cgroup2"), _) => {
                    found.unified.get_or_insert(point);
                }
                (Some("cgroup"), Some(options)) => {
                    for option in options.split(',') {
                        let known = found.v1.iter().any(|(name, _)| name == option);
                        if CONTROLLERS.contains(&option) && !known {
                            found.v1.push((option.to_owned(), point.clone()));
                        } else if option == "freezer" {
                            freezer.get_or_insert(point.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        if let (None, Some(point)) = (&found.unified, freezer) {
            found.v1.push(("freezer".to_owned(), point));
        }
        found
    }

    /// Each mount point once; version 2 first.
    pub(crate) fn roots(&self) -> Vec<&PathBuf> {
        let mut roots: Vec<&PathBuf> = self.unified.iter().collect();
        for (_, root) in &self.v1 {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        roots
    }

    /// The one hierarchy in which every process of a session is, the zygote and workerd included.
    pub(crate) fn tracking(&self) -> Option<&PathBuf> {
        let freezer = || self.v1.iter().find(|(name, _)| name == "freezer");
        let any = || {
            self.v1
                .iter()
                .find(|(name, _)| name == "pids")
                .or(self.v1.first())
        };
        self.unified
            .as_ref()
            .or_else(|| freezer().or_else(any).map(|(_, root)| root))
    }

    /// What works here.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let has = |name: &str| {
            self.unified_controllers.iter().any(|have| have == name)
                || self.v1.iter().any(|(have, _)| have == name)
        };
        Capabilities {
            missing_limits: LIMITING
                .into_iter()
                .filter(|name| !has(name))
                .map(str::to_owned)
                .collect(),
            freezer: self.unified.is_some() || has("freezer"),
            unified: self.unified.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hierarchies;

    #[test]
    fn a_mixed_machine_uses_version_2_for_tracking_and_version_1_for_limits() {
        let found = Hierarchies::parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(found.roots().len(), 3, "{found:?}");
        assert_eq!(
            found.tracking().unwrap().to_str(),
            Some("/sys/fs/cgroup/unified")
        );
        let capabilities = found.capabilities();
        assert_eq!(capabilities.missing_limits, ["pids"]);
        assert!(capabilities.freezer && capabilities.unified);
    }

    #[test]
    fn without_version_2_the_freezer_is_used() {
        let found = Hierarchies::parse(
            "35 31 0:32 / /c/memory rw - cgroup cgroup rw,memory\n\
             37 31 0:34 / /c/freezer rw - cgroup cgroup rw,freezer\n",
        );
        assert_eq!(found.tracking().unwrap().to_str(), Some("/c/freezer"));
        assert!(found.capabilities().freezer);
        assert!(!found.capabilities().unified);
    }

    #[test]
    fn a_machine_without_control_groups_is_no_error() {
        let found = Hierarchies::parse("27 1 254:0 / / rw - ext4 /dev/vda rw\n");
        assert!(found.tracking().is_none());
        assert_eq!(found.capabilities().missing_limits.len(), 3);
    }
}
