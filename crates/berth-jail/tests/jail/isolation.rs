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
    let world = World::new().await;
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

#[tokio::test]
async fn kernel_interfaces_are_masked_or_read_only() {
    let world = World::new().await;
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
    for path in ["/sys/firmware", "/proc/scsi", "/proc/acpi", "/proc/asound"] {
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

#[tokio::test]
async fn the_host_s_processes_and_files_are_invisible() {
    let world = World::new().await;
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

#[tokio::test]
async fn containers_cannot_reach_each_other_s_memory_queues_or_processes() {
    let world = World::new().await;
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

#[tokio::test]
async fn host_root_is_never_mapped() {
    let world = World::new().await;
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

#[tokio::test]
async fn open_files_and_core_dumps_are_limited() {
    let world = World::new().await;
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
    world.finish().await;
}
