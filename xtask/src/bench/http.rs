//! A small blocking HTTP/1.1 client with one kept-alive connection: what it adds is known.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How a body ends.
enum Length {
    Known(usize),
    Chunked,
    Unknown,
}

/// One connection.
pub(crate) struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The connection, when everything on it has been read.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}

impl Client<UnixStream> {
    pub(crate) fn connect_unix(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            stream: BufReader::new(UnixStream::connect(path)?),
        })
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a JSON document and reads the whole response: status and body.
    pub(crate) fn post(&mut self, path: &str, json: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{json}",
            json.len()
        ))?;
        self.response()
    }

    /// Sends a GET and reads the whole response: status and body.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.get_at("localhost", path)
    }

    /// The same with this host.
    pub(crate) fn get_at(&mut self, host: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
        self.response()
    }

    fn response(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let (status, length) = self.head()?;
        let body = match length {
            Length::Chunked => self.chunks()?,
            Length::Known(length) => self.exactly(length)?,
            Length::Unknown if matches!(status, 204 | 304) => Vec::new(),
            Length::Unknown => bail!("a response without a length"),
        };
        Ok((status, body))
    }

    /// Sends a request whose answer is not HTTP from its empty line on; returns the status.
    pub(crate) fn upgrade(&mut self, request: &str) -> anyhow::Result<u16> {
        self.send(request)?;
        Ok(self.head()?.0)
    }

    fn send(&mut self, request: &str) -> anyhow::Result<()> {
        let stream = self.stream.get_mut();
        stream
            .write_all(request.as_bytes())
            .context("could not send")
    }

    fn head(&mut self) -> anyhow::Result<(u16, Length)> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .with_context(|| format!("not a status line: {status_line:?}"))?;
        let mut length = Length::Unknown;
        loop {
            let header = self.line()?.to_ascii_lowercase();
            if header.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = Length::Known(value.trim().parse().context("bad content-length")?);
            } else if header.starts_with("transfer-encoding:") && header.contains("chunked") {
                length = Length::Chunked;
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self
            .stream
            .read_line(&mut line)
            .context("could not receive")?
            == 0
        {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }

    fn exactly(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .context("could not receive the body")?;
        Ok(body)
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line()?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or(""), 16)
                .with_context(|| format!("not a chunk size: {size:?}"))?;
            body.extend(self.exactly(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// Runs as many clients at the same time, each in a thread of its own, and returns what they did.
pub(crate) fn concurrently<T: Send>(
    clients: usize,
    client: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> Vec<anyhow::Result<T>> {
    std::thread::scope(|scope| {
        let client = &client;
        let threads: Vec<_> = (0..clients)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a client panicked")))
            .collect()
    })
}
