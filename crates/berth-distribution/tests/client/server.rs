//! A small HTTP/1.1 server that can misbehave: one request for each connection, any answer, any end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The connection broke before all of the body had come.
    pub(crate) broken: bool,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub(crate) fn query(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                let hex = String::from_utf8(hex).unwrap();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// After so many bytes of the body.
    Cut(usize),
    /// After so many bytes of the body nothing comes any more, but the connection stays.
    Hang(usize),
    /// Without a length and without an end.
    Endless,
    /// Before it begins.
    Silent,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            end: End::Whole,
        }
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;
/// Decides, before the body is read, after how many bytes of it the connection breaks.
type Breaker = dyn Fn(&Request) -> Option<usize> + Send + Sync;

/// The running server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, Arc::new(|_| None), handler).await
    }

    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        breaker: Arc<Breaker>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, handler) = (tls.clone(), Arc::clone(&handler));
                let (seen, breaker) = (Arc::clone(&seen), Arc::clone(&breaker));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &seen, &*breaker, &*handler).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &seen, &*breaker, &*handler).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// `127.0.0.1:<port>`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// What was asked, without the first bytes of clients that tried TLS.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How often `method` was asked of a path that ends like this.
    pub(crate) fn count(&self, method: &str, end: &str) -> usize {
        let requests = self.requests();
        let found = requests.iter();
        found
            .filter(|request| request.method == method && request.path().ends_with(end))
            .count()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<Request>>,
    breaker: &Breaker,
    handler: &Handler,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut request = read_head(&mut stream).await?;
    let length: usize = match request.header("content-length") {
        Some(length) => length.parse().ok()?,
        None => 0,
    };
    let wanted = match breaker(&request) {
        Some(bytes) if bytes < length => {
            request.broken = true;
            bytes
        }
        _ => length,
    };
    let mut body = vec![0; wanted];
    stream.read_exact(&mut body).await.ok()?;
    request.body = body;
    seen.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    if request.broken || reply.end == End::Silent {
        return None;
    }
    answer(stream.get_mut(), &request, reply).await
}

async fn read_head(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Request> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await.ok()?;
    let line = String::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request {
        method,
        target,
        headers,
        body: Vec::new(),
        broken: false,
    })
}

async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    request: &Request,
    reply: Reply,
) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    let has = |name: &str| {
        let mut headers = reply.headers.iter();
        headers.any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    if reply.end != End::Endless && !has("content-length") {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    if request.method == "HEAD" {
        return stream.shutdown().await.ok();
    }
    let body = match reply.end {
        End::Cut(bytes) | End::Hang(bytes) => &reply.body[..bytes.min(reply.body.len())],
        _ => &reply.body[..],
    };
    stream.write_all(body).await.ok()?;
    if matches!(reply.end, End::Hang(_)) {
        std::future::pending::<()>().await;
    }
    if reply.end == End::Endless {
        // Until the client has had enough.
        loop {
            stream.write_all(&[0; 65536]).await.ok()?;
        }
    }
    stream.shutdown().await.ok()
}
