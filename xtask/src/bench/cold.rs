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

pub(crate) fn run(args: &ColdArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for program in prepare(directory.path())? {
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
    println!("{}: first request, {} runs", program.name, args.runs);
    println!(
        "  bare program   median {:>9}  p99 {:>9}",
        ms(bare.median()),
        ms(bare.percentile(99))
    );
    println!(
        "  through Berth  median {:>9}  p99 {:>9}",
        ms(berth.median()),
        ms(berth.percentile(99))
    );
    println!(
        "  added          median {:>9}  p99 {:>9}",
        ms(berth.median().saturating_sub(bare.median())),
        ms(berth.percentile(99).saturating_sub(bare.percentile(99)))
    );
    if args.burst > 0 {
        let series = burst(&dev, args.burst)?;
        println!(
            "  {} objects at the same moment: median {}, last {}",
            args.burst,
            ms(series.median()),
            ms(series.max())
        );
    }
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
