//! Start, answer, destroy, again and again: nothing may grow.

use super::CyclesArgs;
use super::dev::Dev;
use super::projects::prepare;
use super::system::{self, Usage};
use super::table::{print, row};

/// Cycles before the first reading: caches, pools and thread stacks have their size then.
const WARM_UP: usize = 10;

/// KiB that allocator and caches may move by.
const NOISE_KIB: u64 = 2048;

pub(crate) fn run(args: &CyclesArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let programs = prepare(directory.path(), &["static".to_owned()])?;
    let dev = Dev::start(&programs[0].project)?;
    cycle(&dev, "before", WARM_UP)?;
    let (before, before_groups) = read(&dev)?;
    cycle(&dev, "measured", args.cycles)?;
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

fn cycle(dev: &Dev, prefix: &str, cycles: usize) -> anyhow::Result<()> {
    for number in 0..cycles {
        dev.ask(&format!("/container/{prefix}-{number}"))?;
        dev.ask(&format!("/destroy/{prefix}-{number}"))?;
    }
    Ok(())
}

/// When what ends in the background has ended: the reading that does not fall any more.
fn read(dev: &Dev) -> anyhow::Result<(Usage, u64)> {
    let now = || {
        anyhow::Ok((
            system::usage(&dev.executable)?,
            system::cgroups(&dev.control)?,
        ))
    };
    let mut last = now()?;
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let next = now()?;
        let falls = next.0.descriptors < last.0.descriptors || next.1 < last.1;
        last = next;
        if !falls {
            break;
        }
    }
    Ok(last)
}
