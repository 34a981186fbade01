//! What a sandbox gets that asks for more than every sandbox has.

use berth_jail::{Device, JailError, Rlimit, RlimitKind};

use crate::world::{World, exec, process};

/// `EPERM`, `ENOENT`, `EINVAL`.
const REFUSED: [&str; 3] = ["1", "2", "22"];

#[tokio::test]
async fn who_has_sys_admin_mounts_for_itself_and_uncovers_nothing() {
    for world in World::of_each_kind().await {
        for asks in [true, false] {
            let image = world.image();
            let mut spec = world.spec(&image, &["mount"]);
            if asks {
                spec.capabilities.push("CAP_SYS_ADMIN".to_owned());
                spec.extras.devices.push(Device::Fuse);
            }
            let (sandbox, mut stdout, _stderr) = world.start(spec).await.unwrap();
            for step in ["tmpfs", "fuse", "unmask", "under", "writable"] {
                let (line, rest) = stdout.line().await;
                stdout = rest;
                let (what, errno) = line.split_once(' ').unwrap();
                assert_eq!(what, step);
                let given = asks && ["tmpfs", "fuse"].contains(&step);
                if given {
                    assert_eq!(errno, "0", "{step}");
                } else {
                    assert!(REFUSED.contains(&errno), "{step}: {errno} (asks: {asks})");
                }
            }
            sandbox.kill_all().await.unwrap();
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn limits_of_processes_hold_and_never_exceed_the_daemons() {
    for world in World::of_each_kind().await {
        let image = world.image();
        let mut spec = world.spec(&image, &["limits"]);
        spec.extras.rlimits = vec![
            Rlimit {
                kind: RlimitKind::Nofile,
                soft: Some(64),
                hard: Some(128),
            },
            Rlimit {
                kind: RlimitKind::Memlock,
                soft: None,
                hard: None,
            },
        ];
        let output = world.run(spec).await.unwrap();
        let line = |name: &str| {
            let mut lines = output.stdout.lines();
            let line = lines.find(|line| line.starts_with(name)).unwrap();
            let fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            fields
        };
        assert_eq!(line("Max open files")[3..5], ["64", "128"]);
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        let own = own.lines().find(|l| l.starts_with("Max locked")).unwrap();
        let own: Vec<&str> = own.split_whitespace().collect();
        assert_eq!(line("Max locked")[4], own[4], "the hard limit stays");
        world.finish().await;
    }
}

/// What follows the name on a line of /proc/<pid>/status or /proc/<pid>/limits.
fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    words.join(" ")
}

#[tokio::test]
async fn groups_umask_and_domain_name_are_as_asked_for_every_process() {
    let paths = ["/proc/self/status", "/proc/sys/kernel/domainname"];
    for world in World::of_each_kind().await {
        let image = world.image();
        let mut spec = world.spec(&image, &["sleep"]);
        spec.process.user = "1000:7".to_owned();
        spec.extras.groups = vec!["video".to_owned(), "99".to_owned()];
        spec.extras.umask = Some(0o077);
        spec.extras.domain_name = "harbour".to_owned();
        let (sandbox, stdout, _) = world.start(spec.clone()).await.unwrap();
        let (up, _stdout) = stdout.line().await;
        assert_eq!(up, "up");
        let mut arguments = process(&["cat", paths[0], paths[1]]);
        arguments.user = spec.process.user.clone();
        let second = exec(&sandbox, arguments.clone()).await.unwrap().stdout;
        sandbox.kill_all().await.unwrap();
        spec.process = arguments;
        let first = world.run(spec.clone()).await.unwrap().stdout;
        for output in [first, second] {
            assert_eq!(field(&output, "Groups:"), "7 44 99");
            assert_eq!(field(&output, "Gid:"), "7 7 7 7");
            assert_eq!(field(&output, "Umask:"), "0077");
            assert!(output.ends_with("\nharbour\n"), "{output}");
        }
        // As exactly as a user.
        for group in ["nobodys", "65536", "-1", "", "video "] {
            spec.extras.groups = vec![group.to_owned()];
            let error = world.run(spec.clone()).await.unwrap_err();
            assert!(
                matches!(&error, JailError::UnknownUser(name) if name == group),
                "{group}: {error}"
            );
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn what_is_killed_first_for_memory_is_never_the_daemon() {
    let world = World::new().await;
    let image = world.image();
    for (asked, got) in [(0, "100"), (-1000, "100"), (437, "437"), (2000, "1000")] {
        let mut spec = world.spec(&image, &["cat", "/proc/self/oom_score_adj"]);
        spec.extras.oom_score_adjustment = asked;
        let output = world.run(spec).await.unwrap();
        assert_eq!(output.stdout.trim(), got, "{asked}");
    }
    world.finish().await;
}

#[tokio::test]
async fn every_limit_of_a_process_is_applied_but_that_no_core_is_dumped() {
    let kinds = [
        (RlimitKind::Nofile, "Max open files", 64),
        (RlimitKind::Nproc, "Max processes", 50),
        (RlimitKind::Memlock, "Max locked memory", 4096),
        (RlimitKind::Stack, "Max stack size", 4 << 20),
        (RlimitKind::Fsize, "Max file size", 1 << 30),
        (RlimitKind::As, "Max address space", 1 << 30),
        (RlimitKind::Data, "Max data size", 1 << 29),
        (RlimitKind::Rss, "Max resident set", 1 << 28),
        (RlimitKind::Cpu, "Max cpu time", 60),
        (RlimitKind::Sigpending, "Max pending signals", 10),
        (RlimitKind::Msgqueue, "Max msgqueue size", 8192),
        (RlimitKind::Core, "Max core file size", 1 << 30),
    ];
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &["limits"]);
    spec.extras.rlimits = kinds
        .map(|(kind, _, value)| Rlimit {
            kind,
            soft: Some(value),
            hard: Some(value * 2),
        })
        .to_vec();
    let output = world.run(spec).await.unwrap().stdout;
    for (kind, name, value) in kinds {
        let expected = match kind {
            RlimitKind::Core => "1 1".to_owned(),
            _ => format!("{value} {}", value * 2),
        };
        let found = field(&output, name);
        assert!(found.starts_with(&expected), "{name}: {found}");
    }
    world.finish().await;
}
