//! Many idle containers: what they cost beyond themselves.

use anyhow::ensure;

use super::DensityArgs;
use super::dev::Dev;
use super::projects::prepare;
use super::system;
use super::table::{print, row};

pub(crate) fn run(args: &DensityArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let programs = prepare(directory.path(), &["static".to_owned()])?;
    let dev = Dev::start(&programs[0].project)?;
    // Memory of the first ones is that of code paths, pools and caches, not of containers.
    for object in 0..5 {
        dev.ask(&format!("/container/first-{object}"))?;
    }
    let before = Reading::of(&dev)?;
    for object in 0..args.containers {
        dev.ask(&format!("/container/idle-{object}"))?;
    }
    // What was only in use for starting them is given back.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = Reading::of(&dev)?;
    let running = dev.engine("/containers/json")?;
    let running = running.as_array().map_or(0, |list| {
        let own = |entry: &&serde_json::Value| entry["Sidecar"].as_bool() != Some(true);
        list.iter().filter(own).count()
    });
    ensure!(
        running == args.containers + 5,
        "{running} containers run, {} were started",
        args.containers + 5
    );
    for object in 0..args.containers {
        dev.ask(&format!("/container/idle-{object}"))?;
    }
    let each = |before: u64, after: u64| {
        format!(
            "{:.0} KiB",
            after.saturating_sub(before) as f64 / args.containers as f64
        )
    };
    print(
        &format!("{} idle containers", args.containers),
        &[
            row(
                "running, and answered again",
                args.containers.to_string(),
                args.containers.to_string(),
            ),
            row(
                "daemon and zygote, per container",
                each(before.ours.memory_kib, after.ours.memory_kib),
                "1024 KiB",
            ),
            row(
                "processes of ours, in all",
                format!("{} → {}", before.ours.processes, after.ours.processes),
                "no growth",
            ),
            row(
                "file descriptors of ours, per container",
                format!(
                    "{:.1}",
                    after
                        .ours
                        .descriptors
                        .saturating_sub(before.ours.descriptors) as f64
                        / args.containers as f64
                ),
                "",
            ),
            row(
                "workerd, per object with container",
                each(before.workerd, after.workerd),
                "",
            ),
            row(
                "the program itself",
                each(before.programs, after.programs),
                "",
            ),
            row("kernel (slab)", each(before.slab, after.slab), ""),
            row(
                "everything (MemAvailable)",
                each(after.available, before.available),
                "",
            ),
        ],
    );
    Ok(())
}

struct Reading {
    ours: system::Usage,
    workerd: u64,
    programs: u64,
    slab: u64,
    available: u64,
}

impl Reading {
    fn of(dev: &Dev) -> anyhow::Result<Self> {
        let children = system::descendants(dev.pid())?;
        let sum = |wanted: &str| {
            let pids = children.iter().filter(|pid| system::name(**pid) == wanted);
            pids.map(|pid| system::pss(*pid)).sum()
        };
        Ok(Self {
            ours: system::usage(&dev.executable)?,
            workerd: sum("workerd"),
            programs: sum("server"),
            slab: system::memory("Slab")?,
            available: system::memory("MemAvailable")?,
        })
    }
}
