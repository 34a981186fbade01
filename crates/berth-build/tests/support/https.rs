//! An HTTPS server whose certificate an authority of its own has signed: `/files/…`; repositories below
//! a directory as plain files (`/plain/…`) and through git's own server (`/smart/…`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "support of tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) struct Https {
    address: SocketAddr,
    authority: String,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Https {
    /// Serves the repositories below `root` until the test's process ends.
    pub(crate) fn serve(root: &Path) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority, &authority_key)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let configuration = Arc::new(configuration);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            address: listener.local_addr().unwrap(),
            authority: authority.pem(),
            asked: asked.clone(),
        };
        let root = root.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (configuration, asked, root) =
                    (configuration.clone(), asked.clone(), root.clone());
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(configuration).unwrap();
                    // Who does not trust the certificate goes away.
                    let _ = answer(StreamOwned::new(connection, stream.unwrap()), &root, &asked);
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The authority's certificate, as a file.
    pub(crate) fn authority(&self, directory: &Path) -> PathBuf {
        let path = directory.join("authority.pem");
        std::fs::write(&path, &self.authority).unwrap();
        path
    }

    /// How often something below a path was asked for.
    pub(crate) fn requests(&self, prefix: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|path| path.starts_with(prefix)).count()
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn answer(stream: Stream, root: &Path, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream)?;
    asked.lock().unwrap().push(request.path.clone());
    let response = match request.path.split('/').nth(1) {
        Some("files") => file(&request.path),
        Some("plain") => plain(root, &request.path),
        Some("smart") => smart(root, &request),
        _ => not_found(),
    };
    let stream = stream.get_mut();
    stream.write_all(&response)?;
    stream.flush()?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn read(stream: &mut BufReader<Stream>) -> std::io::Result<Request> {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        query,
        headers,
        body,
    })
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn not_found() -> Vec<u8> {
    response("404 Not Found", "", b"no")
}

fn file(path: &str) -> Vec<u8> {
    match path {
        "/files/data.txt" => response(
            "200 OK",
            "Last-Modified: Tue, 09 Nov 2004 11:33:20 GMT\r\n",
            b"from the server",
        ),
        "/files/undated.tar" => {
            let mut tar = tar::Builder::new(Vec::new());
            for (name, time) in [("new", 1_200_000_000), ("old", 5)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(1);
                header.set_mode(0o644);
                header.set_mtime(time);
                tar.append_data(&mut header, name, b"x".as_slice()).unwrap();
            }
            response("200 OK", "", &tar.into_inner().unwrap())
        }
        _ => not_found(),
    }
}

fn plain(root: &Path, path: &str) -> Vec<u8> {
    let path = path.trim_start_matches("/plain/");
    match std::fs::read(root.join(path)) {
        Ok(bytes) => response("200 OK", "", &bytes),
        Err(_) => not_found(),
    }
}

/// Git's own CGI program.
fn smart(root: &Path, request: &Request) -> Vec<u8> {
    let mut program = Command::new("git");
    program
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", request.path.trim_start_matches("/smart"))
        .env("REQUEST_METHOD", &request.method)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in &request.headers {
        match name.as_str() {
            "content-type" => drop(program.env("CONTENT_TYPE", value)),
            "content-encoding" => drop(program.env("HTTP_CONTENT_ENCODING", value)),
            "git-protocol" => drop(program.env("GIT_PROTOCOL", value)),
            _ => {}
        }
    }
    let mut program = program.spawn().expect("the tests need git");
    let mut input = program.stdin.take().unwrap();
    input.write_all(&request.body).unwrap();
    drop(input);
    let output = program.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = output.split_at(end.unwrap_or(0));
    let head = String::from_utf8_lossy(head);
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK");
    let headers: String = head
        .lines()
        .filter(|line| !line.starts_with("Status: "))
        .map(|line| format!("{line}\r\n"))
        .collect();
    response(status, &headers, body.get(4..).unwrap_or_default())
}
