//! A client that costs little: one connection, blobs that are made as they are sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

/// Bytes that are written and read at once.
const PIECE: usize = 1024 * 1024;
const REPOSITORY: &str = "bench/app";

/// A seed, then zeros.
pub(super) struct Blob {
    seed: Vec<u8>,
    size: u64,
    digest: String,
}

impl Blob {
    pub(super) fn new(seed: &str, size: u64) -> Self {
        let seed = format!("{seed} {}", std::process::id()).into_bytes();
        let mut hasher = Sha256::new_with_prefix(&seed);
        let zeros = vec![0; PIECE];
        let mut left = size - seed.len() as u64;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            hasher.update(&zeros[..piece]);
            left -= piece as u64;
        }
        let digest = format!("sha256:{:x}", hasher.finalize());
        Self { seed, size, digest }
    }
}

pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    zeros: Vec<u8>,
    space: Vec<u8>,
}

/// The head of an answer.
struct Head {
    status: u16,
    length: u64,
    location: Option<String>,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            zeros: vec![0; PIECE],
            space: vec![0; PIECE],
        })
    }

    pub(super) fn push(&mut self, blob: &Blob) -> anyhow::Result<()> {
        self.send("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), 0)?;
        let location = self.location(202)?;
        self.send("PATCH", &location, blob.size)?;
        self.body(blob)?;
        let location = self.location(202)?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let digest = blob.digest.replace(':', "%3A");
        self.send("PUT", &format!("{location}{separator}digest={digest}"), 0)?;
        self.location(201)?;
        Ok(())
    }

    /// Reads a blob; what it hashes to is not looked at, its length is.
    pub(super) fn pull(&mut self, blob: &Blob) -> anyhow::Result<()> {
        self.send("GET", &format!("/v2/{REPOSITORY}/blobs/{}", blob.digest), 0)?;
        let head = self.head()?;
        ensure!(
            head.status == 200 && head.length == blob.size,
            "{}",
            head.status
        );
        self.skip(head.length)
    }

    fn send(&mut self, method: &str, target: &str, length: u64) -> anyhow::Result<()> {
        // Locations may be whole addresses.
        let path = match target.strip_prefix("http://") {
            Some(rest) => &rest[rest.find('/').context("a location without a path")?..],
            None => target,
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        Ok(())
    }

    fn body(&mut self, blob: &Blob) -> anyhow::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(&blob.seed)?;
        let mut left = blob.size - blob.seed.len() as u64;
        while left > 0 {
            let piece = usize::try_from(left)?.min(PIECE);
            stream.write_all(&self.zeros[..piece])?;
            left -= piece as u64;
        }
        Ok(())
    }

    fn location(&mut self, status: u16) -> anyhow::Result<String> {
        let head = self.head()?;
        self.skip(head.length)?;
        ensure!(
            head.status == status,
            "expected {status}, got {}",
            head.status
        );
        head.location.context("no location")
    }

    fn head(&mut self) -> anyhow::Result<Head> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).context("no answer")?.parse()?;
        let mut head = Head {
            status,
            length: 0,
            location: None,
        };
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return Ok(head);
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.trim().parse()?,
                "location" => head.location = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }

    fn skip(&mut self, mut left: u64) -> anyhow::Result<()> {
        while left > 0 {
            let most = usize::try_from(left)?.min(PIECE);
            let read = self.stream.read(&mut self.space[..most])?;
            ensure!(read > 0, "the connection ended");
            left -= read as u64;
        }
        Ok(())
    }
}
