//! Requests per second to a running container.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::WarmArgs;
use super::bare::Bare;
use super::dev::Dev;
use super::docker::Docker;
use super::http::{Client, concurrently};
use super::projects::{Program, prepare};
use super::stats::{Series, ms};
use super::table::{print, row};

/// What is loaded: a name, where and which path.
struct Target {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
}

/// The best round of a target.
#[derive(Clone, Default)]
struct Best {
    rate: f64,
    latency: Series,
}

pub(crate) fn run(args: &WarmArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for program in prepare(directory.path(), &args.programs)? {
        measure(&program, args)?;
    }
    Ok(())
}

fn measure(program: &Program, args: &WarmArgs) -> anyhow::Result<()> {
    let dev = Dev::start(&program.project)?;
    let argv = program.bare()?;
    let (bare, _) = Bare::start(&argv)?;
    let target = |name, address, path| Target {
        name,
        address,
        path,
    };
    let mut targets = vec![
        target("app alone", bare.address, "/"),
        target("Worker alone", dev.address, "/worker"),
        target("through Berth", dev.address, "/container/warm"),
    ];
    let docker = if args.docker && program.name == "static" {
        let docker = Docker::start(&program.project, args.sidecar_source.as_deref())?;
        targets.push(target(
            "workerd + Docker + sidecar",
            docker.address,
            "/container/warm",
        ));
        Some(docker)
    } else {
        None
    };
    let mut rows = Vec::new();
    for connections in [1, 16] {
        let mut best = vec![Best::default(); targets.len()];
        let duration = Duration::from_secs(args.seconds);
        for target in &targets {
            load(target, connections, duration / 4)?;
        }
        for _ in 0..args.rounds {
            // In turn, so that a slow moment of the machine meets all.
            for (best, target) in best.iter_mut().zip(&targets) {
                let (rate, latency) = load(target, connections, duration)?;
                if rate > best.rate {
                    *best = Best { rate, latency };
                }
            }
        }
        for (best, target) in best.iter().zip(&targets) {
            let figure = format!(
                "{:.0} /s, median {}, p99 {}",
                best.rate,
                ms(best.latency.median()),
                ms(best.latency.percentile(99))
            );
            rows.push(row(
                format!("{connections} connections, {}", target.name),
                figure,
                "",
            ));
        }
        if docker.is_some() {
            rows.push(row(
                format!("{connections} connections, Berth : Docker"),
                format!("{:.2}", best[2].rate / best[3].rate),
                if connections == 16 { "2" } else { "" },
            ));
        }
    }
    print(
        &format!(
            "{}: warm requests, best of {} rounds in turn",
            program.name, args.rounds
        ),
        &rows,
    );
    Ok(())
}

/// Every connection sends the next request when it has the answer to the last one.
fn load(target: &Target, connections: usize, duration: Duration) -> anyhow::Result<(f64, Series)> {
    let started = Instant::now();
    let all = concurrently(connections, |_| {
        let mut client = Client::connect(target.address)?;
        let mut latencies = Vec::new();
        while started.elapsed() < duration {
            let sent = Instant::now();
            let (status, _) = client.get(target.path)?;
            ensure!(status == 200, "{}: status {status}", target.name);
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
