//! The end of daemons and zygotes: nothing may be left.

use std::io::BufRead as _;
use std::process::{Command, Stdio};

use crate::world::{World, groups_left};
use berth_jail::{JailError, adopt_into_session, die_with_parent, sweep_session};

fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie is dead, and nobody's business.
    !status.is_empty() && !status.rsplit(") ").next().unwrap_or("").starts_with('Z')
}

/// The process that holds a sandbox's parent: the zygote.
fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    line.trim().parse().unwrap()
}

async fn gone(pid: u32) {
    let start = std::time::Instant::now();
    while alive(pid) {
        assert!(start.elapsed().as_secs() < 10, "{pid} lives");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_closed_connection_ends_everything() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["family"])).await.unwrap();
    let (_, stdout) = stdout.line().await;
    let (frozen, _, _) = world
        .start(world.spec(&world.image(), &["sleep"]))
        .await
        .unwrap();
    frozen.freeze(true).await.unwrap();
    let pids = [sandbox.pid(), frozen.pid(), parent(sandbox.pid())];
    let cgroup = world.cgroup.clone();
    assert!(!groups_left(&cgroup).is_empty());
    drop((sandbox, frozen));
    // The last handle: what `kill -9` of the daemon does to the socket.
    let directory = world.let_go();
    assert_eq!(stdout.rest().await, "");
    for pid in pids {
        gone(pid).await;
    }
    assert_eq!(groups_left(&cgroup), Vec::<std::path::PathBuf>::new());
    drop(directory);
}

#[tokio::test]
async fn a_killed_zygote_takes_its_sandboxes_along_and_another_takes_its_place() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["family"])).await.unwrap();
    let (_, stdout) = stdout.line().await;
    let zygote = parent(sandbox.pid());
    let status = Command::new("kill")
        .args(["-9", &zygote.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    let status = sandbox.wait().await;
    assert_eq!((status.code, status.signal), (137, Some(libc::SIGKILL)));
    assert!(sandbox.is_lost());
    gone(sandbox.pid()).await;
    assert_eq!(stdout.rest().await, "");
    // Another zygote takes its place.
    world.run(world.spec(&image, &["ids"])).await.unwrap();
    world.zygote.shutdown().await;
    assert!(groups_left(&world.cgroup).is_empty());
    let error = world.run(world.spec(&image, &["ids"])).await.unwrap_err();
    assert!(matches!(error, JailError::ZygoteGone), "{error:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_sweep_kills_and_removes_what_a_dead_session_left() {
    let cgroup = format!("berth-test/{}-sweep", std::process::id());
    sweep_session(&cgroup).unwrap();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    adopt_into_session(&cgroup, sleeper.id()).unwrap();
    let groups = groups_left(&cgroup);
    assert_eq!(groups.len(), 1);
    // Nested, and frozen where that is possible.
    let nested = groups[0].join("helpers/nested");
    std::fs::create_dir_all(&nested).unwrap();
    std::fs::write(nested.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    for (file, value) in [("cgroup.freeze", "1"), ("freezer.state", "FROZEN")] {
        if nested.join(file).exists() {
            std::fs::write(nested.join(file), value).unwrap();
        }
    }
    // It is a child of this test, so it must be reaped for its end to be complete.
    let waiter = std::thread::spawn(move || sleeper.wait().unwrap());
    sweep_session(&cgroup).unwrap();
    let status = waiter.join().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL)
    );
    assert!(groups_left(&cgroup).is_empty());
    assert!(sweep_session("../escape").is_err());
    assert!(sweep_session("").is_err());
}

#[tokio::test]
async fn a_child_that_dies_with_its_parent_is_told_so() {
    let mut command = tokio::process::Command::new("cat");
    command.arg("/proc/self/status").stdout(Stdio::piped());
    die_with_parent(&mut command);
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    assert!(output.status.success());
    assert!(output.stdout.lines().count() > 10);
}

#[tokio::test]
async fn a_missing_binary_is_an_error() {
    let config = berth_jail::ZygoteConfig {
        executable: "/nowhere/berth".into(),
        cgroup: format!("berth-test/{}-missing", std::process::id()),
        on_disconnect: berth_jail::OnDisconnect::KillAll,
    };
    let error = berth_jail::Zygote::launch(config).await.unwrap_err();
    assert!(matches!(error, JailError::Launch(_)), "{error:?}");
    let config = berth_jail::ZygoteConfig {
        executable: "/bin/false".into(),
        cgroup: format!("berth-test/{}-false", std::process::id()),
        on_disconnect: berth_jail::OnDisconnect::KillAll,
    };
    let error = berth_jail::Zygote::launch(config).await.unwrap_err();
    assert!(matches!(error, JailError::Launch(_)), "{error:?}");
}
