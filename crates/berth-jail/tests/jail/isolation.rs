//! What a hostile program in a container cannot call, see or reach.

use std::collections::BTreeMap;

use crate::world::{World, exec, process, started};
use berth_jail::JailError;

/// `name value` lines.
fn parse(text: &str) -> BTreeMap<&str, i32> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name, value.parse().ok()?))
        })
        .collect()
}

#[tokio::test]
async fn dangerous_system_calls_are_refused() {
    for world in World::of_each_kind().await {
        let image = world.image();
        let sandbox = started(&world, &image).await;
        let first = world
            .run(world.spec(&world.image(), &["try"]))
            .await
            .unwrap();
        let second = exec(&sandbox, process(&["try"])).await.unwrap();
        sandbox.kill_all().await.unwrap();
        for output in [first, second] {
            let results = parse(&output.stdout);
            let allowed = ["af_inet", "af_unix", "chroot", "personality-ok"];
            for (name, errno) in &results {
                let expected = match *name {
                    name if allowed.contains(&name) => 0,
                    "clone3" => libc::ENOSYS,
                    // Within a sandbox tracing is allowed; a first process cannot trace itself.
                    "ptrace-init" => continue,
                    _ => libc::EPERM,
                };
                assert_eq!(*errno, expected, "{name}: {results:?}");
            }
            assert_eq!(results.len(), 30, "{results:?}");
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn kernel_interfaces_are_masked_or_read_only() {
    for world in World::of_each_kind().await {
        for path in [
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/interrupts",
        ] {
            let text = world.probe(&["cat", path]).await;
            let absent = format!("open {path}: {}\n", libc::ENOENT);
            assert!(text.is_empty() || text == absent, "{path}: {text}");
        }
        for path in [
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
            "/sys/devices/system/cpu/cpu0/thermal_throttle",
            "/proc/scsi",
            "/proc/acpi",
            "/proc/asound",
        ] {
            if std::path::Path::new(path).exists() {
                assert_eq!(world.probe(&["list", path]).await, "", "{path}");
            }
        }
        for path in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory.max",
        ] {
            if !std::path::Path::new(path).exists() {
                continue;
            }
            let image = world.image();
            let output = world
                .run(world.spec(&image, &["write", path, "x"]))
                .await
                .unwrap();
            let refused = [libc::EROFS, libc::EACCES, libc::EPERM]
                .iter()
                .any(|errno| output.stdout == format!("{path} open {errno}\n"));
            assert!(refused, "{path}: {}", output.stdout);
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn the_host_s_processes_and_files_are_invisible() {
    for world in World::of_each_kind().await {
        let pids: Vec<String> = world
            .probe(&["list", "/proc"])
            .await
            .lines()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .map(str::to_owned)
            .collect();
        assert_eq!(pids, ["1"]);
        let mounts = world.probe(&["cat", "/proc/self/mountinfo"]).await;
        let here = world.directory.path().to_str().unwrap();
        // The overlay's options name its layers only by descriptor; no other path of the host shows.
        for line in mounts.lines().filter(|line| !line.contains(" - overlay ")) {
            assert!(!line.contains(here), "{line}");
        }
        assert!(!mounts.contains("/dev/vda"), "{mounts}");
        let groups = world.probe(&["cat", "/proc/self/cgroup"]).await;
        assert!(!groups.contains("berth-test"), "{groups}");
        assert_eq!(world.probe(&["fds"]).await, "0\n1\n2\n");
        assert_eq!(world.probe(&["list", "/dev/mqueue"]).await, "");
        let devices: Vec<String> = world
            .probe(&["list", "/dev"])
            .await
            .lines()
            .map(str::to_owned)
            .collect();
        let mut sorted = devices.clone();
        sorted.sort();
        let expected = [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
            "stdout", "tty", "urandom", "zero",
        ];
        assert_eq!(sorted, expected);
        world.finish().await;
    }
}

#[tokio::test]
async fn containers_cannot_reach_each_other_s_memory_queues_or_processes() {
    for world in World::of_each_kind().await {
        let one = world.image();
        let sandbox = started(&world, &one).await;
        exec(&sandbox, process(&["create", "/dev/shm/secret"]))
            .await
            .unwrap();
        exec(&sandbox, process(&["create", "/dev/mqueue/secret"]))
            .await
            .unwrap();
        assert_eq!(world.probe(&["list", "/dev/shm"]).await, "");
        assert_eq!(world.probe(&["list", "/dev/mqueue"]).await, "");
        let listed = exec(&sandbox, process(&["list", "/dev/shm"]))
            .await
            .unwrap();
        assert_eq!(listed.stdout, "secret\n");
        sandbox.kill_all().await.unwrap();
        world.finish().await;
    }
}

#[tokio::test]
async fn host_root_is_never_mapped() {
    for world in World::of_each_kind().await {
        let image = world.image();
        for base in [0, 1000, 65_535, u32::MAX - 100] {
            let mut spec = world.spec(&image, &["ids"]);
            spec.id_base = base;
            let error = world.run(spec).await.unwrap_err();
            assert!(
                matches!(error, JailError::Setup { .. }),
                "{base}: {error:?}"
            );
        }
        let output = world
            .run(world.spec(&image, &["cat", "/proc/self/uid_map"]))
            .await
            .unwrap();
        let fields: Vec<&str> = output.stdout.split_whitespace().collect();
        let base = world.id_base().to_string();
        assert_eq!(fields, ["0", base.as_str(), "65536"]);
        world.finish().await;
    }
}

#[tokio::test]
async fn open_files_and_core_dumps_are_limited() {
    for world in World::of_each_kind().await {
        let limits = world.probe(&["limits"]).await;
        let line = |name: &str| {
            let found = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let fields: Vec<&str> = found[name.len()..].split_whitespace().collect();
            (fields[0].to_owned(), fields[1].to_owned())
        };
        // At 1 the kernel neither writes a core file nor starts the host's crash handler.
        assert_eq!(line("Max core file size"), ("1".to_owned(), "1".to_owned()));
        let (soft, hard) = line("Max open files");
        assert_eq!(soft, hard);
        assert!(soft.parse::<u64>().unwrap() <= 1_048_576, "{soft}");
        world.finish().await;
    }
}

#[tokio::test]
async fn calls_that_no_container_may_make_fail_whatever_their_arguments() {
    for world in World::of_each_kind().await {
        let image = world.image();
        // Also without no_new_privs, and with capabilities that Docker's profile has exceptions for. Mounts
        // of its own are the one exception here: see `privileges.rs`.
        let own_mounts = [
            "mount",
            "umount2",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "move_mount",
            "open_tree",
            "mount_setattr",
        ];
        for (no_new_privs, capability) in [(true, "CAP_SYS_PTRACE"), (false, "CAP_SYS_ADMIN")] {
            let mut spec = world.spec(&image, &["forbidden"]);
            spec.no_new_privs = no_new_privs;
            spec.capabilities.push(capability.to_owned());
            let output = world.run(spec).await.unwrap();
            let results = parse(&output.stdout);
            assert!(results.len() > 48, "{results:?}");
            for (name, errno) in &results {
                if capability == "CAP_SYS_ADMIN" && own_mounts.contains(name) {
                    continue;
                }
                assert_eq!(*errno, libc::EPERM, "{name}");
            }
        }
        world.finish().await;
    }
}

/// CVE-2025-52881: writing where the kernel obeys, through every way to the path.
#[tokio::test]
async fn cve_2025_52881_no_process_writes_to_proc_sys() {
    for world in World::of_each_kind().await {
        for path in [
            "/proc/sys/kernel/core_pattern",
            "/proc/self/root/proc/sys/kernel/core_pattern",
            "/proc/1/root/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
            "/proc/1/../sysrq-trigger",
        ] {
            let image = world.image();
            let output = world.run(world.spec(&image, &["write", path, "x"]));
            let output = output.await.unwrap().stdout;
            let refused = [libc::EROFS, libc::ENOENT, libc::EACCES];
            let refused = refused.map(|errno| format!("{path} open {errno}\n"));
            assert!(refused.contains(&output), "{path}: {output}");
        }
        world.finish().await;
    }
}

/// Also CVE-2023-25809: the cgroup tree is the container's own, and read-only.
#[tokio::test]
async fn cve_2022_0492_the_control_groups_cannot_be_written() {
    for world in World::of_each_kind().await {
        let listed = world.probe(&["list", "/sys/fs/cgroup"]).await;
        let v2 = listed.lines().any(|name| name == "cgroup.procs");
        let groups: Vec<String> = if v2 {
            vec!["/sys/fs/cgroup".to_owned()]
        } else {
            let names = listed.lines();
            names.map(|name| format!("/sys/fs/cgroup/{name}")).collect()
        };
        assert!(!groups.is_empty());
        for group in &groups {
            for file in ["cgroup.procs", "release_agent", "notify_on_release", "new"] {
                let image = world.image();
                let path = format!("{group}/{file}");
                let command = if file == "new" { "create" } else { "write" };
                let output = world.run(world.spec(&image, &[command, &path, "0"]));
                let output = output.await.unwrap().stdout;
                let refused = [libc::EROFS, libc::EACCES, libc::ENOENT]
                    .iter()
                    .any(|errno| output.ends_with(&format!(" {errno}\n")));
                assert!(refused, "{path}: {output}");
            }
            // Its own processes and no other group.
            let image = world.image();
            let path = format!("{group}/cgroup.procs");
            let output = world
                .run(world.spec(&image, &["cat", &path]))
                .await
                .unwrap();
            assert_eq!(output.stdout, "1\n", "{path}");
        }
        world.finish().await;
    }
}

/// CVE-2020-15257: an abstract socket is found by name in a network namespace, so no container may
/// share one with the daemon; and no socket of the host has a path inside.
#[tokio::test]
async fn cve_2020_15257_sockets_of_the_host_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    for world in World::of_each_kind().await {
        let name = format!("berth-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _abstract = UnixListener::bind_addr(&address).unwrap();
        let path = world.directory.path().join("engine.sock");
        let _named = UnixListener::bind(&path).unwrap();
        let image = world.image();
        let sandbox = started(&world, &image).await;
        for (target, expected) in [
            (format!("@{name}"), libc::ECONNREFUSED),
            (path.to_str().unwrap().to_owned(), libc::ENOENT),
            ("/run/docker.sock".to_owned(), libc::ENOENT),
            ("/var/run/docker.sock".to_owned(), libc::ENOENT),
        ] {
            let output = world.probe(&["dial", &target]).await;
            assert_eq!(output, format!("connect {expected}\n"), "{target}");
            let output = exec(&sandbox, process(&["dial", &target])).await.unwrap();
            assert_eq!(output.stdout, format!("connect {expected}\n"), "{target}");
        }
        sandbox.kill_all().await.unwrap();
        world.finish().await;
    }
}

#[tokio::test]
async fn containers_cannot_find_each_other_s_processes_ipc_or_sockets() {
    for world in World::of_each_kind().await {
        let image = world.image();
        let sandbox = started(&world, &image).await;
        let (stdout, write) = crate::world::pipe();
        let fds = berth_jail::ExecFds::Pipes {
            stdin: None,
            stdout: Some(write),
            stderr: None,
        };
        let serve = process(&["serve-abstract", "@shared"]);
        let (_server, _) = sandbox.exec(serve, fds).await.unwrap();
        let (line, _stdout) = crate::world::Reader::new(stdout).line().await;
        assert_eq!(line, "up");
        exec(&sandbox, process(&["ipc", "make"])).await.unwrap();
        let host = sandbox.pid().to_string();
        let after = (sandbox.pid() + 1).to_string();

        let neighbour_image = world.image();
        let mut spec = world.spec(&neighbour_image, &["sleep"]);
        // Even with the ids of the other.
        spec.id_base = world.id_base();
        let own = crate::world::fresh_netns();
        let (neighbour, stdout, _) = world.start_in(spec, own).await.unwrap();
        let (line, _stdout) = stdout.line().await;
        assert_eq!(line, "up");
        for (sandbox, dial, found) in [
            (&sandbox, 0, 0),
            (&neighbour, libc::ECONNREFUSED, libc::ENOENT),
        ] {
            let output = exec(sandbox, process(&["dial", "@shared"])).await.unwrap();
            assert_eq!(output.stdout, format!("connect {dial}\n"));
            let output = exec(sandbox, process(&["ipc"])).await.unwrap();
            let expected = format!("shm {found}\nmsg {found}\nsem {found}\n");
            assert_eq!(output.stdout, expected);
        }
        for (from, to) in [("2", "300"), (host.as_str(), after.as_str())] {
            let output = exec(&neighbour, process(&["reach", from, to])).await;
            assert_eq!(output.unwrap().stdout, "reached 0\n");
        }
        // It does reach those that are there.
        let output = exec(&sandbox, process(&["reach", "2", "300"])).await;
        assert_ne!(output.unwrap().stdout, "reached 0\n");
        sandbox.kill_all().await.unwrap();
        neighbour.kill_all().await.unwrap();
        world.finish().await;
    }
}

/// The zygote makes `listen` for containers; the kernel notes who did.
#[tokio::test]
async fn a_unix_listener_has_its_own_credentials() {
    for world in World::of_each_kind().await {
        let output = world.probe(&["unix-credentials"]).await;
        assert_eq!(
            output,
            "bind 0\nlisten 0\nconnect 0\npeer pid 1 uid 0 gid 0\n"
        );
        world.finish().await;
    }
}

#[tokio::test]
async fn device_nodes_cannot_be_made() {
    for world in World::of_each_kind().await {
        for (kind, major, minor) in [
            ("b", "8", "0"),
            ("b", "254", "0"),
            ("c", "1", "1"),
            ("c", "1", "5"),
        ] {
            let output = world.probe(&["mknod", kind, major, minor]).await;
            let expected = format!("mknod {}\nopen {}\n", libc::EPERM, libc::ENOENT);
            assert_eq!(output, expected, "{kind} {major}:{minor}");
        }
        world.finish().await;
    }
}

/// Every mount of a container, with the options that it must have.
#[tokio::test]
async fn no_mount_has_devices_or_what_it_need_not_have() {
    for world in World::of_each_kind().await {
        let mounts = world.probe(&["cat", "/proc/self/mountinfo"]).await;
        // Also what nobody but the host's root may write is read-only: two defences, not one.
        for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
            let wanted = format!(" /proc/{path} ro,");
            let exists = std::path::Path::new("/proc").join(path).exists();
            assert!(!exists || mounts.contains(&wanted), "{path}: {mounts}");
        }
        let mut seen = 0;
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (path, options) = (fields[4], fields[5]);
            let has = |option: &str| options.split(',').any(|have| have == option);
            if path != "/dev" && path != "/dev/pts" && !path.starts_with("/proc/") {
                assert!(has("nodev"), "{line}");
            }
            if path != "/" {
                assert!(has("nosuid"), "{line}");
            }
            if path == "/proc" || path.starts_with("/sys") || path.starts_with("/dev/") {
                assert!(has("noexec"), "{line}");
            }
            // Files of the jail's own, such as /etc/hosts, come from a file system below /dev/mqueue.
            let writable = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];
            let masks_of_files = path.starts_with("/proc/") && line.contains("/null ");
            if !writable.contains(&path) && !masks_of_files {
                assert!(has("ro"), "{line}");
            }
            // Nothing propagates from or to the host.
            assert!(
                !line.contains(" shared:") && !line.contains(" master:"),
                "{line}"
            );
            seen += 1;
        }
        assert!(seen > 10, "{mounts}");
        world.finish().await;
    }
}
