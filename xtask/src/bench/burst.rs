//! Many objects whose containers do not run, asked at the same moment.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::bare::Bare;
use super::dev::Dev;
use super::http::{Client, concurrently};
use super::projects::{Program, prepare};
use super::stats::{Series, ms};
use super::table::{print, row};
use super::{BurstArgs, system};

/// What the target allows beyond the programs' own CPU time.
const SLACK: Duration = Duration::from_secs(3);

pub(crate) fn run(args: &BurstArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for program in prepare(directory.path(), &args.programs)? {
        measure(&program, args.objects)?;
    }
    Ok(())
}

fn measure(program: &Program, objects: usize) -> anyhow::Result<()> {
    let dev = Dev::start(&program.project)?;
    dev.ask("/container/warm-up")?;
    dev.ask("/destroy/warm-up")?;
    let cost = cpu_cost(&program.bare()?)?;
    let barrier = Barrier::new(objects);
    let started = Instant::now();
    let results = concurrently(objects, |object| {
        let mut client = Client::connect(dev.address)?;
        barrier.wait();
        let asked = Instant::now();
        let (status, _) = client.get(&format!("/container/burst-{object}"))?;
        anyhow::ensure!(status == 200, "object {object}: status {status}");
        Ok(asked.elapsed())
    });
    let total = started.elapsed();
    let mut series = Series::default();
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(elapsed) => series.push(elapsed),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    let count = u32::try_from(objects)?;
    print(
        &format!("{}: {objects} objects at the same moment", program.name),
        &[
            row(
                "answered",
                format!("{}", objects - failed.len()),
                objects.to_string(),
            ),
            row("median", ms(series.median()), ""),
            row("total", ms(total), ms(cost * count + SLACK)),
            row("CPU time of one bare program", ms(cost), ""),
        ],
    );
    failed.truncate(5);
    anyhow::ensure!(failed.is_empty(), "failed: {failed:?}");
    Ok(())
}

/// CPU time of the program from its start to its first answer; the least of a few.
fn cpu_cost(argv: &[String]) -> anyhow::Result<Duration> {
    let mut least = u64::MAX;
    for _ in 0..5 {
        let (bare, _) = Bare::start(argv)?;
        least = least.min(system::cpu_ns(bare.pid()));
    }
    Ok(Duration::from_nanos(least))
}
