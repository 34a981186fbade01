//! A client in a process of its own, so that it can be started inside a container's network.
//!
//! Prints one number: nanoseconds of the median, or bits per second.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Subcommand;

use super::http::Client;
use super::stats::Series;

/// Bytes written at a time.
const CHUNK: usize = 1 << 20;

/// Between two names: the host's resolver may drop what comes faster.
const PACE: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Job {
    /// Median of a request's time, in nanoseconds
    Latency { address: SocketAddr, requests: u32 },
    /// The same through a tunnel to a port
    TunnelLatency {
        ingress: SocketAddr,
        port: u16,
        requests: u32,
    },
    /// Bits per second of a body from the server
    Download { address: SocketAddr, bytes: u64 },
    /// Bits per second of a body to the server
    Upload { address: SocketAddr, bytes: u64 },
    /// Both through a tunnel to a port
    TunnelDownload {
        ingress: SocketAddr,
        port: u16,
        bytes: u64,
    },
    TunnelUpload {
        ingress: SocketAddr,
        port: u16,
        bytes: u64,
    },
    /// Median of a name's resolution, in nanoseconds
    Dns { server: IpAddr, queries: u32 },
}

/// Does it and prints the figure.
pub(crate) fn run(job: &Job) -> anyhow::Result<()> {
    let figure = match *job {
        Job::Latency { address, requests } => latency(TcpStream::connect(address)?, requests)?,
        Job::TunnelLatency {
            ingress,
            port,
            requests,
        } => latency(tunnel(ingress, port)?, requests)?,
        Job::Download { address, bytes } => download(TcpStream::connect(address)?, bytes)?,
        Job::Upload { address, bytes } => upload(TcpStream::connect(address)?, bytes)?,
        Job::TunnelDownload {
            ingress,
            port,
            bytes,
        } => download(tunnel(ingress, port)?, bytes)?,
        Job::TunnelUpload {
            ingress,
            port,
            bytes,
        } => upload(tunnel(ingress, port)?, bytes)?,
        Job::Dns { server, queries } => dns(server, queries)?,
    };
    println!("{figure}");
    Ok(())
}

/// Has the job done by a process, inside the network namespace of `inside` if there is one.
pub(crate) fn spawn(inside: Option<&str>, job: &[String]) -> anyhow::Result<u64> {
    let own = std::env::current_exe()?;
    let mut command = match inside {
        Some(namespace) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={namespace}")).arg(own);
            command
        }
        None => Command::new(own),
    };
    let output = command
        .args(["bench", "client"])
        .args(job)
        .output()
        .context("could not start a client")?;
    ensure!(
        output.status.success(),
        "client {job:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("not a figure: {text}"))
}

fn tunnel(ingress: SocketAddr, port: u16) -> anyhow::Result<TcpStream> {
    let mut client = Client::connect(ingress)?;
    let target = format!("127.0.0.1:{port}");
    let status = client.upgrade(&format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-Dst-Addr: {target}\r\n\r\n"
    ))?;
    ensure!(status == 200, "CONNECT answered {status}");
    Ok(client.into_stream())
}

fn latency(mut stream: TcpStream, requests: u32) -> anyhow::Result<u64> {
    stream.set_nodelay(true)?;
    let mut series = Series::default();
    let mut answer = [0; 4096];
    for _ in 0..requests {
        let sent = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")?;
        ensure!(stream.read(&mut answer)? > 0, "the connection was closed");
        series.push(sent.elapsed());
    }
    Ok(u64::try_from(series.median().as_nanos())?)
}

fn download(mut stream: TcpStream, bytes: u64) -> anyhow::Result<u64> {
    stream.write_all(format!("GET /bytes/{bytes} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut buffer = vec![0; CHUNK];
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let length = stream.read(&mut buffer)? as u64;
        ensure!(length > 0, "the body ended {left} bytes early");
        left = left.saturating_sub(length);
    }
    Ok(rate(bytes, started.elapsed()))
}

fn upload(mut stream: TcpStream, bytes: u64) -> anyhow::Result<u64> {
    stream.write_all(format!("PUT /bytes/{bytes} HTTP/1.1\r\n\r\n").as_bytes())?;
    let buffer = vec![0; CHUNK];
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let length = left.min(CHUNK as u64);
        stream.write_all(&buffer[..usize::try_from(length)?])?;
        left -= length;
    }
    // The server says when it has all of it.
    ensure!(
        stream.read(&mut [0; 64])? > 0,
        "the server has not answered"
    );
    Ok(rate(bytes, started.elapsed()))
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes) * 8_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Asks for the address of a name that the resolver answers itself.
fn dns(server: IpAddr, queries: u32) -> anyhow::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.connect((server, 53))?;
    let mut series = Series::default();
    let mut answer = [0; 1500];
    let mut lost = 0;
    for id in 0..queries {
        let [.., high, low] = id.to_be_bytes();
        let mut query = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in ["berth", "invalid"] {
            query.push(u8::try_from(label.len())?);
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        std::thread::sleep(PACE);
        let sent = Instant::now();
        socket.send(&query)?;
        // Resolvers may drop queries that come too fast, or answer them later.
        let answered = loop {
            match socket.recv(&mut answer) {
                Ok(length) if length > 2 && answer[..2] == query[..2] => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        if !answered {
            lost += 1;
            ensure!(
                lost <= queries / 10,
                "the resolver {server} does not answer"
            );
            continue;
        }
        series.push(sent.elapsed());
    }
    Ok(u64::try_from(series.median().as_nanos())?)
}
