//! A daemon that is killed leaves nothing once the next one has swept.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_engine::{Session, sessions, sweep};
use libtest_mimic::Trial;

use crate::daemon::{Daemon, Process};
use crate::world;

/// First argument: be a daemon. Then: the directory of sessions, the program.
pub(crate) const DAEMON: &str = "swept-daemon";

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    let program = Arc::clone(program);
    vec![Trial::test("a_killed_daemon_is_swept", move || {
        a_killed_daemon_is_swept(&program);
        Ok(())
    })]
}

/// Runs two containers, says their process ids, and waits to be killed.
pub(crate) fn daemon(root: &Path, program: &Path) -> ! {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = Session::create(root, Path::new("/srv/project")).unwrap();
        let (engine, _zygote) = world::open(&session.dir, &session.cgroup, program).await;
        for name in ["one", "two"] {
            engine
                .create(world::spec(name, &["sleep"]).await)
                .await
                .unwrap();
            engine.start(name).await.unwrap();
            println!("{}", engine.inspect(name).unwrap().pid.unwrap());
        }
        println!("ready");
        std::future::pending::<()>().await;
    });
    unreachable!("the daemon waits for ever")
}

fn start(root: &Path, program: &Path) -> (Daemon, Vec<Process>) {
    let mut child = crate::daemon::command(DAEMON, root, program)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let daemon = Daemon(child);
    let processes: Vec<Process> = lines
        .map(|line| line.unwrap())
        .take_while(|line| line != "ready")
        .map(|pid| Process::open(pid.parse().unwrap()))
        .collect();
    assert_eq!(processes.len(), 2, "the daemon did not come up");
    (daemon, processes)
}

fn a_killed_daemon_is_swept(program: &Path) {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("sessions");
    let (mut dead, processes) = start(&root, program);
    let (mut alive, others) = start(&root, program);
    let records = sessions(&root).unwrap();
    assert_eq!(records.len(), 2);
    let record = records.iter().find(|r| r.pid == dead.0.id()).unwrap();
    assert!(processes.iter().all(Process::lives));
    assert!(!world::cgroups(&record.cgroup).is_empty());
    assert!(sweep(&root).unwrap().is_empty());

    dead.0.kill().unwrap();
    dead.0.wait().unwrap();
    assert_eq!(sweep(&root).unwrap(), std::slice::from_ref(&record.id));
    assert!(processes.iter().all(|process| !process.lives()));
    assert_eq!(world::cgroups(&record.cgroup), Vec::<PathBuf>::new());
    assert!(!root.join(&record.id).exists());
    assert!(others.iter().all(Process::lives));
    assert_eq!(sessions(&root).unwrap().len(), 1);

    alive.0.kill().unwrap();
    alive.0.wait().unwrap();
    assert_eq!(sweep(&root).unwrap().len(), 1);
    assert!(others.iter().all(|process| !process.lives()));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}
