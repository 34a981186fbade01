//! What the server's gateway costs a request, against workerd alone.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::GatewayArgs;
use super::http::{Client, concurrently};
use super::server::Server;
use super::stats::Series;
use super::table::{print, row};

const MODULE: &str = "export default { fetch() { return new Response(\"hello\\n\"); } };\n";
const HOST: &str = "hello.localhost";

pub(crate) fn run(args: &GatewayArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    project(directory.path(), "hello")?;
    let server = Server::start()?;
    server.berth(directory.path(), &["deploy"])?;
    server.ask("hello", "/")?;
    let alone = Alone::start(&server.workerd()?, directory.path())?;
    let targets = [
        ("workerd alone", alone.address),
        ("through the gateway", server.address),
    ];
    let mut rows = Vec::new();
    for connections in [1, 16] {
        let mut best = [(0.0, Series::default()), (0.0, Series::default())];
        let duration = Duration::from_secs(args.seconds);
        for round in 0..=args.rounds {
            // In turn, so that a slow moment of the machine meets both; the first warms up.
            for (best, (name, address)) in best.iter_mut().zip(targets) {
                let (rate, latency) = load(name, address, connections, duration)?;
                if round > 0 && rate > best.0 {
                    *best = (rate, latency);
                }
            }
        }
        for ((rate, latency), (name, _)) in best.iter().zip(targets) {
            let (median, p99) = (micros(latency.median()), micros(latency.percentile(99)));
            rows.push(row(
                format!("{connections} connections, {name}"),
                format!("{rate:.0} /s, median {median}, p99 {p99}"),
                "",
            ));
        }
        let added = best[1].1.median().saturating_sub(best[0].1.median());
        rows.push(row(
            format!("{connections} connections, added at the median"),
            format!(
                "{} ({:.2} × the requests/s)",
                micros(added),
                best[1].0 / best[0].0
            ),
            if connections == 1 { "100 µs" } else { "" },
        ));
    }
    let title = format!("gateway: best of {} rounds in turn", args.rounds);
    print(&title, &rows);
    Ok(())
}

fn micros(duration: Duration) -> String {
    format!("{:.0} µs", duration.as_secs_f64() * 1e6)
}

/// A Worker that answers at once.
pub(super) fn project(directory: &Path, name: &str) -> anyhow::Result<()> {
    fs_err::write(directory.join("index.js"), MODULE)?;
    let config = format!(
        "{{ \"name\": \"{name}\", \"main\": \"index.js\", \"compatibility_date\": \"2026-01-01\" }}\n"
    );
    fs_err::write(directory.join("wrangler.jsonc"), config)?;
    Ok(())
}

/// workerd with the same Worker at a port of its own.
struct Alone {
    child: Child,
    address: SocketAddr,
}

impl Alone {
    fn start(workerd: &Path, directory: &Path) -> anyhow::Result<Self> {
        // Free a moment ago; if somebody else takes it, workerd says so.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "using Workerd = import \"/workerd/workerd.capnp\";\n\
             const config :Workerd.Config = (\n\
             services = [(name = \"main\", worker = (\n\
             modules = [(name = \"index.js\", esModule = embed \"index.js\")],\n\
             compatibilityDate = \"2026-01-01\"))],\n\
             sockets = [(name = \"http\", address = \"{address}\", http = (), service = \"main\")]);\n"
        );
        let path = directory.join("alone.capnp");
        fs_err::write(&path, config)?;
        let child = Command::new(workerd)
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .context("could not start workerd")?;
        let mut alone = Self { child, address };
        let patience = Instant::now() + Duration::from_secs(10);
        while Client::connect(address).is_err() {
            if let Some(status) = alone.child.try_wait()? {
                bail!("workerd ended: {status}");
            }
            ensure!(Instant::now() < patience, "workerd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(alone)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every connection sends the next request when it has the answer to the last one.
fn load(
    name: &str,
    address: SocketAddr,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<(f64, Series)> {
    let started = Instant::now();
    let all = concurrently(connections, |_| {
        let mut client = Client::connect(address)?;
        let mut latencies = Vec::new();
        while started.elapsed() < duration {
            let sent = Instant::now();
            let (status, _) = client.get_at(HOST, "/")?;
            ensure!(status == 200, "{name}: status {status}");
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
