//! The tunnel alone: what it adds to a request, and how fast a large body passes.

use super::TunnelArgs;
use super::client;
use super::dev::Dev;
use super::projects::prepare;
use super::table::{print, row};

/// Port of the program in the container.
const PORT: u16 = 8080;

/// Rounds of each figure, in turn; the best counts.
const ROUNDS: usize = 5;

pub(crate) fn run(args: &TunnelArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let programs = prepare(directory.path(), &["static".to_owned()])?;
    let dev = Dev::start(&programs[0].project)?;
    let running = dev.container("tunnel")?;
    let namespace = format!("/proc/{}/ns/net", running.pid);
    let direct = format!("127.0.0.1:{PORT}");
    let ingress = running.ingress.to_string();
    let job = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let (requests, bytes) = (args.requests.to_string(), args.bytes.to_string());
    let port = PORT.to_string();
    let inside = Some(namespace.as_str());
    let mut latency = [u64::MAX; 2];
    let mut down = [0; 2];
    let mut up = [0; 2];
    for _ in 0..ROUNDS {
        let pairs = [
            (inside, job(&["latency", &direct, &requests])),
            (None, job(&["tunnel-latency", &ingress, &port, &requests])),
        ];
        for (best, (inside, job)) in latency.iter_mut().zip(pairs) {
            *best = client::spawn(inside, &job)?.min(*best);
        }
        for (figures, kind) in [(&mut down, "download"), (&mut up, "upload")] {
            let through = format!("tunnel-{kind}");
            let pairs = [
                (inside, job(&[kind, &direct, &bytes])),
                (None, job(&[&through, &ingress, &port, &bytes])),
            ];
            for (best, (inside, job)) in figures.iter_mut().zip(pairs) {
                *best = client::spawn(inside, &job)?.max(*best);
            }
        }
    }
    let us = |ns: u64| format!("{:.1} µs", ns as f64 / 1000.0);
    let gbit = |rate: u64| format!("{:.1} Gbit/s", rate as f64 / 1e9);
    print(
        &format!("the tunnel alone, best of {ROUNDS} rounds in turn"),
        &[
            row(
                "request, directly in the namespace (median)",
                us(latency[0]),
                "",
            ),
            row("request through the tunnel (median)", us(latency[1]), ""),
            row("added", us(latency[1].saturating_sub(latency[0])), "100 µs"),
            row("body out of the container, directly", gbit(down[0]), ""),
            row(
                "body out of the container, tunnel",
                gbit(down[1]),
                "5 Gbit/s",
            ),
            row("body into the container, directly", gbit(up[0]), ""),
            row("body into the container, tunnel", gbit(up[1]), "5 Gbit/s"),
        ],
    );
    Ok(())
}
