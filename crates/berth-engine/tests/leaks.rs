//! Cycles of create, start, use and remove leave the daemon as it was: descriptors, mounts,
//! processes, cgroups, directories. One test, alone in its process, because it counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "every function here is part of a test"
)]

#[path = "support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use berth_engine::{ExecIo, ExecSpec};
use world::{World, read_all};

fn main() -> ExitCode {
    world::zygote_or_tests(|| {
        let arguments = libtest_mimic::Arguments::from_args();
        let trial = libtest_mimic::Trial::test("cycles_leave_nothing", || {
            let temp = tempfile::tempdir().unwrap();
            let program = temp.path().join("app");
            world::compile(&program);
            Ok(world::in_world(&program, cycles_leave_nothing)?)
        });
        libtest_mimic::run(&arguments, vec![trial]).exit_code()
    })
}

/// What the daemon holds.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    mounts: usize,
    processes: usize,
}

impl Holdings {
    fn now(world: &World) -> Self {
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            mounts: std::fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .lines()
                .count(),
            processes: world.processes().len(),
        }
    }
}

async fn cycle(world: &World) {
    world.run("c", &["listen", "8080", "5"]).await;
    let stream = world.engine.connect("c", 8080).await.unwrap();
    assert_eq!(read_all(stream.stream).await, "hello\n");
    let exec = ExecSpec {
        argv: vec!["app".to_owned(), "about".to_owned()],
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: true,
    };
    let exec = world.engine.exec("c", exec).await.unwrap();
    let ExecIo::Pipes { stdout, .. } = exec.io else {
        panic!("no terminal was asked for");
    };
    assert!(read_all(stdout).await.contains("host=box"));
    assert_eq!(exec.process.wait().await.code, 0);
    let follower = world.engine.logs("c", true).await.unwrap();
    world.engine.remove("c", true).await.unwrap();
    drop(follower);
}

async fn cycles_leave_nothing(world: World) -> World {
    // The first cycles fill pools and caches.
    for _ in 0..3 {
        cycle(&world).await;
    }
    settled(&world, None).await;
    let before = Holdings::now(&world);
    for _ in 0..30 {
        cycle(&world).await;
    }
    settled(&world, Some(&before)).await;
    world
}

/// Networks close their descriptors a moment after the last handle is dropped, and tell nobody.
async fn settled(world: &World, expected: Option<&Holdings>) {
    let patience = Instant::now() + Duration::from_secs(10);
    let mut last = Holdings::now(world);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = Holdings::now(world);
        if expected.map_or(now == last, |expected| now == *expected) {
            println!("{now:?}");
            return;
        }
        assert!(
            Instant::now() < patience,
            "before: {expected:?}, now: {now:?}"
        );
        last = now;
    }
}
