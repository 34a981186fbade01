//! Entries arrive where they are exported to, also when the other side is away for a while.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use berth_logs::export::{self, ExportOptions, FileOptions, HttpOptions};
use berth_logs::{Entry, Level, Logs, LogsOptions, Source};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

fn open(directory: &Path) -> Logs {
    Logs::open(directory, LogsOptions::default()).unwrap()
}

fn say(logs: &Logs, text: &str) {
    logs.write(Entry::new("app", Source::Worker, Level::Log, text));
}

fn texts(lines: &str) -> Vec<String> {
    let lines = lines.lines().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        entry["text"].as_str().unwrap().to_owned()
    });
    lines.collect()
}

/// Takes one request and answers it: head and body of the request.
async fn answer(listener: &TcpListener, status: &str) -> (String, String) {
    let taken = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let begin = head.len();
            stream.read_line(&mut head).await.unwrap();
            let line = head[begin..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    };
    tokio::time::timeout(PATIENCE, taken)
        .await
        .expect("a request comes")
}

#[tokio::test]
async fn over_http_again_after_a_failure_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ExportOptions::Http(HttpOptions {
        url: format!("http://{}/logs", listener.local_addr().unwrap()),
        authorization: Some("Bearer export-secret".to_owned()),
    });
    assert!(!format!("{options:?}").contains("secret"));
    let logs = open(directory.path());
    say(&logs, "before anybody asked");
    logs.flush().await;
    let task = export::start(&logs, "http", options.clone()).await.unwrap();
    say(&logs, "one");
    let (_, first) = answer(&listener, "503 Not Now").await;
    let (head, again) = answer(&listener, "200 OK").await;
    assert_eq!(texts(&first), ["one"]);
    assert_eq!(texts(&again), ["one"]);
    assert!(head.starts_with("POST /logs "), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("authorization: bearer export-secret"),
        "{head}"
    );
    // What comes next says that what was before has been marked.
    say(&logs, "two");
    assert_eq!(texts(&answer(&listener, "200 OK").await.1), ["two"]);
    task.abort();
    let _ = task.await;
    drop(logs);
    let logs = open(directory.path());
    say(&logs, "while nothing was exported");
    logs.flush().await;
    let _task = export::start(&logs, "http", options).await.unwrap();
    let (_, rest) = answer(&listener, "200 OK").await;
    // The last one may come again: whether its answer was marked before the end is not known.
    assert!(
        texts(&rest).ends_with(&["while nothing was exported".to_owned()]),
        "{rest}"
    );
    assert!(!rest.contains("\"one\""), "{rest}");
}

#[tokio::test]
async fn to_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out/logs.jsonl");
    let logs = open(&directory.path().join("logs"));
    let options = ExportOptions::File(FileOptions {
        path: path.clone(),
        max_bytes: 1 << 20,
        keep: 1,
    });
    let _task = export::start(&logs, "file", options).await.unwrap();
    say(&logs, "one");
    say(&logs, "two");
    let arrived = async {
        while texts(&std::fs::read_to_string(&path).unwrap()) != ["one", "two"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let logs = open(directory.path());
    for (url, said) in [("nowhere", "no URL"), ("ftp://a/", "must begin with")] {
        let options = ExportOptions::Http(HttpOptions {
            url: url.to_owned(),
            authorization: None,
        });
        let error = export::start(&logs, "x", options)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(url) && error.contains(said), "{error}");
    }
}
