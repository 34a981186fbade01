//! Push and pull: `berth registry serve` against Debian's `docker-registry`, in turn on this machine.
//!
//! Both keep their data on the same file system, without authentication. The client is ours, the same
//! for both, and pushes as Docker does: POST, PATCH, PUT. It takes CPU time of its own, the same for
//! both, so the ratios are smaller than those of the servers alone.

mod wire;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::RegistryArgs;
use super::dev::executable;
use super::table::{print, row};
use super::tools::install;
use wire::{Blob, Connection};

/// Bytes of a small blob.
const SMALL: u64 = 4096;
/// Connections of a client that has many blobs: Docker and skopeo have 3 to 6.
const CONNECTIONS: usize = 4;

/// A server, ended when dropped.
pub(super) struct Server {
    name: &'static str,
    child: Child,
    pub(super) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(args: &RegistryArgs) -> anyhow::Result<()> {
    install(&["docker-registry"])?;
    let directory = match &args.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let servers = [
        berth(&directory.path().join("berth"))?,
        docker(&directory.path().join("docker"))?,
    ];
    let mut best = [[Duration::MAX; 4]; 2];
    for round in 0..args.rounds {
        // Who begins takes turns too.
        for index in [round % 2, (round + 1) % 2] {
            let figures = measure(&servers[index], args, round)?;
            for (best, figure) in best[index].iter_mut().zip(figures) {
                *best = figure.min(*best);
            }
        }
    }
    let what = [
        (format!("push {} MB", args.bytes / 1_000_000), "≥ 1.0"),
        (format!("pull {} MB", args.bytes / 1_000_000), "≥ 1.0"),
        (
            format!("push {} blobs of {SMALL} bytes", args.blobs),
            "> 1.0",
        ),
        (
            format!("pull {} blobs of {SMALL} bytes", args.blobs),
            "> 1.0",
        ),
    ];
    let rows: Vec<_> = what
        .into_iter()
        .enumerate()
        .map(|(index, (what, target))| {
            let (ours, theirs) = (best[0][index].as_secs_f64(), best[1][index].as_secs_f64());
            let figure = format!(
                "{} {ours:.2} s, {} {theirs:.2} s: {:.2}× as fast",
                servers[0].name,
                servers[1].name,
                theirs / ours
            );
            row(what, figure, target)
        })
        .collect();
    print("Registry", &rows);
    Ok(())
}

/// `berth registry serve`, open to everybody.
pub(super) fn berth(data: &Path) -> anyhow::Result<Server> {
    let mut child = Command::new(executable()?)
        .args(["registry", "serve", "--json", "--listen", "127.0.0.1:0"])
        .args(["--anonymous", "everything", "--image-limit", "100GB"])
        .args(["--total-limit", "1TB", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start berth")?;
    let mut line = String::new();
    let out = child.stdout.take().context("no standard output")?;
    BufReader::new(out).read_line(&mut line)?;
    let ready: serde_json::Value = serde_json::from_str(&line)?;
    let address = ready["address"].as_str().context("no address")?.parse()?;
    Ok(Server {
        name: "Berth",
        child,
        address,
    })
}

/// Debian's `docker-registry`.
pub(super) fn docker(data: &Path) -> anyhow::Result<Server> {
    fs_err::create_dir_all(data)?;
    // It cannot say which port it got.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: {}\nhttp:\n  addr: {address}\n",
        data.join("data").display()
    );
    let file = data.join("config.yml");
    fs_err::write(&file, config)?;
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("could not start docker-registry")?;
    let server = Server {
        name: "docker-registry",
        child,
        address,
    };
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        ensure!(
            began.elapsed() < Duration::from_secs(30),
            "docker-registry does not answer"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// Push and pull of the large blob, then of the small ones.
fn measure(server: &Server, args: &RegistryArgs, round: usize) -> anyhow::Result<[Duration; 4]> {
    // Nobody has seen these bytes before; hashing them is not measured.
    let large = Blob::new(&format!("{} {round} large", server.name), args.bytes);
    let small: Vec<_> = (0..args.blobs)
        .map(|number| Blob::new(&format!("{} {round} {number}", server.name), SMALL))
        .collect();
    let mut connection = Connection::open(server.address)?;
    let began = Instant::now();
    connection.push(&large)?;
    let push = began.elapsed();
    let began = Instant::now();
    connection.pull(&large)?;
    let pull = began.elapsed();
    drop(connection);
    let push_small = many(server.address, &small, Connection::push)?;
    let pull_small = many(server.address, &small, Connection::pull)?;
    Ok([push, pull, push_small, pull_small])
}

/// Does something with all blobs, over a few connections.
fn many(
    address: SocketAddr,
    blobs: &[Blob],
    each: fn(&mut Connection, &Blob) -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let shares = blobs.chunks(blobs.len().div_ceil(CONNECTIONS));
        let threads: Vec<_> = shares
            .map(|share| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address)?;
                    share
                        .iter()
                        .try_for_each(|blob| each(&mut connection, blob))
                })
            })
            .collect();
        for thread in threads {
            let outcome = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
            outcome?;
        }
        Ok(began.elapsed())
    })
}
