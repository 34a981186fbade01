//! The wall clock is set while a session runs: by a day in either direction, for Berth and workerd.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_test::{DevSession, Event, PATIENCE, Project, World};
use serde_json::{Value, json};

use crate::{class_api, world};

const DAY: i64 = 86_400;

/// A clock that processes started with [`Clock::environment`] read.
struct Clock {
    directory: tempfile::TempDir,
    library: PathBuf,
}

impl Clock {
    fn new(world: &World) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clock.c");
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("clock.so");
        let status = Command::new("gcc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .current_dir(world.data_dir())
            .status()
            .expect("the tests need gcc");
        assert!(status.success(), "gcc failed");
        let clock = Self { directory, library };
        std::fs::write(clock.file(), 0_i64.to_ne_bytes()).unwrap();
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Sets it to so many seconds from the machine's.
    fn set(&self, offset: i64) {
        let file = std::fs::File::options().write(true).open(self.file());
        file.unwrap()
            .write_all_at(&offset.to_ne_bytes(), 0)
            .unwrap();
    }
}

/// `berth ps`, one row for each container.
async fn listed(session: &DevSession) -> Vec<Value> {
    let output = session.berth(["ps", "--json"]).await;
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_day_forwards_and_two_back_change_nothing() {
    let world = world();
    let clock = Clock::new(&world);
    let project = class_api::project(&world, "0.3.7");
    // Falls asleep and is woken by the clock that goes on evenly.
    let own = json!({ "freeze_after": "300ms", "quiet_connection_after": "300ms" });
    let own = json!({ "containers": { "Main": { "sleep": own } } });
    project.write("berth.jsonc", own.to_string());
    let session = start(&world, &project, &clock).await;
    let first = session.get("/fetch/Main/a/id").await.ok().json();
    for (offset, fresh) in [(DAY, "b"), (-DAY, "c"), (0, "d")] {
        let mark = session.events().mark();
        clock.set(offset);
        let after = session.get("/fetch/Main/a/id").await.ok().json();
        assert_eq!(after["boot"], first["boot"], "{offset}: the same process");
        let path = format!("/fetch/Main/{fresh}/id");
        let new = session.get(&path).await.ok().json();
        assert!(new["boot"].is_string(), "{offset}: {new}");
        let asleep = |event: &Event| event.is_container("asleep", "Main");
        let events = session.events();
        events.wait_after(mark, "sleep", PATIENCE, asleep).await;
        // Times that were measured are small and not negative.
        for row in listed(&session).await {
            let usage = |name: &str| row["usage"][name].as_u64().unwrap_or_default();
            let all = usage("running_ms") + usage("frozen_ms");
            assert!(all < 3_600_000, "{offset}: {row}");
        }
    }
    // Nobody ends a container but its class: for it the time of `sleepAfter` may have passed.
    let count = |wanted: &dyn Fn(&Event) -> bool| session.events().count(wanted);
    let expired = count(&|event| event.is_log("hook onActivityExpired"));
    assert!(count(&|event| event.is_container("exited", "")) <= expired);
    session.stop().await;
}

async fn start(world: &World, project: &Project, clock: &Clock) -> DevSession {
    let session = world
        .dev(project)
        .env("LD_PRELOAD", &clock.library)
        .env("CLOCK_OFFSET", clock.file())
        .start()
        .await;
    // workerd, which has its environment from Berth, reads it.
    let told = class_api::call(&session, "Main/clock/clock", json!([])).await;
    clock.set(DAY);
    let later = class_api::call(&session, "Main/clock/clock", json!([])).await;
    let seconds = (later.as_u64().unwrap() - told.as_u64().unwrap()) / 1000;
    assert!(i64::try_from(seconds).unwrap() >= DAY, "{seconds} s");
    clock.set(0);
    session
}
