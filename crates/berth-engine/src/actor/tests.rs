//! The actor with a stand-in for the jail: launches succeed, fail or hang, and processes end, when
//! the test says so; time is paused where it matters.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use berth_jail::{ExecFds, ExecProcess, JailError, Limits, ProcessSpec};
use proptest::prelude::*;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::*;
use crate::log::capture::WriteEnds;
use crate::log::{Capture, LogStore};
use crate::table::Table;
use crate::{RestartPolicy, Status, Timings};

/// What a fake process did and will do.
#[derive(Debug)]
struct Process {
    exit: watch::Sender<Option<ExitStatus>>,
    ports: watch::Sender<BTreeSet<u16>>,
    frozen: watch::Sender<bool>,
    signals: Mutex<Vec<i32>>,
    /// SIGTERM ends it.
    polite: AtomicBool,
    /// It is on disk.
    stored: AtomicBool,
    /// Checkpoints and restorations.
    rests: AtomicU32,
    /// Held for as long as the process lives, like real descriptors.
    output: Mutex<Option<WriteEnds>>,
}

impl Process {
    fn exit(&self, code: i32, signal: Option<i32>, last_words: &[u8]) {
        let Some(output) = self.output.lock().unwrap().take() else {
            return;
        };
        std::fs::File::from(output.stdout)
            .write_all(last_words)
            .unwrap();
        self.exit.send_replace(Some(ExitStatus {
            code,
            signal,
            oom_killed: false,
        }));
    }
}

#[derive(Clone, Debug)]
struct FakeGuest(Arc<Process>);

impl FakeGuest {
    /// As long as that takes; fails every third time.
    async fn rest_or(&self, stored: &AtomicBool, wanted: bool) -> Result<(), JailError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if self.0.exit.borrow().is_some() {
            return Err(JailError::Gone);
        }
        assert_ne!(stored.load(Ordering::Relaxed), wanted, "twice");
        if self.0.rests.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            return Err(JailError::Criu("as the test has it".to_owned()));
        }
        stored.store(wanted, Ordering::Relaxed);
        Ok(())
    }
}

impl Guest for FakeGuest {
    fn sandbox(&self) -> Option<berth_jail::Sandbox> {
        None
    }

    fn pid(&self) -> u32 {
        4242
    }

    fn timings(&self) -> Option<berth_jail::SpawnTimings> {
        None
    }

    async fn wait(&self) -> ExitStatus {
        let mut exit = self.0.exit.subscribe();
        let status = *exit.wait_for(Option::is_some).await.unwrap();
        status.unwrap()
    }

    fn kill(&self, signal: i32) -> Result<bool, JailError> {
        if self.0.exit.borrow().is_some() {
            return Ok(false);
        }
        assert!(!self.0.stored.load(Ordering::Relaxed), "a signal to nobody");
        self.0.signals.lock().unwrap().push(signal);
        if signal == 9 || (signal == 15 && self.0.polite.load(Ordering::Relaxed)) {
            self.0.exit(128 + signal, Some(signal), b"");
        }
        Ok(true)
    }

    async fn kill_all(&self) -> Result<(), JailError> {
        self.0.stored.store(false, Ordering::Relaxed);
        self.kill(9).map(drop)
    }

    async fn freeze(&self, frozen: bool) -> Result<(), JailError> {
        if self.0.exit.borrow().is_some() {
            return Err(JailError::Gone);
        }
        self.0.frozen.send_replace(frozen);
        Ok(())
    }

    async fn checkpoint(&self, _criu: berth_jail::Criu) -> Result<(), JailError> {
        self.rest_or(&self.0.stored, true).await
    }

    async fn restore(&self, _criu: berth_jail::Criu) -> Result<(), JailError> {
        let result = self.rest_or(&self.0.stored, false).await;
        if result.is_err() {
            self.0.exit(137, Some(9), b"");
        }
        result
    }

    fn usage(&self) -> Option<berth_jail::Usage> {
        Some(berth_jail::Usage::default())
    }

    fn listening(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.0.ports.subscribe()
    }

    async fn exec(
        &self,
        process: ProcessSpec,
        _fds: ExecFds,
    ) -> Result<(ExecProcess, Option<OwnedFd>), JailError> {
        Err(JailError::NotFound(process.argv[0].clone()))
    }
}

/// The test's hand on a container's launches.
#[derive(Clone, Debug)]
struct FakeJail {
    /// Launches wait while this is true.
    held: watch::Sender<bool>,
    fails: Arc<AtomicBool>,
    launched: Arc<Mutex<Vec<Arc<Process>>>>,
    at_once: Arc<AtomicU32>,
}

impl FakeJail {
    fn latest(&self) -> Arc<Process> {
        Arc::clone(self.launched.lock().unwrap().last().unwrap())
    }

    fn living(&self) -> usize {
        let launched = self.launched.lock().unwrap();
        launched
            .iter()
            .filter(|p| p.exit.borrow().is_none())
            .count()
    }
}

impl Launcher for FakeJail {
    type Guest = FakeGuest;

    fn parts(&self) -> Arc<crate::visit::Parts> {
        Arc::new(crate::visit::Parts {
            rootfs: berth_jail::Rootfs {
                lower: Vec::new(),
                upper: "/upper".into(),
                work: "/work".into(),
                read_only: false,
            },
            mounts: Vec::new(),
            disk: None,
            id_base: 1 << 20,
        })
    }

    async fn launch(&self, _ordinal: u32, output: WriteEnds) -> Result<FakeGuest, EngineError> {
        assert_eq!(self.at_once.fetch_add(1, Ordering::Relaxed), 0);
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(EngineError::Start {
                name: "c".to_owned(),
                source: JailError::NotFound("/nope".to_owned()),
            });
        }
        let process = Arc::new(Process {
            exit: watch::Sender::new(None),
            ports: watch::Sender::new(BTreeSet::new()),
            frozen: watch::Sender::new(false),
            signals: Mutex::default(),
            polite: AtomicBool::new(false),
            stored: AtomicBool::new(false),
            rests: AtomicU32::new(0),
            output: Mutex::new(Some(output)),
        });
        self.launched.lock().unwrap().push(Arc::clone(&process));
        Ok(FakeGuest(process))
    }
}

struct World {
    table: Arc<Table>,
    jail: FakeJail,
    events: broadcast::Sender<Event>,
    deletions: TaskTracker,
    temp: tempfile::TempDir,
    made: AtomicU32,
    slots: Slots,
    policy: Mutex<crate::Policy>,
    /// Of the containers made from now on.
    sleep: Mutex<Option<SleepPolicy>>,
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("trash")).unwrap();
        Self {
            table: Arc::default(),
            jail: FakeJail {
                held: watch::Sender::new(false),
                fails: Arc::default(),
                launched: Arc::default(),
                at_once: Arc::default(),
            },
            events: broadcast::Sender::new(256),
            deletions: TaskTracker::new(),
            temp,
            made: AtomicU32::new(0),
            slots: Slots::default(),
            policy: Mutex::default(),
            sleep: Mutex::default(),
        }
    }

    async fn create(&self, name: &str) -> Result<Handle, EngineError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:064x}");
        let (handle, mailbox) = Handle::new(id.clone(), name.to_owned());
        let lease = self.table.claim(name, &handle)?;
        let prepared = self.prepared(&id, name);
        let shared = Arc::clone(handle.shared());
        let (created, answer) = oneshot::channel();
        tokio::spawn(run(
            shared,
            mailbox,
            lease,
            self.events.clone(),
            async move { Ok(prepared) },
            created,
        ));
        answer.await.unwrap()?;
        Ok(handle)
    }

    /// With another policy than the default.
    async fn create_with(&self, name: &str, change: impl FnOnce(&mut crate::Policy)) -> Handle {
        change(&mut self.policy.lock().unwrap());
        let handle = self.create(name).await.unwrap();
        *self.policy.lock().unwrap() = crate::Policy::default();
        handle
    }

    fn prepared(&self, id: &str, name: &str) -> Prepared<FakeJail> {
        let dir = self.temp.path().join(id);
        std::fs::create_dir(&dir).unwrap();
        let text = |text: &str| text.to_owned();
        Prepared {
            launcher: self.jail.clone(),
            process: Effective {
                argv: vec![text("/app")],
                env: Vec::new(),
                cwd: text("/"),
                user: String::new(),
                stop_signal: 15,
            },
            info: ContainerInfo {
                id: text(id),
                name: text(name),
                display_name: text(name),
                image: text("i"),
                image_id: text("sha256:0"),
                status: Status::Created,
                pid: None,
                exit: None,
                error: None,
                created_ms: 0,
                started_ms: None,
                finished_ms: None,
                labels: std::collections::BTreeMap::new(),
                env: Vec::new(),
                argv: Vec::new(),
                limits: Limits::default(),
                rest: None,
                sleepless: None,
                policy: self.policy.lock().unwrap().clone(),
                restart_count: 0,
                restarting: false,
                timings: Timings::default(),
                used: None,
            },
            sleep: *self.sleep.lock().unwrap(),
            criu: Some("/criu".into()),
            keeper: None,
            home: Home {
                dir: dir.clone(),
                trash: self.temp.path().join("trash"),
                deletions: self.deletions.clone(),
                disk: None,
            },
            sink: Sink {
                store: Arc::new(LogStore::new(dir, 1 << 20)),
                events: self.events.clone(),
                name: name.into(),
                display_name: name.into(),
                untold: Arc::default(),
            },
            slots: self.slots.clone(),
        }
    }

    async fn nothing_is_left(&self) {
        assert!(self.table.all().is_empty());
        assert_eq!(self.jail.living(), 0);
        self.deletions.close();
        self.deletions.wait().await;
        let mut left: Vec<_> = std::fs::read_dir(self.temp.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.retain(|name| name != "trash");
        assert!(left.is_empty(), "{left:?}");
        let trash = self.temp.path().join("trash");
        assert_eq!(std::fs::read_dir(trash).unwrap().count(), 0);
    }
}

/// Lets every other task run until all of them wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn code(result: Result<ExitStatus, EngineError>) -> i32 {
    result.unwrap().code
}

#[tokio::test]
async fn wait_before_and_after_an_exit_and_a_second_start() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    assert!(matches!(
        handle.start().await,
        Err(EngineError::AlreadyRunning(_))
    ));
    let info = handle.info().unwrap();
    assert_eq!((info.status, info.pid), (Status::Running, Some(4242)));
    let early = tokio::spawn({
        let handle = handle.clone();
        async move { handle.wait().await }
    });
    tokio::task::yield_now().await;
    world.jail.latest().exit(7, None, b"");
    assert_eq!(code(early.await.unwrap()), 7);
    assert_eq!(code(handle.wait().await), 7);
    assert_eq!(code(handle.stop(Duration::ZERO).await), 7);
    assert_eq!(handle.info().unwrap().status, Status::Exited);
    assert!(matches!(
        handle.kill(15, false).await,
        Err(EngineError::NotRunning(_))
    ));
    handle.start().await.unwrap();
    assert_eq!(handle.info().unwrap().exit, None);
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn the_last_words_are_in_the_log_before_the_exit_is_told() {
    let world = World::new();
    let mut events = world.events.subscribe();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    world.jail.latest().exit(1, None, b"last words");
    handle.wait().await.unwrap();
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(match event {
            Event::Created(_) => "created",
            Event::Started(_) => "started",
            Event::Adopted(_) => "adopted",
            Event::Log { line, .. } => {
                assert_eq!(line.bytes, b"last words");
                "log"
            }
            Event::Exited(_) => "exited",
            Event::StartFailed(_) => "start failed",
            Event::Asleep(_) => "asleep",
            Event::Awake(_) => "awake",
            Event::Removed(_) => "removed",
            Event::CreateFailed { .. } => "create failed",
        });
    }
    assert_eq!(seen, ["created", "started", "log", "exited"]);
}

#[tokio::test(start_paused = true)]
async fn remove_kills_answers_waits_with_137_and_frees_the_name_first() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    assert!(matches!(
        handle.remove(false).await,
        Err(EngineError::StillRunning(_))
    ));
    let (wait, gone) = (handle.clone(), handle.clone());
    let wait = tokio::spawn(async move { wait.wait().await });
    let gone = tokio::spawn(async move { gone.gone().await });
    settle().await;
    let (one, two) = tokio::join!(handle.remove(true), handle.remove(true));
    one.unwrap();
    two.unwrap();
    let again = world.create("c").await.unwrap();
    assert_eq!(code(wait.await.unwrap()), 137);
    gone.await.unwrap();
    assert!(matches!(
        handle.wait().await,
        Err(EngineError::NoSuchContainer(_))
    ));
    again.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn remove_during_a_start_waits_for_it_and_nothing_is_left() {
    for fails in [false, true] {
        let world = World::new();
        world.jail.held.send_replace(true);
        world.jail.fails.store(fails, Ordering::Relaxed);
        let handle = world.create("c").await.unwrap();
        let [start, wait, kill, remove] = [0, 1, 2, 3].map(|which| {
            let handle = handle.clone();
            tokio::spawn(async move {
                match which {
                    0 => handle.start().await.map(|()| 0),
                    1 => handle.wait().await.map(|status| status.code),
                    2 => handle.kill(15, false).await.map(|()| 0),
                    _ => handle.remove(true).await.map(|()| 0),
                }
            })
        });
        settle().await;
        assert_eq!(handle.info().unwrap().status, Status::Removing);
        assert!(!remove.is_finished());
        world.jail.held.send_replace(false);
        remove.await.unwrap().unwrap();
        start.await.unwrap().unwrap_err();
        assert!(matches!(
            kill.await.unwrap(),
            Err(EngineError::NotRunning(_))
        ));
        let expected = if fails { 127 } else { 137 };
        assert_eq!(wait.await.unwrap().unwrap(), expected);
        world.nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_vanishes_changes_nothing() {
    let world = World::new();
    world.jail.held.send_replace(true);
    let handle = world.create("c").await.unwrap();
    let caller = tokio::spawn({
        let handle = handle.clone();
        async move { handle.start().await }
    });
    settle().await;
    caller.abort();
    world.jail.held.send_replace(false);
    settle().await;
    assert_eq!(handle.info().unwrap().status, Status::Running);
    let remover = tokio::spawn({
        let handle = handle.clone();
        async move { handle.remove(true).await }
    });
    tokio::task::yield_now().await;
    remover.abort();
    handle.gone().await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_failed_start_is_told_logged_and_removable() {
    let world = World::new();
    world.jail.fails.store(true, Ordering::Relaxed);
    let handle = world.create("c").await.unwrap();
    assert!(matches!(
        handle.start().await,
        Err(EngineError::Start { .. })
    ));
    let info = handle.info().unwrap();
    assert_eq!(info.status, Status::Exited);
    assert!(info.error.unwrap().contains("`/nope` not found"));
    assert_eq!(code(handle.wait().await), 127);
    world.jail.fails.store(false, Ordering::Relaxed);
    handle.start().await.unwrap();
    assert_eq!(handle.info().unwrap().error, None);
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn stop_terminates_then_kills_after_the_grace() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    let begin = Instant::now();
    assert_eq!(code(handle.stop(Duration::from_secs(10)).await), 137);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    assert_eq!(*world.jail.latest().signals.lock().unwrap(), [15, 9]);

    handle.start().await.unwrap();
    let polite = world.jail.latest();
    polite.polite.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    assert_eq!(code(handle.stop(Duration::from_secs(10)).await), 143);
    assert!(begin.elapsed() < Duration::from_secs(1));
    settle().await;
    assert_eq!(*polite.signals.lock().unwrap(), [15]);
}

#[tokio::test(start_paused = true)]
async fn an_impatient_second_stop_shortens_the_first() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    let begin = Instant::now();
    let (one, two) = tokio::join!(
        handle.stop(Duration::from_secs(900)),
        handle.stop(Duration::from_secs(1)),
    );
    assert_eq!((code(one), code(two)), (137, 137));
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_first_listen_is_timed_and_liveness_follows_the_process() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    let liveness = handle.shared().liveness.subscribe();
    assert!(matches!(*liveness.borrow(), Liveness::Down));
    handle.start().await.unwrap();
    assert!(matches!(*liveness.borrow(), Liveness::Up(_)));
    tokio::time::sleep(Duration::from_millis(30)).await;
    world.jail.latest().ports.send_replace(BTreeSet::from([80]));
    settle().await;
    let first = handle.info().unwrap().timings.first_listen.unwrap();
    assert!((30..40).contains(&first.as_millis()), "{first:?}");
    world.jail.latest().exit(0, None, b"");
    handle.wait().await.unwrap();
    assert!(matches!(*liveness.borrow(), Liveness::Down));
}

#[tokio::test]
async fn an_exec_of_a_missing_program_names_it() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    let spec = crate::ExecSpec {
        argv: vec!["/missing".to_owned()],
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: true,
    };
    assert!(matches!(
        handle.exec(spec.clone()).await,
        Err(EngineError::NotRunning(_))
    ));
    handle.start().await.unwrap();
    let error = handle.exec(spec).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot execute `/missing` in container `c`"
    );
}

#[tokio::test]
async fn a_container_whose_engine_is_dropped_removes_itself() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    let mut events = world.events.subscribe();
    drop(handle);
    // The table held the last way to the actor; without it nobody can ask for anything any more.
    let table = Arc::downgrade(&world.table);
    let World {
        table: owner, jail, ..
    } = world;
    drop(owner);
    assert!(table.upgrade().is_none());
    while !matches!(events.recv().await.unwrap(), Event::Removed(_)) {}
    assert_eq!(jail.living(), 0);
}

#[tokio::test]
async fn a_failed_preparation_frees_the_name() {
    let world = World::new();
    let (handle, mailbox) = Handle::new("00".to_owned(), "c".to_owned());
    let lease = world.table.claim("c", &handle).unwrap();
    let (created, answer) = oneshot::channel();
    let fails = async { Err::<Prepared<FakeJail>, _>(EngineError::NoIdRange) };
    let shared = Arc::clone(handle.shared());
    run(shared, mailbox, lease, world.events.clone(), fails, created).await;
    assert!(matches!(answer.await.unwrap(), Err(EngineError::NoIdRange)));
    assert!(matches!(
        handle.start().await,
        Err(EngineError::NoSuchContainer(_))
    ));
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Create,
    Start,
    Wait,
    Stop,
    Kill,
    Remove(bool),
    /// The caller of the latest request vanishes.
    Vanish,
    Pause,
    Unpause,
    Wake,
    /// Something uses the container for a moment.
    Use,
    ProcessExits,
    HoldLaunches(bool),
    FailLaunches(bool),
    LetTimePass,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => Just(Move::Create),
        4 => Just(Move::Start),
        3 => Just(Move::Wait),
        1 => Just(Move::Stop),
        1 => Just(Move::Kill),
        1 => Just(Move::Pause),
        1 => Just(Move::Unpause),
        2 => Just(Move::Wake),
        2 => Just(Move::Use),
        2 => any::<bool>().prop_map(Move::Remove),
        2 => Just(Move::Vanish),
        2 => Just(Move::ProcessExits),
        1 => any::<bool>().prop_map(Move::HoldLaunches),
        1 => any::<bool>().prop_map(Move::FailLaunches),
        4 => Just(Move::LetTimePass),
    ];
    prop::collection::vec(one, 0..40)
}

/// A wait on a container that exists has an answer, unless it came when all was over.
fn answered(result: Result<ExitStatus, EngineError>) {
    assert!(matches!(
        result,
        Ok(_) | Err(EngineError::NoSuchContainer(_))
    ));
}

/// Any storm of calls on one name: every call is answered, at most one process lives, and after a
/// last remove nothing is left.
async fn storm(moves: Vec<Move>) {
    let world = World::new();
    *world.sleep.lock().unwrap() = Some(SleepPolicy {
        freeze_after: Duration::from_millis(2),
        quiet_connection_after: None,
        checkpoint_after: Some(Duration::from_millis(2)),
    });
    let mut calls = tokio::task::JoinSet::new();
    let mut aborts = Vec::new();
    for step in moves {
        let handle = world.table.find("c");
        match step {
            Move::Create => match (world.create("c").await, handle) {
                (Ok(_), _) | (Err(EngineError::NameInUse(_)), Some(_)) => {}
                (result, before) => panic!("{result:?} with {before:?}"),
            },
            Move::Use => {
                if let Some(handle) = handle {
                    drop(handle.shared().activity.begin());
                }
            }
            Move::Start
            | Move::Wait
            | Move::Stop
            | Move::Kill
            | Move::Pause
            | Move::Unpause
            | Move::Wake
            | Move::Remove(_) => {
                let Some(handle) = handle else { continue };
                aborts.push(calls.spawn(async move {
                    match step {
                        Move::Start => drop(handle.start().await),
                        Move::Wait => answered(handle.wait().await),
                        Move::Stop => drop(handle.stop(Duration::from_millis(5)).await),
                        Move::Kill => drop(handle.kill(9, false).await),
                        Move::Pause => drop(handle.pause().await),
                        Move::Unpause => drop(handle.unpause().await),
                        Move::Wake => drop(handle.wake().await),
                        Move::Remove(force) => drop(handle.remove(force).await),
                        _ => {}
                    }
                }));
            }
            Move::Vanish => {
                if let Some(caller) = aborts.pop() {
                    caller.abort();
                }
            }
            Move::ProcessExits => {
                let last = world.jail.launched.lock().unwrap().last().cloned();
                if let Some(process) = last {
                    process.exit(3, None, b"bye");
                }
            }
            Move::HoldLaunches(held) => drop(world.jail.held.send_replace(held)),
            Move::FailLaunches(fails) => world.jail.fails.store(fails, Ordering::Relaxed),
            Move::LetTimePass => settle().await,
        }
        assert!(world.jail.living() <= 1);
    }
    world.jail.held.send_replace(false);
    if let Some(handle) = world.table.find("c") {
        handle.remove(true).await.unwrap();
    }
    while let Some(result) = calls.join_next().await {
        // Only callers that were made to vanish have no answer.
        assert!(result.is_ok() || result.is_err_and(|error| error.is_cancelled()));
    }
    world.nothing_is_left().await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_storm_of_calls_ends_with_every_call_answered_and_nothing_left(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), storm(moves)).await.unwrap();
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_started_again_with_growing_pauses() {
    let world = World::new();
    let handle = world
        .create_with("c", |policy| {
            policy.restart = RestartPolicy::OnFailure(None);
        })
        .await;
    handle.start().await.unwrap();
    for (round, pause) in [100, 200, 400].into_iter().enumerate() {
        let waiter = tokio::spawn({
            let handle = handle.clone();
            async move { handle.wait().await }
        });
        tokio::task::yield_now().await;
        world.jail.latest().exit(5, None, b"");
        assert_eq!(code(waiter.await.unwrap()), 5, "told at once");
        settle().await;
        let info = handle.info().unwrap();
        assert!(info.restarting && info.status == Status::Exited, "{info:?}");
        tokio::time::sleep(Duration::from_millis(pause - 10)).await;
        assert_eq!(world.jail.living(), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.jail.living(), 1);
        let info = handle.info().unwrap();
        assert_eq!(info.restart_count as usize, round + 1);
        assert_eq!((info.restarting, info.status), (false, Status::Running));
    }
    world.jail.latest().exit(0, None, b"");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.jail.living(), 0, "0 is no failure");
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn who_ends_a_container_ends_its_restarts() {
    let world = World::new();
    for pausing in [false, true] {
        let handle = world
            .create_with("c", |policy| {
                policy.restart = RestartPolicy::Always;
            })
            .await;
        handle.start().await.unwrap();
        if pausing {
            world.jail.latest().exit(1, None, b"");
            settle().await;
        }
        handle.kill(9, false).await.unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.jail.living(), 0);
        assert!(!handle.info().unwrap().restarting);
        // Somebody starts it again, and removes it while it waits for the next time.
        handle.start().await.unwrap();
        world.jail.latest().exit(1, None, b"");
        settle().await;
        handle.remove(false).await.unwrap();
    }
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn who_insists_is_obeyed_when_the_grace_is_over() {
    let world = World::new();
    let handle = world
        .create_with("c", |policy| {
            policy.stop_grace = Duration::from_secs(7);
        })
        .await;
    handle.start().await.unwrap();
    handle.kill(15, true).await.unwrap();
    // Asking again does not prolong it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    handle.kill(15, true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(world.jail.living(), 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.jail.living(), 0);
    assert_eq!(code(handle.wait().await), 137);
    assert_eq!(*world.jail.latest().signals.lock().unwrap(), [15, 15, 9]);
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_instance_too_many_is_refused_until_another_has_ended() {
    let world = World::new();
    let limited = |policy: &mut crate::Policy| {
        policy.instances = Some(crate::InstanceLimit {
            application: "app".to_owned(),
            max: 1,
        });
    };
    let first = world.create_with("a", limited).await;
    let second = world.create_with("b", limited).await;
    first.start().await.unwrap();
    assert!(matches!(
        second.start().await,
        Err(EngineError::NoInstance { max: 1, .. })
    ));
    assert_eq!(second.info().unwrap().status, Status::Created);
    world.jail.latest().exit(0, None, b"");
    first.wait().await.unwrap();
    // A start that fails gives its place back.
    world.jail.fails.store(true, Ordering::Relaxed);
    assert!(matches!(
        second.start().await,
        Err(EngineError::Start { .. })
    ));
    world.jail.fails.store(false, Ordering::Relaxed);
    second.start().await.unwrap();
    assert!(first.start().await.is_err());
    second.remove(true).await.unwrap();
    first.start().await.unwrap();
    first.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

impl World {
    /// A container whose process a daemon before has started; what that had to say to the log is in its pipe.
    async fn adopt(&self, name: &str, change: impl FnOnce(&mut Adopted<FakeGuest>)) -> Handle {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:064x}");
        let (handle, mailbox) = Handle::new(id.clone(), name.to_owned());
        let lease = self.table.claim(name, &handle).unwrap();
        let mut prepared = self.prepared(&id, name);
        prepared.info.started_ms = Some(now_ms());
        prepared.info.restart_count = 4;
        let (capture, output, _) = Capture::start(prepared.sink.clone()).unwrap();
        let guest = self.jail.launch(1, output).await.unwrap();
        let mut adopted = Adopted {
            guest,
            capture,
            launches: 3,
            past: Past::default(),
            kill_at_ms: None,
        };
        change(&mut adopted);
        let place = (
            Arc::clone(handle.shared()),
            mailbox,
            lease,
            self.events.clone(),
        );
        let (created, answer) = oneshot::channel();
        tokio::spawn(adopt(place, prepared, adopted, created));
        answer.await.unwrap().unwrap();
        handle
    }
}

#[tokio::test]
async fn a_container_that_is_taken_over_runs_and_its_end_is_told_once() {
    let world = World::new();
    let mut events = world.events.subscribe();
    let limited = |policy: &mut crate::Policy| {
        policy.instances = Some(crate::InstanceLimit {
            application: "app".to_owned(),
            max: 0,
        });
    };
    limited(&mut world.policy.lock().unwrap());
    let handle = world.adopt("c", |_| {}).await;
    let info = handle.info().unwrap();
    assert_eq!(info.status, Status::Running);
    assert_eq!((info.pid.is_some(), info.restart_count), (true, 4));
    assert!(matches!(
        handle.start().await,
        Err(EngineError::AlreadyRunning(_))
    ));
    let limit = info.policy.instances.clone().unwrap();
    let two = crate::InstanceLimit { max: 1, ..limit };
    assert!(world.slots.check(&two, &info.limits).is_err(), "it has one");
    world.jail.latest().exit(7, None, b"last words\n");
    assert_eq!(code(handle.wait().await), 7);
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(match event {
            Event::Adopted(_) => "adopted",
            Event::Exited(_) => "exited",
            Event::Log { .. } => "log",
            _ => "something else",
        });
    }
    assert_eq!(seen, ["adopted", "log", "exited"]);
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_has_ended_meanwhile_is_told_as_ended() {
    let world = World::new();
    let ended = |adopted: &mut Adopted<FakeGuest>| {
        adopted.guest.0.exit(9, None, b"");
    };
    let handle = world.adopt("c", ended).await;
    assert_eq!(code(handle.wait().await), 9);
    assert_eq!(handle.info().unwrap().status, Status::Exited);
    // It can be started again.
    handle.start().await.unwrap();
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn who_was_asked_to_end_before_is_killed_when_the_grace_is_over() {
    let world = World::new();
    let late = |adopted: &mut Adopted<FakeGuest>| {
        adopted.kill_at_ms = Some(now_ms());
    };
    let handle = world.adopt("c", late).await;
    assert_eq!(code(handle.wait().await), 137);
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}
