//! A process 1 of ours beside the program: what signals do, what is reaped, what ends with what.

use std::time::Duration;

use berth_jail::SandboxSpec;

use crate::world::{Image, World, exec, process};

fn spec(world: &World, image: &Image, arguments: &[&str]) -> SandboxSpec {
    let mut spec = world.spec(image, arguments);
    spec.extras.init = true;
    spec
}

#[tokio::test]
async fn a_program_beside_process_1_ends_with_its_code_or_by_a_signal() {
    let world = World::new().await;
    let image = world.image();
    for code in [0, 3, 255] {
        let spec = spec(&world, &image, &["exit", &code.to_string()]);
        assert_eq!(world.run(spec).await.unwrap().status.code, code);
    }
    let killed = world.run(spec(&world, &image, &["signal", "11"])).await;
    assert_eq!(killed.unwrap().status.code, 128 + 11);
    // A program that handles no signal at all: as process 1 it would be spared.
    for (signal, init, ends) in [
        (libc::SIGTERM, true, true),
        (libc::SIGUSR1, true, true),
        (libc::SIGTERM, false, false),
    ] {
        let mut spec = spec(&world, &image, &["sleep"]);
        spec.extras.init = init;
        let (sandbox, stdout, _) = world.start(spec).await.unwrap();
        let (up, _stdout) = stdout.line().await;
        assert_eq!(up, "up");
        sandbox.kill(signal).unwrap();
        if ends {
            assert_eq!(sandbox.wait().await.code, 128 + signal);
        } else {
            let ended = tokio::time::timeout(Duration::from_millis(100), sandbox.wait()).await;
            assert!(ended.is_err(), "process 1 is spared");
            sandbox.kill_all().await.unwrap();
        }
    }
    // Out of memory is said as such.
    let mut spec = spec(&world, &image, &["eat", "256"]);
    spec.limits.memory_bytes = Some(64 << 20);
    let status = world.run(spec).await.unwrap().status;
    assert_eq!((status.code, status.oom_killed), (137, true));
    world.finish().await;
}

#[tokio::test]
async fn process_1_reaps_and_takes_everything_with_it() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(spec(&world, &image, &["sleep"])).await.unwrap();
    let (up, stdout) = stdout.line().await;
    assert_eq!(up, "up");
    // The program is process 2; there is nothing else, and no process of the host.
    let pids = async || {
        let listed = exec(&sandbox, process(&["list", "/proc"])).await.unwrap();
        let numbers = listed.stdout.lines().filter_map(|name| name.parse().ok());
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        numbers
    };
    // The third is the one that looks.
    assert_eq!(
        (pids().await[..2].to_vec(), pids().await.len()),
        (vec![1, 2], 3)
    );
    let comm = exec(&sandbox, process(&["cat", "/proc/1/comm", "/proc/2/comm"])).await;
    assert_eq!(comm.unwrap().stdout, "berth-init\nprobe\n");
    // Orphans: gone, not zombies.
    let orphans = exec(&sandbox, process(&["orphans", "20"])).await.unwrap();
    assert_eq!(orphans.status.code, 0);
    let reaped = async { while pids().await.len() > 3 {} };
    let reaped = tokio::time::timeout(Duration::from_secs(10), reaped).await;
    reaped.expect("orphans are reaped");
    // What still runs when the program ends, ends too.
    let (_, left) = tokio::join!(
        async { sandbox.kill(libc::SIGTERM).unwrap() },
        sandbox.wait()
    );
    assert_eq!(left.code, 128 + libc::SIGTERM);
    assert_eq!(stdout.rest().await, "");
    world.finish().await;
}

/// The host's program is process 1's; nothing of it can be looked into or changed.
#[tokio::test]
async fn process_1_is_no_way_out() {
    let world = World::new().await;
    let image = world.image();
    for user in ["", "node"] {
        let mut spec = spec(&world, &image, &["sleep"]);
        spec.process.user = user.to_owned();
        spec.capabilities.push("CAP_SYS_PTRACE".to_owned());
        let (sandbox, stdout, _) = world.start(spec).await.unwrap();
        let (up, _stdout) = stdout.line().await;
        assert_eq!(up, "up");
        let mut inside = process(&["cat", "/proc/1/status"]);
        inside.user = user.to_owned();
        let status = exec(&sandbox, inside.clone()).await.unwrap().stdout;
        let own = exec(&sandbox, process(&["cat", "/proc/2/status"])).await;
        let own = own.unwrap().stdout;
        for field in ["Uid", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs"] {
            let line = |text: &str| {
                let found = text.lines().find(|line| line.starts_with(field));
                found.unwrap().to_owned()
            };
            assert_eq!(line(&status), line(&own), "{user}: {field}");
        }
        for path in ["/proc/1/exe", "/proc/1/mem", "/proc/1/environ"] {
            inside.argv = process(&["open-device", path]).argv;
            let opened = exec(&sandbox, inside.clone()).await.unwrap().stdout;
            assert_eq!(opened, format!("open {}\n", libc::EACCES), "{user}: {path}");
        }
        inside.argv = process(&["list", "/proc/1/fd"]).argv;
        let fds = exec(&sandbox, inside).await.unwrap().stdout;
        assert!(
            !fds.lines().any(|name| name.parse::<u32>().is_ok()),
            "{fds}"
        );
        sandbox.kill_all().await.unwrap();
    }
    world.finish().await;
}

#[tokio::test]
async fn limits_and_failures_are_the_program_s() {
    let world = World::new().await;
    let image = world.image();
    for (limit, forked) in [(20, 19), (1, 0), (0, 0)] {
        let mut spec = spec(&world, &image, &["fork-bomb"]);
        spec.limits.pids = Some(limit);
        let output = world.run(spec).await.unwrap();
        assert_eq!(output.stdout, format!("forked {forked}\n"), "{limit}");
    }
    let mut missing = spec(&world, &image, &[]);
    missing.process.argv = vec!["/no/such".to_owned()];
    let error = world.run(missing).await.unwrap_err();
    assert!(
        matches!(error, berth_jail::JailError::NotFound(_)),
        "{error:?}"
    );
    world.finish().await;
}
