//! The life of a real workerd: logs, crashes, replacement, its end.

use std::time::Duration;

use berth_workerd::{ConfigFile, Listen, LogLevel, Upstream, Workerd, WorkerdError, WorkerdEvent};
use tokio::sync::mpsc;

use crate::world::World;

const LOGS: &str = r#"interface Point { x: number }

function boom(point: Point): never {
  throw new Error(`boom ${point.x}`);
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") boom({ x: 1 });
    console.log("log", { a: 1 });
    console.warn("warn\ntwo lines");
    console.error(new Error("logged"));
    process.stdout.write("raw\n");
    return new Response("ok");
  },
};
"#;

#[tokio::test]
async fn logs_have_levels_and_stacks_lead_to_the_source() {
    let world = World::new(&[("src/index.ts", LOGS)]);
    let mut running = world.start().await;
    assert_eq!(running.text("/").await, "ok");
    assert_eq!(
        running.log("log").await,
        (LogLevel::Log, "log { a: 1 }".to_owned())
    );
    assert_eq!(
        running.log("warn").await,
        (LogLevel::Warn, "warn\ntwo lines".to_owned())
    );
    let (level, text) = running.log("logged").await;
    assert_eq!(level, LogLevel::Error);
    assert_eq!(
        text,
        "Error: logged\n    at Object.fetch (src/index.ts:13:19)"
    );
    assert_eq!(running.log("raw").await.1, "raw");

    assert_eq!(running.get("/throw").await.0, 500);
    let (level, text) = running.log("boom").await;
    assert_eq!(level, LogLevel::Error);
    insta::assert_snapshot!(text, @r"
    Uncaught (in promise): Error: boom 1
        at boom (src/index.ts:4:9)
        at Object.fetch (src/index.ts:10:32)
    ");
    running.workerd.stop(Duration::from_secs(10)).await;
    while let Some(event) = running.events.recv().await {
        assert!(!matches!(event, WorkerdEvent::Log { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_worker_that_throws_while_loading_is_an_error_with_its_place() {
    let world = World::new(&[("src/index.ts", "\nnope();\nexport default {};\n")]);
    let Err(WorkerdError::Startup { output, .. }) = world.try_start().await else {
        panic!("it started");
    };
    assert!(output.contains("nope is not defined"), "{output}");
    assert!(output.contains("src/index.ts:2:1"), "{output}");
}

#[tokio::test]
async fn a_crash_is_reported_and_mended() {
    let world = World::new(&[(
        "src/index.ts",
        "export default { fetch: () => new Response('hi') };",
    )]);
    let mut running = world.start().await;
    let pid = running.workerd.pid().unwrap();
    let mut upstream = running.workerd.upstream();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let limit = Duration::from_secs(20);
    let mended = async {
        upstream.wait_for(Option::is_none).await.unwrap();
        upstream.wait_for(Option::is_some).await.unwrap();
    };
    tokio::time::timeout(limit, mended).await.unwrap();
    assert_eq!(running.text("/").await, "hi");
    assert_ne!(running.workerd.pid(), Some(pid));
    let mut crashes = 0;
    while let Ok(event) = running.events.try_recv() {
        if let WorkerdEvent::Crashed { status, .. } = event {
            assert!(status.contains("signal: 9"), "{status}");
            crashes += 1;
        }
    }
    assert_eq!(crashes, 1);
}

#[tokio::test]
async fn a_configuration_in_memory_is_read_again_after_a_crash() {
    let world = World::new(&[(
        "src/index.ts",
        "export default { fetch: () => new Response('hi') };",
    )]);
    let mut options = world.prepare(&world.socket()).await;
    let text = std::fs::read_to_string(world.generated().join("workerd.capnp")).unwrap();
    std::fs::remove_file(world.generated().join("workerd.capnp")).unwrap();
    options.config = ConfigFile::in_memory(&text).unwrap();
    let (sender, _events) = mpsc::unbounded_channel();
    let workerd = Workerd::start(options, sender).await.unwrap();
    let pid = workerd.pid().unwrap();
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(
        command.contains("/fd/") && !command.contains("capnp"),
        "{command}"
    );
    let mut upstream = workerd.upstream();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let mended = async {
        upstream.wait_for(Option::is_none).await.unwrap();
        upstream.wait_for(Option::is_some).await.unwrap();
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, mended).await.unwrap();
    let upstream = workerd.upstream().borrow().clone().unwrap();
    let answer = crate::world::send(&upstream, "GET", "/", "").await;
    assert_eq!(answer.status().as_u16(), 200);
    workerd.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_failed_replacement_leaves_nothing_and_the_next_one_works() {
    let world = World::new(&[(
        "src/index.ts",
        "export default { fetch: () => new Response('1') };",
    )]);
    let running = world.start().await;
    world.write("src/index.ts", "nope();\nexport default {};");
    let config = world.prepare(&world.socket()).await.config;
    let error = running
        .workerd
        .replace(&config, world.socket())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nope is not defined"), "{error}");
    assert_eq!(running.workerd.pid(), None);
    assert_eq!(*running.workerd.upstream().borrow(), None);
    world.write(
        "src/index.ts",
        "export default { fetch: () => new Response('2') };",
    );
    let config = world.prepare(&world.socket()).await.config;
    running
        .workerd
        .replace(&config, world.socket())
        .await
        .unwrap();
    assert_eq!(running.text("/").await, "2");
}

/// A workerd that kills itself at the beginning of its next starts, as often as the file says.
fn mortal(world: &World, workerd: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let (program, deaths) = (world.root().join("workerd"), world.root().join("deaths"));
    let script = format!(
        r#"#!/bin/sh
left=$(cat '{deaths}')
if [ "$left" -gt 0 ]; then
  echo $((left - 1)) > '{deaths}'
  kill -9 $$
fi
exec '{workerd}' "$@"
"#,
        deaths = deaths.display(),
        workerd = workerd.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (program, deaths)
}

#[tokio::test]
async fn one_that_is_killed_while_it_starts_is_started_again() {
    let world = World::new(&[(
        "src/index.ts",
        "export default { fetch: () => new Response('hi') };",
    )]);
    let mut options = world.prepare(&world.socket()).await;
    let config = options.config.clone();
    let (program, deaths) = mortal(&world, &options.executable);
    options.executable = program;
    let die = |times: &str| std::fs::write(&deaths, times).unwrap();
    let start = async || {
        let (sender, _events) = mpsc::unbounded_channel();
        Workerd::start(options.clone(), sender).await
    };
    // Who is killed every time is given up.
    die("100");
    assert!(matches!(start().await, Err(WorkerdError::Killed)));
    die("2");
    let workerd = start().await.unwrap();
    die("100");
    let replaced = workerd.replace(&config, world.socket()).await;
    assert!(matches!(replaced, Err(WorkerdError::Killed)));
    let upstream = workerd.upstream();
    assert_eq!(*upstream.borrow(), None);
    // One that has run before is not.
    die("4");
    let restored = workerd.restore(&config, world.socket()).await;
    assert!(matches!(restored, Err(WorkerdError::Killed)));
    let mut upstream = workerd.upstream();
    let back = upstream.wait_for(Option::is_some);
    let back = tokio::time::timeout(Duration::from_secs(20), back).await;
    let back = back.unwrap().unwrap().clone().unwrap();
    let answer = crate::world::send(&back, "GET", "/", "").await;
    assert_eq!(answer.status().as_u16(), 200);
    workerd.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn dropping_the_handle_ends_the_process() {
    let world = World::new(&[("src/index.ts", "export default {};")]);
    let running = world.start().await;
    let proc = format!("/proc/{}", running.workerd.pid().unwrap());
    assert!(std::path::Path::new(&proc).exists());
    let mut events = running.events;
    drop(running.workerd);
    // The channel closes when the supervisor has ended, and that waits for the process.
    while events.recv().await.is_some() {}
    assert!(!std::path::Path::new(&proc).exists());
}

#[tokio::test]
async fn on_the_loopback_the_kernel_chooses_the_port() {
    let world = World::new(&[("src/index.ts", "export default {};")]);
    let options = world.prepare(&Listen::Loopback).await;
    let (sender, _events) = mpsc::unbounded_channel();
    let workerd = Workerd::start(options, sender).await.unwrap();
    let upstream = workerd.upstream().borrow().clone().unwrap();
    let Upstream::Tcp(address) = upstream else {
        panic!("{upstream:?}");
    };
    assert_ne!(address.port(), 0);
    tokio::net::TcpStream::connect(address).await.unwrap();
    workerd.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_request_beyond_the_grace() {
    let source = "export default { async fetch() {
        console.log('arrived');
        await scheduler.wait(3600_000);
        return new Response('late');
    } };";
    let world = World::new(&[("src/index.ts", source)]);
    let mut running = world.start().await;
    let upstream = running.workerd.upstream().borrow().clone().unwrap();
    let request = tokio::spawn(async move { crate::world::send(&upstream, "GET", "/", "").await });
    running.log("arrived").await;
    let start = std::time::Instant::now();
    running.workerd.stop(Duration::from_millis(300)).await;
    println!("stopped after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(running.workerd.pid(), None);
    assert!(request.await.is_err());
}

const DAEMON: &str = "BERTH_TEST_DAEMON";

/// Not a test of its own: the daemon of the next test, in a process that can be killed.
#[tokio::test]
async fn daemon() {
    if std::env::var_os(DAEMON).is_none() {
        return;
    }
    let world = World::new(&[("src/index.ts", "export default {};")]);
    let running = world.start().await;
    println!("workerd is {}", running.workerd.pid().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn workerd_dies_with_a_killed_daemon() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let temporary = tempfile::tempdir().unwrap();
    let mut daemon = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "supervise::daemon", "--nocapture"])
        .env(DAEMON, "1")
        // What the killed daemon leaves behind goes with this directory.
        .env("TMPDIR", temporary.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let pid: i32 = loop {
        let line = lines.next_line().await.unwrap().expect("the daemon runs");
        if let Some((_, pid)) = line.split_once("workerd is ") {
            break pid.parse().unwrap();
        }
    };
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let flags = rustix::process::PidfdFlags::NONBLOCK;
    let pidfd = rustix::process::pidfd_open(pid, flags).unwrap();
    daemon.start_kill().unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        // A pidfd becomes readable when its process has ended.
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&limit)).unwrap()
    });
    assert_eq!(ended.await.unwrap(), 1, "workerd outlives its daemon");
    daemon.wait().await.unwrap();
}
