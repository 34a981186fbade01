//! The longer sleep, with a real CRIU: to disk and back, and what happens when either fails, or
//! somebody dies in between. Needs root and gcc; unpacks CRIU for itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "every function here is part of a test"
)]

mod crashes;
mod failures;
mod state;
mod waking;

#[path = "../support/harness.rs"]
mod harness;
#[path = "../support/sleeper.rs"]
mod sleeper;
#[path = "../support/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use berth_engine::{ContainerInfo, Event, Rest, SleepPolicy};
use libtest_mimic::Arguments;
use tokio::sync::broadcast::Receiver;
use world::World;

const POLICY: SleepPolicy = SleepPolicy {
    freeze_after: Duration::from_millis(100),
    quiet_connection_after: Some(Duration::from_millis(100)),
    checkpoint_after: Some(Duration::from_millis(50)),
};

const SECRET: &str = "swordfish-nobody-else-may-read";

fn main() -> ExitCode {
    world::zygote_or_tests(|| {
        let words: Vec<String> = std::env::args().collect();
        if let [_, what, program, criu, last] = words.as_slice() {
            world::CRIU.set(criu.into()).unwrap();
            match what.as_str() {
                crashes::VICTIM => return crashes::victim(Path::new(program), last),
                crashes::DAEMON => return crashes::daemon(Path::new(program), Path::new(last)),
                _ => {}
            }
        }
        harness::run(|program| {
            if !Arguments::from_args().list {
                world::CRIU.set(world::criu()).unwrap();
            }
            let of_modules = [
                state::trials,
                waking::trials,
                failures::trials,
                crashes::trials,
            ];
            of_modules.iter().flat_map(|of| of(program)).collect()
        })
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
