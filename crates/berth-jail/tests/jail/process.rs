//! What a process in a container starts with: descriptors, directory, user, privileges, program.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::world::{Reader, World, exec, process, replace_with_link, started};
use berth_jail::{ExecFds, JailError};

fn status_field<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .unwrap()
}

/// Also CVE-2022-27650: no inheritable capability, in the first process or an exec'ed one.
#[tokio::test]
async fn cve_2022_29162_capabilities_no_new_privs_and_seccomp_are_as_specified() {
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
async fn cve_2024_21626_a_working_directory_cannot_lead_out() {
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

#[tokio::test]
async fn cve_2019_5736_the_host_s_binary_can_be_neither_run_nor_written() {
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

/// The whole attack: the image's dynamic linker runs in the host's program, keeps it, and opens it
/// for writing once nothing executes it. The host's file belongs to a user that no container has.
#[tokio::test]
async fn cve_2019_5736_an_image_s_dynamic_linker_cannot_overwrite_the_host_s_binary() {
    let world = World::new().await;
    let image = world.image();
    let binary = std::fs::read(env!("CARGO_BIN_EXE_berth-zygote")).unwrap();
    let linker = dynamic_linker(&binary);
    let options = ["-O1", "-static", "-nostdlib", "-fno-stack-protector"];
    let built = crate::world::compile("interpreter", &options, &["interpreter"]);
    let place = image.layer.join(linker.trim_start_matches('/'));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(built, place).unwrap();
    std::fs::write(image.layer.join("bin/script"), "#!/proc/self/exe\n").unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(image.layer.join("bin/script"), mode).unwrap();
    let mut spec = world.spec(&image, &[]);
    spec.process.argv = vec!["/bin/script".to_owned()];
    let output = world.run(spec).await.unwrap();
    let (denied, not_owner) = (libc::EACCES, libc::EPERM);
    let expected = format!("interpreter\nreopen {denied}\nappend {denied}\nfchmod {not_owner}\n");
    assert_eq!(output.stdout, expected);
    let after = std::fs::read(env!("CARGO_BIN_EXE_berth-zygote")).unwrap();
    assert!(binary == after);
    world.finish().await;
}

/// What the program's header names as its interpreter.
fn dynamic_linker(binary: &[u8]) -> String {
    let head = &binary[..4096];
    let middle = head
        .windows(9)
        .position(|window| window == b"/ld-linux")
        .unwrap();
    let start = head[..middle].iter().rposition(|byte| *byte == 0).unwrap() + 1;
    let length = head[start..].iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(head[start..start + length].to_vec()).unwrap()
}

/// A descriptor that the daemon leaked, open across `execve`, reaches no container.
#[tokio::test]
async fn cve_2024_21626_only_the_three_streams_are_open() {
    let directory = std::fs::File::open("/").unwrap();
    let leaked = rustix::io::dup(&directory).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let world = World::new().await;
    assert_eq!(world.probe(&["fds"]).await, "0\n1\n2\n");
    let image = world.image();
    let sandbox = started(&world, &image).await;
    let output = exec(&sandbox, process(&["fds"])).await.unwrap();
    assert_eq!(output.stdout, "0\n1\n2\n");
    let (_, master) = sandbox
        .exec(process(&["fds"]), ExecFds::Terminal)
        .await
        .unwrap();
    let text = Reader::new(master.unwrap()).rest().await;
    assert_eq!(text, "0\r\n1\r\n2\r\n");
    drop(leaked);
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

/// A process exchanges exec's working directory and a link to a descriptor while others enter.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_21626_a_race_over_the_working_directory_does_not_lead_out() {
    let world = World::new().await;
    let image = world.image();
    for target in ["/proc/self/fd/7", "/proc/1/root"] {
        let spec = world.spec(&image, &["swap-cwd", target]);
        let (sandbox, stdout, _) = world.start(spec).await.unwrap();
        let (line, _stdout) = stdout.line().await;
        assert_eq!(line, "up");
        for _ in 0..30 {
            let mut inside = process(&["cwd"]);
            inside.cwd = "/tmp/here".to_owned();
            match exec(&sandbox, inside).await {
                Ok(output) => assert!(output.stdout.starts_with("/tmp/"), "{output:?}"),
                Err(error) => assert!(
                    matches!(error, JailError::WorkingDirectory { .. }),
                    "{error:?}"
                ),
            }
        }
        sandbox.kill_all().await.unwrap();
    }
    world.finish().await;
}

/// While processes enter, one inside looks for programs, roots and descriptors of the host.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_enters_cannot_be_looked_into() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["spy"])).await.unwrap();
    let (line, stdout) = stdout.line().await;
    assert_eq!(line, "up");
    for round in 0..30 {
        let mut inside = process(&["exit", "0"]);
        inside.user = if round % 2 == 0 { "" } else { "node" }.to_owned();
        assert_eq!(exec(&sandbox, inside).await.unwrap().status.code, 0);
    }
    sandbox.kill_all().await.unwrap();
    assert_eq!(stdout.rest().await, "");
    world.finish().await;
}

/// Also CVE-2026-30892: a user is the one that was named, or an error.
#[tokio::test]
async fn cve_2016_3697_users_are_parsed_exactly() {
    let world = World::new().await;
    let image = world.image();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n\
                  2000:x:0:0::/:/bin/sh\nhuge:x:4294967296:0::/:/bin/sh\nminus:x:-1:0::/:/bin/sh\n";
    std::fs::write(image.layer.join("etc/passwd"), passwd).unwrap();
    let sandbox = started(&world, &image).await;
    let other = world.image();
    std::fs::write(other.layer.join("etc/passwd"), passwd).unwrap();
    let both = async |user: &str| {
        let mut spec = world.spec(&other, &["ids"]);
        spec.process.user = user.to_owned();
        let mut inside = process(&["ids"]);
        inside.user = user.to_owned();
        [world.run(spec).await, exec(&sandbox, inside).await]
    };
    for (user, expected) in [
        ("", "0 0 0 0 0"),
        ("0", "0 0 0 0 0"),
        ("root", "0 0 0 0 0"),
        ("1000:1000", "1000 1000 1000 1000 1000"),
        ("1000", "1000 1000 1000 1000 44 1000"),
        ("node", "1000 1000 1000 1000 44 1000"),
        ("node:video", "1000 1000 44 44 44"),
        ("node:0", "1000 1000 0 0 0"),
        ("4000:5000", "4000 4000 5000 5000 5000"),
        ("65535:65535", "65535 65535 65535 65535 65535"),
    ] {
        for result in both(user).await {
            let output = result.unwrap();
            assert_eq!(output.stdout.lines().next(), Some(expected), "{user}");
        }
    }
    for user in [
        "nobody-here",
        "u:g:x",
        "node:video:x",
        "node:",
        "node:nogroup",
        "-1",
        "+1",
        " 0",
        "0 ",
        "0x0",
        "00x",
        "1e3",
        "65536",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "0:4294967296",
        "node:-1",
        "huge",
        "minus",
        "root\n",
        "../root",
    ] {
        for result in both(user).await {
            let error = result.unwrap_err();
            assert!(
                matches!(error, JailError::UnknownUser(_)),
                "{user:?}: {error:?}"
            );
        }
    }
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

/// A process inside shows what it likes in /proc; it is not a list of users, and reading some of
/// its files has effects on the host.
#[tokio::test]
async fn users_are_not_looked_up_in_procfs() {
    let world = World::new().await;
    let image = world.image();
    replace_with_link(&image, "etc/passwd", &PathBuf::from("/proc/1/cmdline"));
    let line = "\nevil:x:77:78::/seven:/bin/sh\n";
    let (sandbox, stdout, _) = world
        .start(world.spec(&image, &["sleep", line]))
        .await
        .unwrap();
    let (up, _stdout) = stdout.line().await;
    assert_eq!(up, "up");
    let mut inside = process(&["ids"]);
    inside.user = "evil".to_owned();
    let error = exec(&sandbox, inside).await.unwrap_err();
    assert!(matches!(error, JailError::UnknownUser(_)), "{error:?}");
    // Without a list, numbers are all there is.
    let mut inside = process(&["ids"]);
    inside.user = "77".to_owned();
    let output = exec(&sandbox, inside).await.unwrap();
    assert!(output.stdout.starts_with("77 77 0 0 0\n"), "{output:?}");
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

/// The container's root has put a link where exec looks for the null device. What it names would be
/// opened with the host's privileges: the kernel's log, here.
#[tokio::test]
async fn cve_2025_31133_exec_opens_the_null_device_and_nothing_else() {
    let world = World::new().await;
    let image = world.image();
    std::fs::write(image.layer.join("data/file"), "text").unwrap();
    for target in [
        "/proc/kmsg",
        "/proc/kallsyms",
        "/data/file",
        "/dev/zero",
        "/dev/tty",
    ] {
        let sandbox = started(&world, &image).await;
        let replace = process(&["replace-with-link", "/dev/null", target]);
        let output = exec(&sandbox, replace).await.unwrap();
        assert_eq!(output.stdout, "unlink 0\nsymlink 0\n");
        let outcome = exec(&sandbox, process(&["rdev", "/proc/self/fd/0"])).await;
        match outcome {
            Err(JailError::UnsafePath { path, .. }) => assert_eq!(path, "/dev/null"),
            Err(JailError::Setup { step, .. }) => assert!(step.contains("/dev/null"), "{step}"),
            other => panic!("{target}: {other:?}"),
        }
        sandbox.kill_all().await.unwrap();
    }
    let device = world.probe(&["rdev", "/proc/self/fd/0"]).await;
    assert_eq!(device, "20000 1:3\n");
    world.finish().await;
}

#[tokio::test]
async fn setuid_bits_and_file_capabilities_give_nothing() {
    let world = World::new().await;
    let image = world.image();
    let set_up = |path: &std::path::Path, third_byte: u8| {
        std::fs::copy(crate::world::probe(), path).unwrap();
        let mode = std::fs::Permissions::from_mode(0o6755);
        std::fs::set_permissions(path, mode).unwrap();
        // Version 2, effective; these permitted.
        let mut value = [0_u8; 20];
        value[..8].copy_from_slice(&[1, 0, 0, 2, 1, 0x20, third_byte, 0]);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, "security.capability", &value, flags).unwrap();
    };
    // CAP_CHOWN and CAP_NET_RAW; with CAP_SYS_ADMIN.
    set_up(&image.layer.join("bin/privileged"), 0);
    set_up(&image.layer.join("bin/admin"), 0x20);
    let run = async |no_new_privs: bool, arguments: &[&str]| {
        let mut spec = world.spec(&image, arguments);
        spec.process.argv[0] = "/bin/privileged".to_owned();
        spec.process.user = "node".to_owned();
        spec.no_new_privs = no_new_privs;
        world.run(spec).await.unwrap().stdout
    };
    let ids = run(true, &["ids"]).await;
    assert!(ids.starts_with("1000 1000 1000 1000 44 1000\n"), "{ids}");
    let status = run(true, &["cat", "/proc/self/status"]).await;
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_field(&status, name), "0000000000000000", "{name}");
    }
    // Without no_new_privs they are the container's own and no more than its bounding set.
    let ids = run(false, &["ids"]).await;
    assert!(ids.starts_with("1000 0 1000 0 44 1000\n"), "{ids}");
    let status = run(false, &["cat", "/proc/self/status"]).await;
    let effective = u64::from_str_radix(status_field(&status, "CapEff"), 16).unwrap();
    let bounding = u64::from_str_radix(status_field(&status, "CapBnd"), 16).unwrap();
    assert_eq!((effective, effective & !bounding), (0x2001, 0));
    let mut spec = world.spec(&image, &[]);
    spec.process.argv = vec!["/bin/admin".to_owned()];
    spec.process.user = "node".to_owned();
    spec.no_new_privs = false;
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::Setup { .. }), "{error:?}");
    world.finish().await;
}

#[tokio::test]
async fn exec_into_a_frozen_or_ended_container_fails_at_once() {
    let world = World::new().await;
    let image = world.image();
    let sandbox = started(&world, &image).await;
    sandbox.freeze(true).await.unwrap();
    let refused = exec(&sandbox, process(&["ids"])).await;
    assert!(matches!(refused, Err(JailError::Frozen)), "{refused:?}");
    sandbox.freeze(false).await.unwrap();
    let output = exec(&sandbox, process(&["exit", "3"])).await.unwrap();
    assert_eq!(output.status.code, 3);
    // Both at once: it runs, is killed, or is told that the container is gone.
    for _ in 0..10 {
        let sandbox = started(&world, &image).await;
        let (exec, killed) = tokio::join!(exec(&sandbox, process(&["sleep"])), sandbox.kill_all());
        killed.unwrap();
        match exec {
            Ok(output) => assert_eq!(output.status.code, 137),
            Err(error) => assert!(
                matches!(error, JailError::Gone | JailError::SetupKilled(_)),
                "{error:?}"
            ),
        }
    }
    sandbox.kill_all().await.unwrap();
    let refused = exec(&sandbox, process(&["ids"])).await;
    assert!(matches!(refused, Err(JailError::Gone)), "{refused:?}");
    world.finish().await;
}

/// A length that overflows its field must not turn one thing into another.
#[tokio::test]
async fn cve_2021_43784_a_huge_specification_is_whole_or_refused() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &["env"]);
    // Longer than one packet; every value arrives whole.
    let long = "x".repeat(100_000);
    spec.process.env = (0..10).map(|number| format!("V{number}={long}")).collect();
    spec.capabilities = vec!["CAP_CHOWN".to_owned()];
    let output = world.run(spec.clone()).await.unwrap();
    let whole = output.stdout.lines().filter(|line| line.len() == 100_003);
    assert_eq!(whole.count(), 10);
    spec.process = process(&["cat", "/proc/self/status"]);
    spec.process.env = (0..70_000)
        .map(|number| format!("V{number}={number}"))
        .collect();
    let status = world.run(spec.clone()).await.unwrap().stdout;
    assert_eq!(status_field(&status, "CapBnd"), "0000000000000001");
    // More than the kernel takes.
    spec.process.argv.push("y".repeat(200_000));
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::Setup { .. }), "{error:?}");
    world.finish().await;
}
