//! What the machine must be able to do. A missing capability fails the test and says which one.

use std::path::Path;

/// Panics with every missing capability and what to do about it.
pub(crate) fn require() {
    let missing: Vec<_> = [
        (
            rustix::process::geteuid().is_root(),
            "root: namespaces, mounts and cgroups are made (run the tests as root)",
        ),
        (
            file_systems().contains("\toverlay\n"),
            "overlayfs (load the kernel module `overlay`)",
        ),
        (
            Path::new("/proc/self/ns/user").exists(),
            "user namespaces (CONFIG_USER_NS)",
        ),
        (
            Path::new("/sys/fs/cgroup").is_dir(),
            "cgroups (mount them below /sys/fs/cgroup)",
        ),
        (in_path("npm"), "npm (install it with the package client)"),
        (in_path("gcc"), "gcc (install it with the package client)"),
    ]
    .into_iter()
    .filter_map(|(present, what)| (!present).then_some(what))
    .collect();
    assert!(
        missing.is_empty(),
        "this machine cannot run the end-to-end tests; missing:\n  {}",
        missing.join("\n  ")
    );
}

fn file_systems() -> String {
    let list = || std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let before = list();
    if !before.contains("\toverlay\n") {
        // A module that is there but not loaded; the answer shows in the list.
        let _ = std::process::Command::new("modprobe")
            .arg("overlay")
            .status();
        return list();
    }
    before
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
