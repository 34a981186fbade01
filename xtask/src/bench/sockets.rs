//! Idle WebSockets through gateway, Worker, object and tunnel.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::ensure;

use super::SocketsArgs;
use super::dev::Dev;
use super::http::Client;
use super::projects::prepare;
use super::system;
use super::table::{print, row};

pub(crate) fn run(args: &SocketsArgs) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let programs = prepare(directory.path(), &["node".to_owned()])?;
    let dev = Dev::start(&programs[0].project)?;
    dev.ask("/container/sockets")?;
    drop(open(&dev)?);
    let before = system::usage(&dev.executable)?;
    let mut sockets = Vec::new();
    for _ in 0..args.sockets {
        sockets.push(open(&dev)?);
    }
    let after = system::usage(&dev.executable)?;
    let mut answered = 0;
    for (number, socket) in sockets.iter_mut().enumerate() {
        if echo(socket, u8::try_from(number % 100)?).is_ok() {
            answered += 1;
        }
    }
    let kib = after.memory_kib.saturating_sub(before.memory_kib) as f64 / args.sockets as f64;
    print(
        &format!("{} idle WebSockets", args.sockets),
        &[
            row(
                "opened and answered",
                answered.to_string(),
                args.sockets.to_string(),
            ),
            row("memory of ours, per WebSocket", format!("{kib:.1} KiB"), ""),
        ],
    );
    ensure!(answered == args.sockets, "only {answered} answered");
    Ok(())
}

fn open(dev: &Dev) -> anyhow::Result<TcpStream> {
    let mut client = Client::connect(dev.address)?;
    let status = client.upgrade(
        "GET /socket/sockets HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    ensure!(status == 101, "the WebSocket was answered with {status}");
    Ok(client.into_stream())
}

/// Sends a byte as a binary message and expects it back. The mask is zero, which is a mask.
fn echo(socket: &mut TcpStream, byte: u8) -> anyhow::Result<()> {
    socket.write_all(&[0x82, 0x81, 0, 0, 0, 0, byte])?;
    let mut answer = [0; 3];
    socket.read_exact(&mut answer)?;
    ensure!(answer == [0x82, 1, byte], "not an echo: {answer:?}");
    Ok(())
}
