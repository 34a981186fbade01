//! SIGKILL of a daemon, and of a zygote, on the way to disk or back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{EngineError, Session, Status, sweep};
use berth_jail::CHECKPOINT_CRASH_POINTS;
use libtest_mimic::Trial;

use crate::sleeper::{ask, info, say, try_ask};
use crate::world::{self, World, in_world};
use crate::{POLICY, counter, on_disk};

/// First argument: be a daemon whose zygote is killed at a point. Then: the program, CRIU, the point.
pub(crate) const VICTIM: &str = "victim";
/// First argument: be a daemon that is killed. Then: the program, CRIU, the directory of sessions.
pub(crate) const DAEMON: &str = "daemon";

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for point in CHECKPOINT_CRASH_POINTS {
        let program = Arc::clone(program);
        trials.push(Trial::test(
            format!("zygote_killed_at::{point}"),
            move || {
                zygote_killed_at(&program, point);
                Ok(())
            },
        ));
    }
    let program = Arc::clone(program);
    trials.push(Trial::test("a_killed_daemon_leaves_nothing", move || {
        a_killed_daemon_leaves_nothing(&program);
        Ok(())
    }));
    trials
}

/// This program again, in another part.
fn again(what: &str, program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(what)
        .args([program, world::CRIU.get().unwrap()]);
    command
}

/// In a process of its own, because the zygote learns of the point from its environment.
fn zygote_killed_at(program: &Path, point: &str) {
    let points = tempfile::tempdir().unwrap();
    let output = again(VICTIM, program)
        .arg(point)
        .env(berth_crash::VARIABLE, points.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

pub(crate) fn victim(program: &Path, point: &str) -> ExitCode {
    match in_world(program, |world| killed_at(world, point)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// SIGKILL of a daemon with containers on disk, and on their way back.
fn a_killed_daemon_leaves_nothing(program: &Path) {
    for delay in [None, Some(0), Some(30), Some(60), Some(90)] {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("sessions");
        let mut child = again(DAEMON, program)
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let session = lines.next().unwrap().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "on disk");
        if let Some(delay) = delay {
            writeln!(child.stdin.take().unwrap(), "wake up").unwrap();
            std::thread::sleep(Duration::from_millis(delay));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let group = format!("berth/{session}");
        assert_eq!(sweep(&root).unwrap(), [session]);
        assert_eq!(world::cgroups(&group), Vec::<PathBuf>::new());
        assert_eq!(
            std::fs::read_dir(&root).unwrap().count(),
            0,
            "images are left"
        );
    }
}

/// Has a container on disk, and wakes it when told to.
pub(crate) fn daemon(program: &Path, root: &Path) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = Session::create(root, Path::new("/srv/project")).unwrap();
        println!("{}", session.id);
        let (engine, _zygote) = world::open(&session.dir, &session.cgroup, program).await;
        let mut events = engine.events();
        let mut spec = world::spec("c", &["family", "8080", "32"]).await;
        spec.sleep = Some(POLICY);
        engine.create(spec).await.unwrap();
        engine.start("c").await.unwrap();
        let mut tunnel = engine.connect("c", 8080).await.unwrap();
        assert_eq!(say(&mut tunnel, "hello\n").await, "1");
        drop(tunnel);
        on_disk(&mut events).await;
        println!("on disk");
        let told = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await;
        if told.unwrap().is_some() {
            drop(engine.connect("c", 8080).await);
        }
        // Until it is killed.
        std::future::pending::<ExitCode>().await
    })
}

/// The zygote is killed on the way to disk or back: the container is said to have ended, and lives
/// again when it is started.
async fn killed_at(world: World, point: &str) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    assert_eq!(ask(&world).await, "1");
    if point.starts_with("zygote.restor") {
        on_disk(&mut events).await;
    }
    let points = PathBuf::from(std::env::var_os(berth_crash::VARIABLE).unwrap());
    let own = points.join(point);
    std::fs::write(&own, "").unwrap();
    if point.starts_with("zygote.restor") {
        let error = try_ask(&world).await.unwrap_err();
        assert!(matches!(error, EngineError::NotRunning(_)), "{error:?}");
    }
    assert_eq!(world.engine.wait("c").await.unwrap().code, 137);
    assert!(!own.exists(), "the point was not reached");
    assert_eq!(info(&world).status, Status::Exited);
    let mut events = world.engine.events();
    world.engine.start("c").await.unwrap();
    assert_eq!(ask(&world).await, "1");
    on_disk(&mut events).await;
    assert_eq!(ask(&world).await, "2");
    world
}
