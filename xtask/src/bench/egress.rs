//! What leaves a container: a large body to and from a server outside, and names.
//!
//! The server is in a network namespace of its own, behind a veth pair with benchmark addresses
//! (198.18.0.0/15), because a container may not reach the host itself. Namespace and pair end with
//! the benchmark.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use super::EgressArgs;
use super::client;
use super::dev::Dev;
use super::projects::prepare;
use super::table::{print, row};

const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);

/// The resolver that a container's `/etc/resolv.conf` names.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 53);

/// Rounds of each figure, in turn; the best counts.
const ROUNDS: usize = 3;

pub(crate) fn run(args: &EgressArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let programs = prepare(directory.path(), &["static".to_owned()])?;
    let dev = Dev::start(&programs[0].project)?;
    let outside = Outside::start()?;
    let object = dev.container("egress")?;
    let alone = dev.bare_container()?;
    let namespace = |pid: u32| Some(format!("/proc/{pid}/ns/net"));
    let ways = [
        ("host, without Berth", None),
        ("container without a Worker", namespace(alone)),
        (
            "container of an object, through workerd",
            namespace(object.pid),
        ),
    ];
    let mut rows = Vec::new();
    let address = outside.address.to_string();
    let bytes = args.bytes.to_string();
    for (kind, name) in [("upload", "body out"), ("download", "body in")] {
        let mut best = [0; 3];
        for _ in 0..ROUNDS {
            for (best, (_, inside)) in best.iter_mut().zip(&ways) {
                let job = [kind.to_owned(), address.clone(), bytes.clone()];
                *best = client::spawn(inside.as_deref(), &job)?.max(*best);
            }
        }
        for (best, (way, _)) in best.iter().zip(&ways) {
            let target = if way.starts_with("container without") {
                "5 Gbit/s"
            } else {
                ""
            };
            let figure = format!("{:.1} Gbit/s", *best as f64 / 1e9);
            rows.push(row(format!("{name}, {way}"), figure, target));
        }
    }
    let resolvers = [
        (None, host_resolver()?),
        (namespace(object.pid), IpAddr::V4(RESOLVER)),
    ];
    let mut best = [u64::MAX; 2];
    for _ in 0..ROUNDS {
        for (best, (inside, server)) in best.iter_mut().zip(&resolvers) {
            let job = [
                "dns".to_owned(),
                server.to_string(),
                args.queries.to_string(),
            ];
            *best = client::spawn(inside.as_deref(), &job)?.min(*best);
        }
    }
    let us = |ns: u64| format!("{:.0} µs", ns as f64 / 1000.0);
    rows.push(row("name, the host's resolver (median)", us(best[0]), ""));
    rows.push(row("name, in a container (median)", us(best[1]), ""));
    rows.push(row("added", us(best[1].saturating_sub(best[0])), "1000 µs"));
    print(&format!("egress, best of {ROUNDS} rounds in turn"), &rows);
    Ok(())
}

/// The first name server of /etc/resolv.conf.
fn host_resolver() -> anyhow::Result<IpAddr> {
    fs_err::read_to_string("/etc/resolv.conf")?
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver "))
        .find_map(|server| server.trim().parse().ok())
        .context("no name server in /etc/resolv.conf")
}

/// The server in its namespace.
struct Outside {
    namespace: String,
    link: String,
    server: Option<Child>,
    address: SocketAddr,
}

impl Outside {
    fn start() -> anyhow::Result<Self> {
        let id = std::process::id();
        let mut outside = Self {
            namespace: format!("berth-bench-{id}"),
            link: format!("bb{id}"),
            server: None,
            address: SocketAddr::from((SERVER, 0)),
        };
        let Self {
            namespace, link, ..
        } = &outside;
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "link add {link} type veth peer name eth0 netns {namespace}"
        ))?;
        ip(&format!("addr add {HOST}/30 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!("-n {namespace} addr add {SERVER}/30 dev eth0"))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        let mut server = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(std::env::current_exe()?)
            .args(["bench", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the server outside")?;
        let stdout = server.stdout.take().context("no standard output")?;
        outside.server = Some(server);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().context("the server said no port")?;
        outside.address.set_port(port);
        Ok(outside)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // Both fail only when it has ended already.
            let _ = server.kill();
            let _ = server.wait();
        }
        // The other end of the pair goes with it.
        for command in [
            format!("link del {}", self.link),
            format!("netns del {}", self.namespace),
        ] {
            if let Err(error) = ip(&command) {
                println!("left behind: {error:#}");
            }
        }
    }
}

fn ip(command: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(command.split(' '))
        .output()
        .context("could not start `ip` (Debian package iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {command}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Serves the bodies that [`client`] asks for until it is killed; prints its port.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    for stream in listener.incoming() {
        // A client that breaks off has its own error.
        let _ = stream.map_err(Into::into).and_then(answer);
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    reader.read_line(&mut String::new())?;
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let bytes = words.next().and_then(|path| path.strip_prefix("/bytes/"));
    let mut left: u64 = bytes.context("not a request for bytes")?.parse()?;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let length = usize::try_from(left.min(buffer.len() as u64))?;
        let carried = if method == "GET" {
            stream.write(&buffer[..length])?
        } else {
            reader.read(&mut buffer[..length])?
        };
        ensure!(carried > 0, "the client left");
        left -= carried as u64;
    }
    if method != "GET" {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    Ok(())
}
