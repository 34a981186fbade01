//! What a container cannot do, and what an image cannot make the jail do.
//!
//! Each test names the class of vulnerability that it guards against.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::world::{Image, World, exec, process, replace_with_link};
use berth_jail::{JailError, Mount, MountSource, Sandbox};

/// `name value` lines.
fn parse(text: &str) -> BTreeMap<&str, i32> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name, value.parse().ok()?))
        })
        .collect()
}

fn status_field<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .unwrap()
}

async fn started(world: &World, image: &Image) -> Sandbox {
    let (sandbox, stdout, _) = world.start(world.spec(image, &["sleep"])).await.unwrap();
    let (line, _) = stdout.line().await;
    assert_eq!(line, "up");
    sandbox
}

#[tokio::test]
async fn capabilities_no_new_privs_and_seccomp_are_as_specified() {
    let world = World::new().await;
    let image = world.image();
    // Docker's fourteen.
    let fourteen = "00000000a80425fb";
    let nothing = "0000000000000000";
    for (user, effective) in [("", fourteen), ("node", nothing)] {
        for no_new_privs in [true, false] {
            let mut spec = world.spec(&image, &["cat", "/proc/self/status"]);
            spec.process.user = user.to_owned();
            spec.no_new_privs = no_new_privs;
            let first = world.run(spec.clone()).await.unwrap().stdout;
            spec.process = process(&["sleep"]);
            let (sandbox, _, _) = world.start(spec).await.unwrap();
            let mut inside = process(&["cat", "/proc/self/status"]);
            inside.user = user.to_owned();
            let second = exec(&sandbox, inside).await.unwrap().stdout;
            sandbox.kill_all().await.unwrap();
            for status in [first, second] {
                assert_eq!(status_field(&status, "CapInh"), nothing);
                assert_eq!(status_field(&status, "CapAmb"), nothing);
                assert_eq!(status_field(&status, "CapPrm"), effective);
                assert_eq!(status_field(&status, "CapEff"), effective);
                assert_eq!(status_field(&status, "CapBnd"), fourteen);
                assert_eq!(status_field(&status, "Seccomp"), "2");
                let expected = if no_new_privs { "1" } else { "0" };
                assert_eq!(status_field(&status, "NoNewPrivs"), expected);
                assert_eq!(status_field(&status, "SigIgn"), nothing);
                assert_eq!(status_field(&status, "SigBlk"), nothing);
            }
        }
    }
    let mut spec = world.spec(&image, &["cat", "/proc/self/status"]);
    spec.capabilities = vec!["CAP_CHOWN".to_owned()];
    let status = world.run(spec).await.unwrap().stdout;
    assert_eq!(status_field(&status, "CapBnd"), "0000000000000001");
    assert_eq!(status_field(&status, "CapEff"), "0000000000000001");
    let mut spec = world.spec(&image, &["ids"]);
    spec.capabilities = vec!["CAP_NONSENSE".to_owned()];
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::Invalid(_)), "{error:?}");
    world.finish().await;
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
async fn an_image_s_device_nodes_are_not_devices() {
    let world = World::new().await;
    let image = world.image();
    let status = std::process::Command::new("mknod")
        .args(["-m", "0666"])
        .arg(image.layer.join("disk"))
        .args(["c", "1", "5"])
        .status()
        .unwrap();
    assert!(status.success());
    let output = world
        .run(world.spec(&image, &["open-device", "/disk"]))
        .await
        .unwrap();
    assert_eq!(output.stdout, format!("open {}\n", libc::EACCES));
    let output = world
        .run(world.spec(&image, &["open-device", "/dev/zero"]))
        .await
        .unwrap();
    assert_eq!(output.stdout, "open 0\n");
    world.finish().await;
}

/// CVE-2019-19921, CVE-2023-28642, CVE-2026-41579, CVE-2026-47766.
#[tokio::test]
async fn an_image_cannot_redirect_proc_sys_or_dev() {
    let world = World::new().await;
    let canary = world.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("null"), "untouched").unwrap();
    for directory in ["proc", "sys", "dev"] {
        for target in [
            canary.clone(),
            PathBuf::from("data"),
            PathBuf::from("/nowhere"),
        ] {
            let image = world.image();
            replace_with_link(&image, directory, &target);
            let error = world.run(world.spec(&image, &["ids"])).await.unwrap_err();
            assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
        }
        let image = world.image();
        std::fs::write(image.layer.join(directory), "a file").unwrap();
        let error = world.run(world.spec(&image, &["ids"])).await.unwrap_err();
        assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
    }
    assert_eq!(
        std::fs::read_to_string(canary.join("null")).unwrap(),
        "untouched"
    );
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    world.finish().await;
}

/// CVE-2025-31133, CVE-2025-52565, CVE-2024-45310: links below /dev, at /etc/hosts, on a target's way.
#[tokio::test]
async fn links_in_an_image_stay_inside_it() {
    let world = World::new().await;
    let canary = world.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("hosts"), "untouched").unwrap();
    let image = world.image();
    std::fs::create_dir(image.layer.join("dev")).unwrap();
    for name in ["null", "console", "pts", "shm", "ptmx"] {
        replace_with_link(&image, &format!("dev/{name}"), &canary.join("hosts"));
    }
    replace_with_link(&image, "etc/hosts", &canary.join("hosts"));
    replace_with_link(
        &image,
        "etc/resolv.conf",
        &PathBuf::from("../../../../run/made/resolv.conf"),
    );
    replace_with_link(&image, "volume", &canary);
    replace_with_link(
        &image,
        "magic",
        &PathBuf::from("/proc/self/root/etc/passwd"),
    );
    let mut spec = world.spec(&image, &["cat", "/etc/hosts", "/etc/resolv.conf"]);
    spec.files
        .insert("/etc/hosts".to_owned(), "hosts\n".to_owned());
    spec.files
        .insert("/etc/resolv.conf".to_owned(), "resolver\n".to_owned());
    spec.mounts.push(Mount {
        target: "/volume/inner".to_owned(),
        source: MountSource::Tmpfs(1 << 20),
        read_only: false,
    });
    let output = world.run(spec.clone()).await.unwrap();
    assert_eq!(output.stdout, "hosts\nresolver\n");
    assert_eq!(
        std::fs::read_to_string(canary.join("hosts")).unwrap(),
        "untouched"
    );
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    // What had to be made was made in the writable layer.
    assert!(image.upper.join("run/made/resolv.conf").exists());
    assert!(image.upper.join(canary.strip_prefix("/").unwrap()).exists());

    spec.files.insert("/magic".to_owned(), String::new());
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
    world.finish().await;
}

/// CVE-2021-30465: a second container exchanges a mount's target and a link while it is mounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_race_over_a_shared_volume_does_not_reach_the_host() {
    let world = World::new().await;
    let canary = world.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let volume = world.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let shared = Mount {
        target: "/volume".to_owned(),
        source: MountSource::Bind(volume),
        read_only: false,
    };
    let canary_path = canary.to_str().unwrap();
    let attacker = world.image();
    let mut spec = world.spec(&attacker, &["swap", "/volume", canary_path]);
    spec.mounts.push(shared.clone());
    let (attacker, stdout, _) = world.start(spec).await.unwrap();
    let (line, _) = stdout.line().await;
    assert_eq!(line, "up");
    let victim = world.image();
    for _ in 0..40 {
        let mut spec = world.spec(&victim, &["ids"]);
        spec.mounts.push(shared.clone());
        spec.mounts.push(Mount {
            target: "/volume/target/inner".to_owned(),
            source: MountSource::Tmpfs(1 << 20),
            read_only: false,
        });
        spec.files
            .insert("/volume/target/file".to_owned(), "x".to_owned());
        spec.process.cwd = "/volume/target".to_owned();
        // It may lose the race and fail; it must not get out.
        let _ = world.run(spec).await;
    }
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    attacker.kill_all().await.unwrap();
    world.finish().await;
}

/// CVE-2024-21626.
#[tokio::test]
async fn a_working_directory_cannot_lead_out() {
    let world = World::new().await;
    let image = world.image();
    replace_with_link(&image, "link", &PathBuf::from("/proc/self/fd/7"));
    let sandbox = started(&world, &image).await;
    let numbered = (3..20).map(|number| format!("/proc/self/fd/{number}"));
    let paths = numbered.chain(
        [
            "/proc/self/root",
            "/proc/1/cwd",
            "/proc/self/cwd",
            "/link",
            "relative",
            "/etc/passwd",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        let other = world.image();
        replace_with_link(&other, "link", &PathBuf::from("/proc/self/fd/7"));
        let mut spec = world.spec(&other, &["cwd"]);
        spec.process.cwd = path.clone();
        let error = world.run(spec).await.unwrap_err();
        assert!(
            matches!(error, JailError::WorkingDirectory { .. }),
            "{path}: {error:?}"
        );
        let mut inside = process(&["cwd"]);
        inside.cwd = path.clone();
        let error = exec(&sandbox, inside).await.unwrap_err();
        assert!(
            matches!(error, JailError::WorkingDirectory { .. }),
            "{path}: {error:?}"
        );
    }
    let mut inside = process(&["cwd"]);
    inside.cwd = "/missing".to_owned();
    let error = exec(&sandbox, inside).await.unwrap_err();
    assert!(
        matches!(error, JailError::WorkingDirectory { .. }),
        "{error:?}"
    );
    // An absolute link inside is fine.
    let image = world.image();
    replace_with_link(&image, "app", &PathBuf::from("/data"));
    let mut spec = world.spec(&image, &["cwd"]);
    spec.process.cwd = "/app/../app".to_owned();
    let output = world.run(spec).await.unwrap();
    assert!(output.stdout.starts_with("/data\n"), "{output:?}");
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

/// CVE-2019-5736.
#[tokio::test]
async fn the_host_s_binary_can_be_neither_run_nor_written() {
    let world = World::new().await;
    let image = world.image();
    let binary = env!("CARGO_BIN_EXE_berth-zygote");
    let before = std::fs::metadata(binary).unwrap();
    std::fs::write(image.layer.join("bin/script"), "#!/proc/self/exe\n").unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(image.layer.join("bin/script"), mode).unwrap();
    replace_with_link(&image, "bin/linked", &PathBuf::from("/proc/self/exe"));
    for program in ["/proc/self/exe", "/proc/1/exe", "linked"] {
        let mut spec = world.spec(&image, &[]);
        spec.process.argv = vec![program.to_owned()];
        let error = world.run(spec).await.unwrap_err();
        assert!(
            matches!(error, JailError::NotExecutable(_)),
            "{program}: {error:?}"
        );
    }
    // The kernel resolves the script's interpreter: the host's binary, whose dynamic linker the
    // image does not have.
    let mut spec = world.spec(&image, &[]);
    spec.process.argv = vec!["script".to_owned()];
    let error = world.run(spec).await.unwrap_err();
    assert!(
        matches!(
            error,
            JailError::MissingInterpreter(_) | JailError::NotExecutable(_)
        ),
        "{error:?}"
    );
    // While processes enter, the container tries to open every executable that it sees.
    let sandbox = started(&world, &image).await;
    for _ in 0..10 {
        let (one, two) = tokio::join!(
            exec(&sandbox, process(&["clobber"])),
            exec(&sandbox, process(&["exit", "0"]))
        );
        assert_eq!(two.unwrap().status.code, 0);
        for line in one.unwrap().stdout.lines() {
            // Its own probe belongs to the container's root, but is in use.
            assert_eq!(line, "done");
        }
    }
    let after = std::fs::metadata(binary).unwrap();
    assert_eq!(
        (before.len(), before.mtime_nsec(), before.ino()),
        (after.len(), after.mtime_nsec(), after.ino())
    );
    sandbox.kill_all().await.unwrap();
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
async fn injected_files_and_new_directories_belong_to_the_container() {
    let world = World::new().await;
    let image = world.image();
    for (path, mode) in [
        ("/etc/hosts", "100644"),
        ("/mnt", "40755"),
        ("/dev/null", "20666"),
    ] {
        let mut spec = world.spec(&image, &["stat", path]);
        spec.files.insert("/etc/hosts".to_owned(), String::new());
        spec.mounts.push(Mount {
            target: "/mnt/scratch".to_owned(),
            source: MountSource::Tmpfs(1 << 20),
            read_only: false,
        });
        let output = world.run(spec).await.unwrap();
        assert_eq!(output.stdout, format!("0 0 {mode}\n"), "{path}");
    }
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
    assert_eq!(line("Max core file size"), ("0".to_owned(), "0".to_owned()));
    let (soft, hard) = line("Max open files");
    assert_eq!(soft, hard);
    world.finish().await;
}
