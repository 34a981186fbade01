//! `/proc/net/tcp`, for kernels without socket diagnosis.

use std::io;
use std::net::SocketAddrV4;

use super::Entry;

/// Of the calling thread's namespace, as everything else here.
const PATH: &str = "/proc/thread-self/net/tcp";

/// What the table says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Entry(Entry),
    Nothing,
    NoTable,
}

/// The socket at `local` that is connected to `remote`.
pub(super) fn find(local: SocketAddrV4, remote: SocketAddrV4) -> io::Result<Found> {
    match std::fs::read_to_string(PATH) {
        Ok(text) => Ok(parse(&text, local, remote).map_or(Found::Nothing, Found::Entry)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::NoTable),
        Err(error) => Err(error),
    }
}

fn parse(text: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<Entry> {
    let wanted = [local, remote].map(written);
    text.lines().find_map(|line| {
        // sl local rem st queues timer retransmits uid timeout inode …
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = wanted.iter().all(|address| fields.next() == Some(address));
        if !is_it {
            return None;
        }
        let uid = fields.nth(4)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Entry { uid, inode })
    })
}

/// An address in the table's form: the four bytes as one number of the machine's byte order.
fn written(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}
