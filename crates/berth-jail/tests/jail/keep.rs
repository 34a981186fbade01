//! A zygote that outlives its daemon, and the next daemon that takes it over.

use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use berth_jail::{ExecFds, JailError, OnDisconnect, Survivors, Zygote};

use crate::world::{World, pipe, process};

impl World {
    /// What a killed daemon's kernel does: closes its connection. Then a new daemon comes.
    async fn restart_daemon(&mut self) -> Survivors {
        // The last handle goes with this one.
        let config = self.config.clone();
        let elsewhere = OnDisconnect::Keep {
            socket: self.config_socket().with_extension("other"),
            patience: Duration::from_secs(300),
        };
        let placeholder = berth_jail::ZygoteConfig {
            cgroup: format!("{}-other", self.config.cgroup),
            on_disconnect: elsewhere,
            ..config.clone()
        };
        let other = Zygote::launch(placeholder).await.unwrap();
        drop(std::mem::replace(&mut self.zygote, other.clone()));
        let (zygote, survivors) = Zygote::attach(&config).await.unwrap().unwrap();
        self.zygote = zygote;
        other.shutdown().await;
        survivors
    }

    fn config_socket(&self) -> std::path::PathBuf {
        match &self.config.on_disconnect {
            OnDisconnect::Keep { socket, .. } => socket.clone(),
            OnDisconnect::KillAll => unreachable!("a zygote that keeps"),
        }
    }
}

#[tokio::test]
async fn a_sandbox_outlives_its_daemon_and_obeys_the_next() {
    let mut world = World::keeping().await;
    let image = world.image();
    let spec = world.spec(&image, &["sleep"]);
    let (sandbox, stdout, _) = world.start(spec.clone()).await.unwrap();
    let (line, stdout) = stdout.line().await;
    assert_eq!(line, "up");
    let pid = sandbox.pid();
    drop(sandbox);
    let survivors = world.restart_daemon().await;
    assert_eq!(survivors.sandboxes.len(), 1);
    let sandbox = &survivors.sandboxes[0].sandbox;
    assert_eq!((sandbox.id(), sandbox.pid()), (spec.id.as_str(), pid));
    assert!(sandbox.exit_status().is_none());
    assert!(sandbox.usage().unwrap().pids >= 1);
    let output = crate::world::exec(sandbox, process(&["exit", "3"])).await;
    assert_eq!(output.unwrap().status.code, 3);
    assert!(sandbox.kill(libc::SIGKILL).unwrap());
    assert_eq!(sandbox.wait().await.code, 137);
    assert_eq!(stdout.rest().await, "");
    world.finish().await;
}

#[tokio::test]
async fn an_exit_without_a_daemon_is_kept_until_one_has_taken_note() {
    let mut world = World::keeping().await;
    let image = world.image();
    let (sandbox, _stdout, _stderr) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let ended = world.start(world.spec(&world.image(), &["exit", "7"]));
    let (ended, ..) = ended.await.unwrap();
    assert_eq!(ended.wait().await.code, 7);
    let pid = sandbox.pid();
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    let id = ended.id().to_owned();
    drop((sandbox, ended));
    for acknowledged in [false, true] {
        let survivors = world.restart_daemon().await;
        let mut all = survivors.sandboxes.iter().map(|one| &one.sandbox);
        let old = all.find(|sandbox| sandbox.id() == id);
        let old = old.filter(|_| !acknowledged);
        assert_eq!(old.is_none(), acknowledged);
        if let Some(old) = old {
            assert_eq!(old.exit_status().unwrap().code, 7);
            assert!(old.cpu_ns_at_end().unwrap() > 0);
            assert!(!old.kill(libc::SIGKILL).unwrap());
            old.acknowledge().await;
        }
    }
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    let survivors = world.restart_daemon().await;
    let mut all = survivors.sandboxes.iter().map(|one| &one.sandbox);
    let sandbox = all.find(|sandbox| sandbox.pid() == pid).unwrap();
    assert_eq!(sandbox.wait().await.code, 137);
    assert!(!sandbox.is_lost());
    world.finish().await;
}

#[tokio::test]
async fn deposits_reach_the_next_daemon() {
    let mut world = World::keeping().await;
    let image = world.image();
    let (sandbox, ..) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    drop(sandbox);
    let (reader, writer) = pipe();
    let both = [reader.as_fd(), writer.as_fd()];
    world.zygote.deposit("log", &both).await.unwrap();
    world.zygote.deposit("gone", &both).await.unwrap();
    world.zygote.withdraw("gone").await;
    drop(reader);
    rustix::io::write(&writer, b"written while nobody reads").unwrap();
    drop(writer);
    let mut survivors = world.restart_daemon().await;
    let deposits: Vec<_> = survivors.deposits.keys().cloned().collect();
    assert_eq!(deposits, ["log"]);
    let fds = survivors.deposits.remove("log").unwrap();
    assert_eq!(fds.len(), 2);
    let mut buffer = [0; 64];
    let read = rustix::io::read(&fds[0], &mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"written while nobody reads");
    world.finish().await;
}

#[tokio::test]
async fn what_is_left_with_a_sandbox_goes_with_it() {
    let mut world = World::keeping().await;
    let image = world.image();
    let (sandbox, ..) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let (reader, writer) = pipe();
    sandbox.deposit("log", &[reader.as_fd()]).await.unwrap();
    world
        .zygote
        .deposit("own", &[reader.as_fd()])
        .await
        .unwrap();
    drop((reader, sandbox));
    let survivors = world.restart_daemon().await;
    assert_eq!(survivors.deposits.keys().collect::<Vec<_>>(), ["own"]);
    drop(survivors.deposits);
    world.zygote.withdraw("own").await;
    let survivor = survivors.sandboxes.into_iter().next().unwrap();
    assert_eq!(survivor.deposits.keys().collect::<Vec<_>>(), ["log"]);
    drop(survivor.deposits);
    rustix::io::write(&writer, b"somebody has the other end").unwrap();
    survivor.sandbox.kill(libc::SIGKILL).unwrap();
    survivor.sandbox.wait().await;
    rustix::io::write(&writer, b"still").unwrap();
    survivor.sandbox.acknowledge().await;
    // Answered after that.
    let (_other, ..) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let error = rustix::io::write(&writer, b"nobody").unwrap_err();
    assert_eq!(error, rustix::io::Errno::PIPE);
    world.finish().await;
}

#[tokio::test]
async fn what_is_left_with_no_sandbox_is_left_with_the_next_zygote_too() {
    let mut world = World::keeping().await;
    let (reader, _writer) = pipe();
    world
        .zygote
        .deposit("own", &[reader.as_fd()])
        .await
        .unwrap();
    let image = world.image();
    let (sandbox, ..) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let zygote = std::fs::read_to_string(format!("/proc/{}/stat", sandbox.pid())).unwrap();
    let parent = zygote.rsplit_once(')').unwrap().1;
    let parent = parent.split_whitespace().nth(1).unwrap().parse().unwrap();
    let parent = rustix::process::Pid::from_raw(parent).unwrap();
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).unwrap();
    assert_eq!(sandbox.wait().await.code, 137);
    drop(sandbox);
    let (sandbox, ..) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    drop(sandbox);
    let survivors = world.restart_daemon().await;
    assert_eq!(survivors.deposits.keys().collect::<Vec<_>>(), ["own"]);
    assert_eq!(survivors.sandboxes.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_zygote_that_nobody_comes_for_ends_everything() {
    let world = World::keeping_for(Duration::from_secs(1)).await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let (line, stdout) = stdout.line().await;
    assert_eq!(line, "up");
    drop(sandbox);
    let (socket, cgroup) = (world.config_socket(), world.cgroup.clone());
    let _directory = world.let_go();
    // The end of its output is its end.
    assert_eq!(stdout.rest().await, "");
    let door_is_gone = || !socket.exists() && crate::world::groups_left(&cgroup).is_empty();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !door_is_gone() {
        assert!(std::time::Instant::now() < deadline, "the zygote stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_zygote_that_has_nothing_to_keep_leaves_with_its_daemon() {
    let world = World::keeping().await;
    let image = world.image();
    let (sandbox, ..) = world
        .start(world.spec(&image, &["exit", "0"]))
        .await
        .unwrap();
    sandbox.wait().await;
    sandbox.acknowledge().await;
    drop(sandbox);
    let (config, cgroup) = (world.config.clone(), world.cgroup.clone());
    let _directory = world.let_go();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !crate::world::groups_left(&cgroup).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the zygote stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(Zygote::attach(&config).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_daemon_had_started_is_ended_and_not_its_zygote() {
    let world = World::keeping().await;
    let mut helper = tokio::process::Command::new("sleep")
        .arg("1000")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    berth_jail::adopt_into_session(&world.cgroup, helper.id().unwrap()).unwrap();
    world.zygote.sweep_helpers().await.unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(helper.wait().await.unwrap().signal(), Some(libc::SIGKILL));
    let image = world.image();
    let (sandbox, ..) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    assert!(sandbox.exit_status().is_none());
    world.finish().await;
}

#[tokio::test]
async fn processes_of_an_exec_end_with_their_daemon() {
    let mut world = World::keeping().await;
    let image = world.image();
    let (sandbox, _stdout, _stderr) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let (stdout, stdout_write) = pipe();
    let fds = ExecFds::Pipes {
        stdin: None,
        stdout: Some(stdout_write),
        stderr: None,
    };
    let (exec, _) = sandbox.exec(process(&["sleep"]), fds).await.unwrap();
    let (line, stdout) = crate::world::Reader::new(stdout).line().await;
    assert_eq!(line, "up");
    drop((exec, sandbox));
    let survivors = world.restart_daemon().await;
    // The end of its output is its end.
    assert_eq!(stdout.rest().await, "");
    assert_eq!(survivors.sandboxes.len(), 1);
    assert!(survivors.sandboxes[0].sandbox.exit_status().is_none());
    world.finish().await;
}

#[tokio::test]
async fn the_door_is_for_one_daemon_and_for_root() {
    let world = World::keeping().await;
    let socket = world.config_socket();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = Zygote::attach(&world.config).await.unwrap_err();
    assert!(matches!(error, JailError::ZygoteBusy), "{error:?}");
    world.zygote.shutdown().await;
    assert!(!socket.exists());
    assert!(Zygote::attach(&world.config).await.unwrap().is_none());
    world.finish().await;
}

#[tokio::test]
async fn another_version_is_told_apart_and_can_be_ended() {
    let world = World::keeping().await;
    world.zygote.shutdown().await;
    let socket = world.config_socket();
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        None,
    )
    .unwrap();
    let address = rustix::net::SocketAddrUnix::new(&socket).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    // A version from the future, with a greeting that this one does not know.
    let future = std::thread::spawn(move || {
        let peer = rustix::net::accept(&listener).unwrap();
        rustix::io::write(&peer, b"\0{\"Hello\":{\"protocol\":99,\"new\":{}}}").unwrap();
        let mut buffer = [0; 64];
        rustix::io::read(&peer, &mut buffer).unwrap_or(0)
    });
    let error = Zygote::attach(&world.config).await.unwrap_err();
    assert!(
        matches!(error, JailError::ZygoteVersion { theirs: 99, .. }),
        "{error:?}"
    );
    assert_eq!(future.join().unwrap(), 0);
    world.finish().await;
}
