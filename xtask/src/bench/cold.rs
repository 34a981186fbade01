//! First request to a stopped container.

use std::sync::Barrier;
use std::time::Instant;

use anyhow::ensure;

use super::ColdArgs;
use super::bare::Bare;
use super::dev::Dev;
use super::http::{Client, concurrently};
use super::projects::{Program, prepare};
use super::stats::{Series, ms};
use super::table::{print, row};

pub(crate) fn run(args: &ColdArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for program in prepare(directory.path(), &args.programs)? {
        measure(&program, args)?;
    }
    Ok(())
}

fn measure(program: &Program, args: &ColdArgs) -> anyhow::Result<()> {
    let dev = Dev::start(&program.project)?;
    let argv = program.bare()?;
    // One of each first, so that files are in memory for both.
    first_request(&dev, "warm-up")?;
    Bare::start(&argv)?;
    let (mut berth, mut bare) = (Series::default(), Series::default());
    for run in 0..args.runs {
        // In turn, so that a slow moment of the machine meets both.
        bare.push(Bare::start(&argv)?.1);
        berth.push(first_request(&dev, &format!("run-{run}"))?);
    }
    let added = |percent| {
        let (berth, bare) = (berth.percentile(percent), bare.percentile(percent));
        ms(berth.saturating_sub(bare))
    };
    let both = |series: &Series| format!("{} / {}", ms(series.median()), ms(series.percentile(99)));
    let mut rows = vec![
        row("bare program, median / p99", both(&bare), ""),
        row("through Berth, median / p99", both(&berth), ""),
        row("added, median", added(50), "50 ms"),
        row("added, p99", added(99), "150 ms"),
    ];
    if args.burst > 0 {
        let series = burst(&dev, args.burst)?;
        rows.push(row(
            format!("{} objects at the same moment, median", args.burst),
            ms(series.median()),
            "",
        ));
        rows.push(row("the last of them", ms(series.max()), "1500 ms"));
    }
    let title = format!("{}: first request, {} runs", program.name, args.runs);
    print(&title, &rows);
    Ok(())
}

/// Asks a new object, whose container does not run, and stops the container afterwards.
fn first_request(dev: &Dev, id: &str) -> anyhow::Result<std::time::Duration> {
    let mut client = Client::connect(dev.address)?;
    let started = Instant::now();
    let (status, body) = client.get(&format!("/container/{id}"))?;
    let elapsed = started.elapsed();
    ensure!(
        status == 200,
        "status {status}: {}",
        String::from_utf8_lossy(&body)
    );
    let (status, _) = client.get(&format!("/destroy/{id}"))?;
    ensure!(status == 200, "destroy answered {status}");
    Ok(elapsed)
}

fn burst(dev: &Dev, objects: usize) -> anyhow::Result<Series> {
    let barrier = Barrier::new(objects);
    let mut series = Series::default();
    let results = concurrently(objects, |object| {
        let mut client = Client::connect(dev.address)?;
        barrier.wait();
        let started = Instant::now();
        let (status, body) = client.get(&format!("/container/burst-{object}"))?;
        let elapsed = started.elapsed();
        ensure!(
            status == 200,
            "status {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(elapsed)
    });
    for result in results {
        series.push(result?);
    }
    Ok(series)
}
