//! /proc and /sys: fresh mounts with Docker's masked and read-only paths, and the sandbox's own
//! control groups, read-only.
//!
//! Invariant: paths are looked up from the fresh mount's own descriptor without following links or
//! crossing mounts, so that no image can redirect them (CVE-2019-19921 and its successors).

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::dev::Device;
use super::mounts::{part, pseudo_fs};
use super::overlay::{attach, clone_tree};
use super::root::Root;
use crate::cgroup::SandboxGroup;
use crate::error::{Failure, Step as _};
use crate::sys;

/// Below /proc, hidden.
const MASKED_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// Below /proc, read-only.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Below /sys, hidden.
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
/// Below /sys, a directory for each processor.
const PROCESSORS: &str = "devices/system/cpu";
/// Below each of those, hidden: counters that tell what others compute (Docker's GHSA-6fw5-f8r9-fgfm,
/// as /proc/interrupts).
const MASKED_PROCESSOR: &str = "thermal_throttle";

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC;

fn restricted() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// Mounts /proc of the calling process's pid namespace.
pub(super) fn mount_proc(root: &Root, device: &Device) -> Result<(), Failure> {
    let proc = pseudo_fs("proc", &[], restricted())?;
    let place = root.plain_directory("proc")?;
    attach(&proc, &place, || "mount `/proc`".to_owned())?;
    for path in READ_ONLY_PROC {
        let Some(target) = find(&proc, path)? else {
            continue;
        };
        let step = || format!("make `/proc/{path}` read-only");
        let copy = part(proc.as_fd(), path).step(step)?;
        sys::mount::add_attributes(&copy, READ_ONLY).step(step)?;
        attach(&copy, &target, step)?;
    }
    for path in MASKED_PROC {
        mask(&proc, path, device)?;
    }
    Ok(())
}

/// Mounts /sys of the calling process's network namespace, read-only.
pub(super) fn mount_sys(
    root: &Root,
    device: &Device,
    groups: Vec<(String, OwnedFd)>,
) -> Result<(), Failure> {
    let sys = pseudo_fs(
        "sysfs",
        &[],
        restricted() | MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?;
    let place = root.plain_directory("sys")?;
    attach(&sys, &place, || "mount `/sys`".to_owned())?;
    for path in MASKED_SYS {
        mask(&sys, path, device)?;
    }
    for path in thermal_counters(&sys)? {
        mask(&sys, &path, device)?;
    }
    mount_groups(&sys, groups)
}

/// The processors' directories of [`MASKED_PROCESSOR`]; none in most virtual machines.
fn thermal_counters(sys: &OwnedFd) -> Result<Vec<String>, Failure> {
    let first = format!("{PROCESSORS}/cpu0/{MASKED_PROCESSOR}");
    if find(sys, &first)?.is_none() {
        return Ok(Vec::new());
    }
    let step = || format!("list `{PROCESSORS}`");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(sys, PROCESSORS, flags, Mode::empty()).step(step)?;
    let mut paths = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory).step(step)? {
        let entry = entry.step(step)?;
        let name = entry.file_name().to_string_lossy();
        let number = name.strip_prefix("cpu").unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            paths.push(format!("{PROCESSORS}/{name}/{MASKED_PROCESSOR}"));
        }
    }
    Ok(paths)
}

/// Opens the sandbox's groups for [`mount_sys`], while the host's paths are in reach.
pub(super) fn open_groups(group: &SandboxGroup) -> Result<Vec<(String, OwnedFd)>, Failure> {
    let mut opened = Vec::new();
    for (name, path) in group.visible() {
        let tree = clone_tree(path)?;
        sys::mount::add_attributes(&tree, READ_ONLY)
            .step(|| format!("make `{}` read-only", path.display()))?;
        opened.push((name.to_owned(), tree));
    }
    Ok(opened)
}

fn mount_groups(sys: &OwnedFd, groups: Vec<(String, OwnedFd)>) -> Result<(), Failure> {
    let Some(place) = find(sys, "fs/cgroup")? else {
        return Ok(());
    };
    let step = || "mount `/sys/fs/cgroup`".to_owned();
    if let [(name, tree)] = groups.as_slice()
        && name.is_empty()
    {
        return attach(tree, &place, step);
    }
    let directory = pseudo_fs("tmpfs", &[("mode", "755"), ("size", "64k")], restricted())?;
    attach(&directory, &place, step)?;
    for (name, tree) in &groups {
        rustix::fs::mkdirat(&directory, name, Mode::from(0o755)).step(step)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&directory, name, flags, Mode::empty()).step(step)?;
        attach(tree, &target, step)?;
    }
    sys::mount::add_attributes(&directory, libc::MOUNT_ATTR_RDONLY).step(step)
}

/// Hides a path behind the null device or an empty directory.
fn mask(mount: &OwnedFd, path: &str, device: &Device) -> Result<(), Failure> {
    let Some(target) = find(mount, path)? else {
        return Ok(());
    };
    let step = || format!("mask `{path}`");
    let stat = rustix::fs::fstat(&target).step(step)?;
    let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let empty = device.empty().step(step)?;
        sys::mount::add_attributes(&empty, READ_ONLY).step(step)?;
        empty
    } else {
        device.null().step(step)?
    };
    attach(&cover, &target, step)
}

/// Looks a path up inside one mount; `None` if this kernel does not have it.
fn find(mount: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, Failure> {
    let found = rustix::fs::openat2(
        mount,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    );
    match found {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).step(|| format!("look up `{path}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::thermal_counters;

    /// Virtual machines have none, so that the jail's own tests may find nothing to look at.
    #[test]
    fn every_processor_s_thermal_counters_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let cpus = directory.path().join("devices/system/cpu");
        let found = || {
            let sys = std::fs::File::open(directory.path()).unwrap().into();
            let mut paths = thermal_counters(&sys).unwrap();
            paths.sort();
            paths
        };
        for name in [
            "cpu0/topology",
            "cpu1",
            "cpu12",
            "cpufreq",
            "cpuidle",
            "power",
        ] {
            std::fs::create_dir_all(cpus.join(name)).unwrap();
        }
        assert_eq!(found(), Vec::<String>::new());
        std::fs::create_dir(cpus.join("cpu0/thermal_throttle")).unwrap();
        let below = |cpu: &str| format!("devices/system/cpu/{cpu}/thermal_throttle");
        assert_eq!(found(), [below("cpu0"), below("cpu1"), below("cpu12")]);
    }
}
