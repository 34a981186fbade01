//! The longer sleep, with a real CRIU: to disk and back, and what happens when either fails, or
//! somebody dies in between. Needs root and gcc; unpacks CRIU for itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "every function here is part of a test"
)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/sleeper.rs"]
mod sleeper;
#[path = "support/world.rs"]
mod world;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{
    ContainerInfo, EngineError, Event, ExecIo, Rest, Session, SleepPolicy, Status, sweep,
};
use berth_jail::CHECKPOINT_CRASH_POINTS;
use libtest_mimic::{Arguments, Trial};
use sleeper::{ask, exec, info, rest, say, try_ask};
use tokio::sync::broadcast::Receiver;
use world::{World, in_world, read_all};

const POLICY: SleepPolicy = SleepPolicy {
    freeze_after: Duration::from_millis(100),
    quiet_connection_after: Some(Duration::from_millis(100)),
    checkpoint_after: Some(Duration::from_millis(50)),
};

const SECRET: &str = "swordfish-nobody-else-may-read";

/// First argument: be a daemon whose zygote is killed at a point. Then: the program, CRIU, the point.
const VICTIM: &str = "victim";
/// First argument: be a daemon that is killed. Then: the program, CRIU, the directory of sessions.
const DAEMON: &str = "daemon";

fn main() -> ExitCode {
    world::zygote_or_tests(|| {
        let words: Vec<String> = std::env::args().collect();
        if let [_, what, program, criu, last] = words.as_slice() {
            world::CRIU.set(criu.into()).unwrap();
            match what.as_str() {
                VICTIM => return victim(Path::new(program), last),
                DAEMON => return daemon(Path::new(program), Path::new(last)),
                _ => {}
            }
        }
        harness::run(|program| {
            if !Arguments::from_args().list {
                world::CRIU.set(world::criu()).unwrap();
            }
            trials(program)
        })
    })
}

fn trials(program: &Arc<Path>) -> Vec<Trial> {
    let mut trials = harness::trials!(
        program,
        [
            a_long_sleep_is_on_disk_and_a_connection_restores_it_with_its_memory,
            processes_threads_pipes_and_output_survive_and_memory_is_freed_meanwhile,
            no_wait_is_interrupted,
            what_is_restored_is_confined_as_before,
            images_are_for_root_only,
            an_exec_restores_and_works,
            stop_reaches_the_program_of_a_container_on_disk,
            a_container_on_disk_can_be_killed_removed_and_started_again,
            a_crowd_restores_it_once,
            a_connection_while_it_is_written_is_answered,
            an_open_connection_keeps_it_in_memory,
            what_criu_cannot_write_stays_frozen_and_says_why,
            what_cannot_be_restored_has_exited_and_says_why,
            its_files_can_be_read_while_it_is_on_disk,
        ]
    );
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

fn victim(program: &Path, point: &str) -> ExitCode {
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
fn daemon(program: &Path, root: &Path) -> ExitCode {
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

async fn counter(world: &World, arguments: &[&str]) {
    sleeper::counter(world, arguments, &[format!("SECRET={SECRET}")], POLICY).await;
}

async fn asleep(events: &mut Receiver<Event>, wanted: Rest) -> ContainerInfo {
    loop {
        match events.recv().await.unwrap() {
            Event::Asleep(info) if info.rest.unwrap().0 == wanted => return info,
            Event::Exited(info) => panic!("ended: {info:?}"),
            Event::Log { line, .. } => {
                let text = String::from_utf8_lossy(&line.bytes).into_owned();
                assert!(!text.contains("stays frozen"), "{text}");
            }
            _ => {}
        }
    }
}

async fn on_disk(events: &mut Receiver<Event>) -> ContainerInfo {
    asleep(events, Rest::OnDisk).await
}

/// Directories with images of CRIU's.
fn images(world: &World) -> Vec<PathBuf> {
    let containers = std::fs::read_dir(world.temp.path().join("state/containers")).unwrap();
    containers
        .flat_map(|container| std::fs::read_dir(container.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("checkpoint")
        })
        .collect()
}

fn status(pid: u32, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_default().trim().to_owned()
}

async fn a_long_sleep_is_on_disk_and_a_connection_restores_it_with_its_memory(
    world: World,
) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    let mut waiter = tokio::spawn({
        let engine = world.engine.clone();
        async move { engine.wait("c").await }
    });
    for round in 1..=3 {
        assert_eq!(ask(&world).await, round.to_string());
        let info = on_disk(&mut events).await;
        assert_eq!((info.status, info.pid), (Status::Running, None));
        assert_eq!(world.processes(), Vec::<String>::new(), "it lives");
        assert_eq!(images(&world).len(), 1);
        assert_eq!(info.sleepless, None);
    }
    let before = world.engine.metered("c").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = world.engine.metered("c").unwrap();
    assert!(after.stored >= before.stored + Duration::from_millis(100));
    assert_eq!((before.running, before.cpu), (after.running, after.cpu));
    assert_eq!(before.memory_byte_ms, after.memory_byte_ms);
    assert_eq!(after.pids, 0);
    assert_eq!(ask(&world).await, "4");
    let info = info(&world);
    assert_eq!((info.rest, info.restart_count), (None, 0));
    assert!(info.pid.is_some());
    assert_eq!(images(&world), Vec::<PathBuf>::new());
    let early = tokio::time::timeout(Duration::from_millis(10), &mut waiter).await;
    assert!(early.is_err(), "an exit was told");
    world.engine.kill("c", 9).await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap().code, 137);
    world
}

async fn processes_threads_pipes_and_output_survive_and_memory_is_freed_meanwhile(
    world: World,
) -> World {
    let mut events = world.engine.events();
    counter(&world, &["family", "8080", "64"]).await;
    assert_eq!(ask(&world).await, "1");
    let awake = world.engine.metered("c").unwrap();
    assert!(awake.memory_bytes > 64 << 20, "{awake:?}");
    for round in 2..=3 {
        on_disk(&mut events).await;
        let stored = world.engine.metered("c").unwrap();
        assert!(stored.memory_bytes < 8 << 20, "{stored:?}");
        assert_eq!(ask(&world).await, round.to_string());
    }
    assert_eq!(world.engine.metered("c").unwrap().pids, 3);
    world.line("c", |line| line.bytes == b"answered 3").await;
    let lines = world.output("c", false).await;
    assert_eq!(lines, ["answered 1", "answered 2", "answered 3"]);
    world
}

/// Asleep or on disk, no system call of the program's fails for it, as if it had waited all along.
async fn no_wait_is_interrupted(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count-strictly", "8080"]).await;
    for round in 1..=3 {
        assert_eq!(ask(&world).await, round.to_string());
        if round == 2 {
            // What goes on after a pause is another system call for the kernel.
            world.engine.pause("c").await.unwrap();
            world.engine.unpause("c").await.unwrap();
        }
        on_disk(&mut events).await;
    }
    assert_eq!(ask(&world).await, "4");
    assert_eq!(info(&world).restart_count, 0);
    assert_eq!(world.output("c", false).await, Vec::<String>::new());
    world
}

async fn what_is_restored_is_confined_as_before(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    let keys = [
        "Uid:",
        "Gid:",
        "Groups:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Seccomp_filters:",
        "Umask:",
        "SigIgn:",
        "SigBlk:",
        "NSpid:",
    ];
    let facts = |pid: u32| {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        let mounts = read("mountinfo");
        let mut mounts: Vec<String> = mounts
            .lines()
            // Place, flags and kind; numbers, and the instance of /proc, are new.
            .map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "))
            .collect();
        // Covered by the queues: nobody can see it.
        mounts.retain(|mount| !mount.starts_with("/ /dev/mqueue") || !mount.contains("tmpfs"));
        mounts.sort();
        mounts.dedup();
        let keys = keys.map(|key| {
            let value = status(pid, key);
            // The pid inside: the last one.
            value
                .split_whitespace()
                .next_back()
                .unwrap_or_default()
                .to_owned()
        });
        (
            keys,
            (
                read("uid_map"),
                read("gid_map"),
                read("cgroup"),
                read("oom_score_adj"),
            ),
            (
                read("limits"),
                read("cmdline"),
                read("environ"),
                link("cwd"),
                link("exe"),
            ),
            ["net", "ipc", "uts", "cgroup"].map(|name| link(&format!("ns/{name}"))),
            mounts,
        )
    };
    let before = facts(info(&world).pid.unwrap());
    on_disk(&mut events).await;
    ask(&world).await;
    let pid = info(&world).pid.unwrap();
    let after = facts(pid);
    assert_eq!(before.0, after.0);
    assert_eq!(before.1, after.1);
    assert_eq!(before.2, after.2);
    assert_eq!(before.3, after.3);
    assert_eq!(before.4, after.4);
    let own = std::process::id();
    for name in ["mnt", "pid", "user", "net", "ipc", "uts", "cgroup"] {
        let link = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_ne!(link(pid), link(own), "{name}");
    }
    // `listen` was answered by the zygote before; now the kernel does.
    assert_eq!(executed(&world, &["app", "listens", "8081"]).await, 0);
    world
}

async fn images_are_for_root_only(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["family", "8080", "1"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let [dir] = images(&world).try_into().unwrap();
    let metadata = std::fs::metadata(&dir).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, 0));
    let mut found = false;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.uid(), 0, "{}", path.display());
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        found |= bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
    }
    assert!(found, "the program's memory is not there");
    world
}

async fn executed(world: &World, argv: &[&str]) -> i32 {
    let started = world.engine.exec("c", exec(argv)).await.unwrap();
    started.process.wait().await.code
}

async fn an_exec_restores_and_works(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    for _ in 0..2 {
        on_disk(&mut events).await;
        let started = world
            .engine
            .exec("c", exec(&["app", "about"]))
            .await
            .unwrap();
        let ExecIo::Pipes { stdin, stdout, .. } = started.io else {
            panic!("no pipes");
        };
        drop(stdin);
        let said = read_all(stdout).await;
        assert_eq!(started.process.wait().await.code, 0);
        assert!(
            said.contains("host=box") && said.contains("cwd=/srv"),
            "{said}"
        );
        assert_eq!(executed(&world, &["app", "write", "/tmp/new"]).await, 0);
        assert_eq!(executed(&world, &["app", "write", "/tmp/new"]).await, 17);
        assert_eq!(
            executed(&world, &["app", "show", "/proc/self/stat"]).await,
            0
        );
        let removed = executed(&world, &["app", "remove", "/tmp/new"]).await;
        assert_eq!(removed, 0);
    }
    assert_eq!(ask(&world).await, "2");
    world
}

async fn stop_reaches_the_program_of_a_container_on_disk(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let status = world.engine.stop("c", Duration::from_secs(30)).await;
    assert_eq!(status.unwrap().code, 3, "its handler of SIGTERM ran");
    assert_eq!(rest(&world), None);
    assert_eq!(images(&world), Vec::<PathBuf>::new());
    let mut events = world.engine.events();
    world.engine.start("c").await.unwrap();
    assert_eq!(ask(&world).await, "1");
    on_disk(&mut events).await;
    assert_eq!(ask(&world).await, "2");
    world
}

async fn a_container_on_disk_can_be_killed_removed_and_started_again(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    world.engine.kill("c", 9).await.unwrap();
    assert_eq!(world.engine.wait("c").await.unwrap().code, 137);
    let mut events = world.engine.events();
    world.engine.start("c").await.unwrap();
    assert_eq!(ask(&world).await, "1");
    on_disk(&mut events).await;
    // Nobody restores it for that.
    world.engine.remove("c", true).await.unwrap();
    assert!(world.engine.inspect("c").is_none());
    assert_eq!(world.processes(), Vec::<String>::new());
    // Left on disk for the end of the world, which looks for leftovers.
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    world
}

async fn a_crowd_restores_it_once(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let crowd = (0..40).map(|_| try_ask(&world));
    let answers = futures_util::future::join_all(crowd).await;
    let mut numbers: Vec<u32> = answers
        .into_iter()
        .map(|answer| answer.unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=41).collect::<Vec<_>>());
    let mut woken = 0;
    while let Ok(event) = events.try_recv() {
        woken += u32::from(matches!(event, Event::Awake(_)));
    }
    assert_eq!(woken, 1);
    world
}

async fn a_connection_while_it_is_written_is_answered(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["family", "8080", "64"]).await;
    let mut expected = 0;
    // Earlier and later while CRIU is at work.
    for delay in [0, 20, 60, 120, 250] {
        expected += 1;
        assert_eq!(ask(&world).await, expected.to_string());
        asleep(&mut events, Rest::Frozen).await;
        let later = POLICY.checkpoint_after.unwrap() + Duration::from_millis(delay);
        tokio::time::sleep(later).await;
    }
    expected += 1;
    assert_eq!(ask(&world).await, expected.to_string());
    world
}

async fn an_open_connection_keeps_it_in_memory(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    let mut tunnel = world.engine.connect("c", 8080).await.unwrap();
    assert_eq!(say(&mut tunnel, "a\n").await, "1");
    asleep(&mut events, Rest::Frozen).await;
    tokio::time::sleep(POLICY.checkpoint_after.unwrap() * 4).await;
    let info = info(&world);
    assert_eq!(info.rest.unwrap().0, Rest::Frozen);
    let reason = info.sleepless.clone().unwrap();
    assert!(reason.contains("a connection to it is open"), "{reason}");
    assert_eq!(say(&mut tunnel, "b\n").await, "2");
    drop(tunnel);
    on_disk(&mut events).await;
    assert_eq!(ask(&world).await, "3");
    world
}

async fn what_criu_cannot_write_stays_frozen_and_says_why(world: World) -> World {
    counter(&world, &["count-with-ghost", "8080", "65"]).await;
    assert_eq!(ask(&world).await, "1");
    for round in 2..=3 {
        world
            .line("c", |line| {
                String::from_utf8_lossy(&line.bytes).contains("stays frozen in memory: cannot be")
            })
            .await;
        // Frozen again, once for all.
        while rest(&world) != Some(Rest::Frozen) || info(&world).sleepless.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let info = info(&world);
        let reason = info.sleepless.clone().unwrap();
        assert!(
            reason.contains("criu says: ") && reason.contains("ghost"),
            "{reason}"
        );
        let pid = info.pid.unwrap();
        while !world::is_frozen(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(images(&world), Vec::<PathBuf>::new());
        assert_eq!(ask(&world).await, round.to_string(), "its memory is kept");
        assert_eq!(info.pid, Some(pid));
    }
    world
}

/// Of the same length, but for memory itself, whose end is lost: CRIU would wait for it for ever.
fn spoil(image: &Path) {
    let file = std::fs::File::options().write(true).open(image).unwrap();
    if image.ends_with("pages-1.img") {
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    } else {
        std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 0).unwrap();
    }
}

async fn what_cannot_be_restored_has_exited_and_says_why(world: World) -> World {
    counter(&world, &["family", "8080", "1"]).await;
    let mut events = world.engine.events();
    for damage in [
        "pages-1.img",
        "core-1.img",
        "core-2.img",
        "seccomp.img",
        "pstree.img",
        "mm-1.img",
        "pagemap-2.img",
        "files.img",
        "fdinfo-2.img",
    ] {
        ask(&world).await;
        on_disk(&mut events).await;
        let [dir] = images(&world).try_into().unwrap();
        spoil(&dir.join(damage));
        let begin = std::time::Instant::now();
        let error = try_ask(&world).await.unwrap_err();
        assert!(
            matches!(error, EngineError::NotRunning(_)),
            "{damage}: {error:?}"
        );
        assert!(begin.elapsed() < Duration::from_secs(10), "{damage}");
        assert_eq!(world.engine.wait("c").await.unwrap().code, 137, "{damage}");
        let info = info(&world);
        assert_eq!(
            (info.status, info.rest, info.pid),
            (Status::Exited, None, None)
        );
        let reason = info.error.clone().unwrap();
        assert!(
            reason.contains("cannot be restored from disk: "),
            "{damage}: {reason}"
        );
        let logged = world.output("c", true).await;
        assert!(
            logged.iter().any(|line| line.contains(&reason)),
            "{damage}: {logged:?}"
        );
        assert_eq!(images(&world), Vec::<PathBuf>::new());
        while !world.processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        events = world.engine.events();
        world.engine.start("c").await.unwrap();
        assert_eq!(info.restart_count, 0);
    }
    assert_eq!(ask(&world).await, "1");
    world
}

async fn its_files_can_be_read_while_it_is_on_disk(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let mut archive = Vec::new();
    let read = world.engine.read_archive("c", "/bin/app").await;
    let (_, mut stream) = read.unwrap();
    while let Some(chunk) = stream.recv().await {
        archive.extend_from_slice(&chunk.unwrap());
    }
    assert!(archive.len() > 100_000);
    assert_eq!(ask(&world).await, "2");
    world
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
