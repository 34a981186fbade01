//! The actor with a stand-in for the jail: launches succeed, fail or hang, and processes end, when
//! the test says so; time is paused where it matters.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod adoption;
mod life;
mod restarts;
mod storms;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use berth_jail::{ExecFds, ExecProcess, JailError, Limits, ProcessSpec};
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
