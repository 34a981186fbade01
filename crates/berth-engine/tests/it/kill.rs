//! SIGKILL at every named step of a container's life, of the daemon and of the zygote: what is left is
//! reaped, what is said is true, and the next life is whole.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;

use berth_engine::{Engine, EngineError, ExecSpec, Session, Status, sweep};
use berth_jail::{CRASH_POINTS, Limits};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::daemon::{Daemon, Process};
use crate::world;

/// First argument: be a daemon. Then: the directory of sessions, the program.
pub(crate) const DAEMON: &str = "killed-daemon";

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    let test = |name: String, run: Box<dyn FnOnce(&Path) + Send>| {
        let program = Arc::clone(program);
        Trial::test(name, move || {
            run(&program);
            Ok(())
        })
    };
    let mut trials: Vec<Trial> = CRASH_POINTS
        .iter()
        .map(|point| {
            test(
                format!("killed_at::{point}"),
                Box::new(|program| killed_at(point, program)),
            )
        })
        .collect();
    trials.push(test(
        "a_reboot_starts_clean".to_owned(),
        Box::new(a_reboot_starts_clean),
    ));
    trials
}

/// Lives two containers' lives, one after the other, saying what comes to be, and ends.
pub(crate) fn daemon(root: &Path, program: &Path) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = Session::create(root, Path::new("/srv/project")).unwrap();
        println!("session {}", session.id);
        let (engine, zygote) = world::open(&session.dir, &session.cgroup, program).await;
        life(&engine, "first").await;
        // Whatever happened in the first one, the second one is whole.
        assert!(life(&engine, "second").await, "the second life was cut off");
        engine.shutdown().await;
        zygote.shutdown().await;
        session.remove().unwrap();
        println!("done");
    });
    ExitCode::SUCCESS
}

/// Everything that can happen to a container. `false`: something failed, as it may when the zygote
/// is killed; then the container is gone, and was said to be.
async fn life(engine: &Engine, name: &str) -> bool {
    let mut spec = world::spec(name, &["sleep"]).await;
    spec.limits = Some(Limits {
        disk_bytes: Some(64 << 20),
        ..Limits::default()
    });
    engine.create(spec).await.unwrap();
    // A zygote that is killed while it starts a container is replaced and the start repeated.
    engine.start(name).await.unwrap();
    let info = engine.inspect(name).unwrap();
    assert_eq!(info.status, Status::Running);
    println!("pid {}", info.pid.unwrap());
    assert!(Process::open(info.pid.unwrap()).lives());
    let whole = match execute(engine, name).await {
        Ok(0) => {
            // Its end may be the zygote's, which says the same.
            engine.kill(name, Signal::KILL.as_raw()).await.unwrap();
            true
        }
        Ok(137) | Err(EngineError::Exec { .. }) => false,
        other => panic!("the exec answered {other:?}"),
    };
    assert_eq!(engine.wait(name).await.unwrap().code, 137);
    let info = engine.inspect(name).unwrap();
    assert_eq!((info.status, info.pid), (Status::Exited, None));
    engine.remove(name, false).await.unwrap();
    assert!(engine.inspect(name).is_none());
    whole
}

async fn execute(engine: &Engine, name: &str) -> Result<i32, EngineError> {
    let spec = ExecSpec {
        argv: vec!["/bin/app".to_owned(), "exit".to_owned(), "0".to_owned()],
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: false,
    };
    Ok(engine.exec(name, spec).await?.process.wait().await.code)
}

/// What a daemon said and how it ended.
struct Run {
    session: String,
    pids: Vec<u32>,
    done: bool,
    status: ExitStatus,
}

fn run(root: &Path, points: &Path, program: &Path) -> Run {
    let mut child = crate::daemon::command(DAEMON, root, program)
        .env(berth_crash::VARIABLE, points)
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut daemon = Daemon(child);
    let (mut session, mut pids, mut done) = (String::new(), Vec::new(), false);
    for line in stdout.lines() {
        let line = line.unwrap();
        match line.split_once(' ') {
            Some(("session", id)) => id.clone_into(&mut session),
            Some(("pid", pid)) => pids.push(pid.parse().unwrap()),
            _ => done |= line == "done",
        }
    }
    let status = daemon.0.wait().unwrap();
    Run {
        session,
        pids,
        done,
        status,
    }
}

fn killed_at(point: &str, program: &Path) {
    let temp = tempfile::tempdir().unwrap();
    let (root, points) = (temp.path().join("sessions"), temp.path().join("points"));
    std::fs::create_dir(&points).unwrap();
    std::fs::write(points.join(point), "").unwrap();
    let first = run(&root, &points, program);
    assert!(!points.join(point).exists(), "the point was not reached");
    if point.starts_with("zygote.") {
        // The daemon noticed, told the truth, and went on with another zygote.
        assert!(first.done && first.status.success(), "{}", first.status);
    } else {
        assert_eq!(first.status.signal(), Some(Signal::KILL.as_raw()));
        assert_eq!(sweep(&root).unwrap(), std::slice::from_ref(&first.session));
        let next = run(&root, &points, program);
        assert!(next.done && next.status.success(), "{}", next.status);
        gone(&next, &root);
    }
    gone(&first, &root);
}

/// Nothing of a run is left: processes, control groups, mounts, loop devices, files.
fn gone(run: &Run, root: &Path) {
    for pid in &run.pids {
        // Whoever inherits a dead one may reap it late, or what it waits for on its way out; it has
        // left its group by then.
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let in_session = |line: &str| line.contains(&run.session) && !line.ends_with(" (deleted)");
        assert!(!cgroup.lines().any(in_session), "process {pid} is left");
    }
    let groups = world::cgroups(&format!("berth/{}", run.session));
    assert_eq!(groups, Vec::<PathBuf>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&run.session), "{mounts}");
    for device in std::fs::read_dir("/sys/block").unwrap().flatten() {
        let backing = device.path().join("loop/backing_file");
        let file = std::fs::read_to_string(backing).unwrap_or_default();
        assert!(!file.contains(&run.session), "{file} is attached");
    }
    assert_eq!(std::fs::read_dir(root).unwrap().count(), 0);
}

/// A record whose processes, groups and sockets a reboot took, and whose process id somebody else
/// has by now.
fn a_reboot_starts_clean(program: &Path) {
    let temp = tempfile::tempdir().unwrap();
    let points = temp.path().join("points");
    let root = temp.path().join("sessions");
    let mut stranger = Command::new("sleep")
        .arg("1000")
        .spawn()
        .map(Daemon)
        .unwrap();
    let session = Session::create(&root, Path::new("/srv/project")).unwrap();
    let (id, dir) = (session.id.clone(), session.dir.clone());
    drop(std::os::unix::net::UnixListener::bind(&session.socket).unwrap());
    std::fs::create_dir_all(dir.join("state/containers/0123/upper")).unwrap();
    drop(session);
    let record = dir.join("session.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["pid"] = stranger.0.id().into();
    std::fs::write(&record, value.to_string()).unwrap();
    assert!(berth_engine::sessions(&root).unwrap().is_empty());
    assert_eq!(sweep(&root).unwrap(), [id]);
    assert!(stranger.0.try_wait().unwrap().is_none());
    let next = run(&root, &points, program);
    assert!(next.done && next.status.success(), "{}", next.status);
    gone(&next, &root);
}
