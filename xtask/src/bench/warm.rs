//! Requests per second to a running container.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::WarmArgs;
use super::bare::Bare;
use super::dev::Dev;
use super::http::{Client, concurrently};
use super::projects::{Program, prepare};
use super::stats::{Series, ms};

pub(crate) fn run(args: &WarmArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for program in prepare(directory.path())? {
        measure(&program, Duration::from_secs(args.seconds))?;
    }
    Ok(())
}

fn measure(program: &Program, duration: Duration) -> anyhow::Result<()> {
    let dev = Dev::start(&program.project)?;
    let argv = program.bare()?;
    let (bare, _) = Bare::start(&argv)?;
    println!("{}: requests per second", program.name);
    for connections in [1, 16] {
        for (name, address, path) in [
            ("app alone", bare.address, "/"),
            ("Worker alone", dev.address, "/worker"),
            ("through Berth", dev.address, "/container/warm"),
        ] {
            load(address, path, connections, duration / 10)?;
            let (rate, latency) = load(address, path, connections, duration)?;
            println!(
                "  {connections:>2} connections  {name:<13}  {rate:>8.0} /s  median {}  p99 {}",
                ms(latency.median()),
                ms(latency.percentile(99))
            );
        }
    }
    Ok(())
}

/// Every connection sends the next request when it has the answer to the last one.
fn load(
    address: SocketAddr,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<(f64, Series)> {
    let started = Instant::now();
    let all = concurrently(connections, |_| {
        let mut client = Client::connect(address)?;
        let mut latencies = Vec::new();
        while started.elapsed() < duration {
            let sent = Instant::now();
            let (status, _) = client.get(path)?;
            ensure!(status == 200, "status {status}");
            latencies.push(sent.elapsed());
        }
        Ok(latencies)
    });
    let elapsed = started.elapsed();
    let mut series = Series::default();
    let mut count = 0_u32;
    for latencies in all {
        for latency in latencies? {
            series.push(latency);
            count += 1;
        }
    }
    Ok((f64::from(count) / elapsed.as_secs_f64(), series))
}
