//! The longer sleep: how long a container takes to disk and back, what the request that wakes it
//! waits, and the memory that is free meanwhile.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::CheckpointArgs;
use super::dev::Dev;
use super::projects::prepare;
use super::stats::{Series, ms};
use super::table::{print, row};
use crate::ci::root;

/// Sleeps as soon and as deeply as may be. workerd keeps its connection for five seconds after an
/// answer, and a container with an open one stays in memory.
const SLEEP: &str = r#"{ "containers": { "App": { "sleep": {
  "freeze_after": "200ms", "quiet_connection_after": "200ms", "checkpoint_after": "200ms"
} } } }"#;

/// Longest wait for a container to be on disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks, which cost the container nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &CheckpointArgs) -> anyhow::Result<()> {
    let criu = criu()?;
    let directory = tempfile::tempdir()?;
    for program in prepare(directory.path(), &args.programs)? {
        fs_err::write(program.project.join("berth.jsonc"), SLEEP)?;
        let dev = Dev::start_with(&program.project, &[("BERTH_CRIU", &criu)])?;
        let mut measured = Measured::default();
        dev.ask("/container/sleeper")?;
        for _ in 0..args.rounds {
            measured.round(&dev)?;
        }
        measured.print(&program.name, args.rounds);
    }
    Ok(())
}

#[derive(Default)]
struct Measured {
    awake: Series,
    checkpoint: Series,
    restore: Series,
    wake: Series,
    memory_awake: u64,
    memory_stored: u64,
}

impl Measured {
    fn round(&mut self, dev: &Dev) -> anyhow::Result<()> {
        let begin = Instant::now();
        dev.ask("/container/sleeper")?;
        self.awake.push(begin.elapsed());
        self.memory_awake = self.memory_awake.max(memory(&own(dev)?)?);
        let stored = on_disk(dev)?;
        self.checkpoint.push(micros(&stored, "CheckpointUs")?);
        self.memory_stored = self.memory_stored.max(memory(&stored)?);
        let begin = Instant::now();
        dev.ask("/container/sleeper")?;
        self.wake.push(begin.elapsed());
        self.restore.push(micros(&own(dev)?, "RestoreUs")?);
        Ok(())
    }

    fn print(&self, program: &str, rounds: usize) {
        let both = |series: &Series| format!("{}, {}", ms(series.median()), ms(series.max()));
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        print(
            &format!("Checkpoint, {program}, {rounds} rounds (median, longest)"),
            &[
                row("to disk", both(&self.checkpoint), ""),
                row("restored", both(&self.restore), ""),
                row("request that restores it", both(&self.wake), ""),
                row("request while it is awake", both(&self.awake), ""),
                row(
                    "its control group's memory, cached files included",
                    format!("{} → {}", mib(self.memory_awake), mib(self.memory_stored)),
                    "",
                ),
            ],
        );
    }
}

/// The container's entry.
fn own(dev: &Dev) -> anyhow::Result<Value> {
    let list = dev.engine("/containers/json")?;
    let own = |entry: &&Value| entry["Sidecar"].as_bool() != Some(true);
    let entry = list.as_array().and_then(|list| list.iter().find(own));
    entry.cloned().context("no container runs")
}

fn on_disk(dev: &Dev) -> anyhow::Result<Value> {
    let begin = Instant::now();
    loop {
        let entry = own(dev)?;
        if entry["Asleep"] == "on disk" {
            return Ok(entry);
        }
        ensure!(begin.elapsed() < PATIENCE, "it stays awake: {entry}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn micros(entry: &Value, field: &str) -> anyhow::Result<Duration> {
    let micros = entry[field].as_u64();
    micros.map(Duration::from_micros).context("no time of CRIU")
}

fn memory(entry: &Value) -> anyhow::Result<u64> {
    entry["Metered"]["MemoryBytes"]
        .as_u64()
        .context("no memory")
}

/// The program.
fn criu() -> anyhow::Result<String> {
    if let Ok(criu) = std::env::var("BERTH_CRIU") {
        return Ok(criu);
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let output = Command::new(root().join("tools/criu.sh"))
        .arg(target.join("tmp/criu"))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("could not start tools/criu.sh")?;
    ensure!(output.status.success(), "tools/criu.sh failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
