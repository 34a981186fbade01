//! Clients that are slow, silent, or too many: they lose their connection, nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{Server, sha256};

/// Reads until the server closes the connection.
fn rest(mut stream: TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn silence_ends_a_connection_and_keeps_an_upload() {
    let server = Server::start(json!({"head_ms": 300, "body_ms": 300}));
    // In the head.
    let mut head = TcpStream::connect(&server.address).unwrap();
    head.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n").unwrap();
    rest(head);
    // Before it.
    rest(TcpStream::connect(&server.address).unwrap());
    // In the body.
    let location = server.begin("a").await;
    let mut body = TcpStream::connect(&server.address).unwrap();
    let request =
        format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello");
    body.write_all(request.as_bytes()).unwrap();
    let answer = rest(body);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(
        server.get(&location).await.expect(204).header("range"),
        "0-4"
    );
    server.send("PATCH", &location, "world").await.expect(202);
    let digest = sha256(b"helloworld");
    server
        .send("PUT", &format!("{location}?digest={digest}"), "")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_loses_its_connection() {
    let server = Server::start(json!({"write_ms": 300}));
    // Larger than what the kernel buffers.
    let content = vec![1; 64 << 20];
    let digest = server.push_blob("a", &content).await;
    let mut reader = TcpStream::connect(&server.address).unwrap();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    reader.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 1];
    reader.read_exact(&mut first).unwrap();
    // Nothing is taken until the server has given up; then what it had sent ends early.
    wait_for_close(&server);
    assert!(rest(reader).len() < content.len());
}

/// Until no connection of the server's has bytes that wait to be sent.
fn wait_for_close(server: &Server) {
    let port: u16 = server.address.rsplit(':').next().unwrap().parse().unwrap();
    let needle = format!(":{port:04X} ");
    let open = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let local = format!("{} ", fields[1]);
            // Established, as the server's end.
            local.ends_with(&needle) && fields[3] == "01" && !fields[4].starts_with("00000000")
        })
    };
    let began = std::time::Instant::now();
    while open() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the connection stays"
        );
        std::thread::yield_now();
    }
}
