//! Start, answer, destroy, again and again: nothing may grow.

use super::CyclesArgs;
use super::dev::Dev;
use super::projects::prepare;
use super::system::{self, Usage};
use super::table::{print, row};

/// Cycles before the first reading: caches (the zygote remembers 64 user namespaces), pools and thread
/// stacks have their size then.
const WARM_UP: usize = 80;

/// Objects, in turn. workerd keeps an object's network for as long as it keeps the object.
const OBJECTS: usize = 5;

/// Seconds of reading.
const READINGS: usize = 20;

/// KiB that allocator and caches may move by.
const NOISE_KIB: u64 = 2048;

pub(crate) fn run(args: &CyclesArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let programs = prepare(directory.path(), &["static".to_owned()])?;
    let dev = Dev::start(&programs[0].project)?;
    cycle(&dev, WARM_UP)?;
    let (before, before_groups) = read(&dev)?;
    cycle(&dev, args.cycles)?;
    let (after, after_groups) = read(&dev)?;
    let line = |what: &str, before: u64, after: u64, most: u64| {
        row(
            what,
            format!("{before} → {after}"),
            format!("at most {}", before + most),
        )
    };
    print(
        &format!("{} cycles of start, answer, destroy", args.cycles),
        &[
            line("processes", before.processes, after.processes, 0),
            line("threads", before.threads, after.threads, 0),
            line("file descriptors", before.descriptors, after.descriptors, 0),
            line("mounts", before.mounts, after.mounts, 0),
            line("cgroups", before_groups, after_groups, 0),
            line(
                "memory (PSS, KiB)",
                before.memory_kib,
                after.memory_kib,
                NOISE_KIB,
            ),
        ],
    );
    Ok(())
}

fn cycle(dev: &Dev, cycles: usize) -> anyhow::Result<()> {
    for number in 0..cycles {
        let object = number % OBJECTS;
        dev.ask(&format!("/container/cycle-{object}"))?;
        dev.ask(&format!("/destroy/cycle-{object}"))?;
    }
    Ok(())
}

/// The least of some seconds: workerd closes the tunnels of a destroyed container, and lets go of
/// idle objects with their networks, when it likes, within about ten seconds.
fn read(dev: &Dev) -> anyhow::Result<(Usage, u64)> {
    let mut least = (
        system::usage(&dev.executable)?,
        system::cgroups(&dev.control)?,
    );
    for _ in 0..READINGS {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let (now, groups) = (
            system::usage(&dev.executable)?,
            system::cgroups(&dev.control)?,
        );
        let (usage, least_groups) = &mut least;
        usage.processes = usage.processes.min(now.processes);
        usage.threads = usage.threads.min(now.threads);
        usage.descriptors = usage.descriptors.min(now.descriptors);
        usage.mounts = usage.mounts.min(now.mounts);
        usage.memory_kib = usage.memory_kib.min(now.memory_kib);
        *least_groups = groups.min(*least_groups);
    }
    Ok(least)
}
