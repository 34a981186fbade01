//! Pipes of the test's own stand in for a container's.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::broadcast;

use super::*;
use crate::Event;
use crate::engine::EVENTS_KEPT;
use crate::log::LogStore;

fn sink(dir: &std::path::Path, budget: u64) -> Sink {
    Sink {
        store: Arc::new(LogStore::new(dir.to_owned(), budget)),
        events: broadcast::Sender::new(EVENTS_KEPT),
        name: "c".into(),
        display_name: "C".into(),
        untold: Arc::new(AtomicU64::new(0)),
    }
}

async fn kept(sink: &Sink) -> Vec<LogLine> {
    sink.store.close();
    let mut lines = sink.store.read(false);
    let mut all = Vec::new();
    while let Some(line) = lines.recv().await {
        all.push(line);
    }
    all
}

#[tokio::test]
async fn output_written_just_before_the_end_is_complete_when_finish_returns() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), 1 << 20);
    let (capture, ends, _) = Capture::start(sink.clone()).unwrap();
    let (mut out, mut err) = (File::from(ends.stdout), File::from(ends.stderr));
    // All of it before the reader's task runs for the first time (one thread).
    for number in 0..1000 {
        writeln!(out, "line {number}").unwrap();
    }
    write!(out, "no newline").unwrap();
    writeln!(err, "oops").unwrap();
    drop((out, err));
    capture.finish().await;
    let lines = kept(&sink).await;
    let text: Vec<&[u8]> = lines
        .iter()
        .filter(|line| !line.stderr)
        .map(|line| line.bytes.as_slice())
        .collect();
    assert_eq!(text.len(), 1001);
    assert_eq!((text[0], text[999]), (&b"line 0"[..], &b"line 999"[..]));
    assert_eq!(text[1000], b"no newline");
    assert!(
        lines
            .iter()
            .any(|line| line.stderr && line.bytes == b"oops")
    );
}

#[tokio::test]
async fn lines_of_both_streams_are_kept_in_the_order_in_which_they_were_written() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(dir.path(), 1 << 20);
        let (capture, ends, _) = Capture::start(sink.clone()).unwrap();
        let (mut out, mut err) = (File::from(ends.stdout), File::from(ends.stderr));
        // Both before the reader's task runs (one thread).
        if round % 2 == 0 {
            writeln!(err, "first").unwrap();
            writeln!(out, "second").unwrap();
        } else {
            writeln!(out, "first").unwrap();
            writeln!(err, "second").unwrap();
        }
        tokio::task::yield_now().await;
        drop((out, err));
        capture.finish().await;
        let lines = kept(&sink).await;
        let texts: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
        assert_eq!(texts, [&b"first"[..], b"second"], "round {round}");
    }
}

#[tokio::test]
async fn finish_returns_although_somebody_still_holds_the_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), 1 << 20);
    let (capture, ends, _) = Capture::start(sink.clone()).unwrap();
    let mut out = File::from(ends.stdout);
    writeln!(out, "seen").unwrap();
    tokio::time::timeout(Duration::from_secs(5), capture.finish())
        .await
        .unwrap();
    assert_eq!(kept(&sink).await[0].bytes, b"seen");
    assert!(writeln!(out, "nobody reads").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_and_leaves_room_for_other_events() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), 256 * 1024);
    let mut lagging = sink.events.subscribe();
    let (capture, ends, _) = Capture::start(sink.clone()).unwrap();
    let flood = tokio::task::spawn_blocking(move || {
        let mut out = File::from(ends.stdout);
        let line = [vec![b'f'; 99], vec![b'\n']].concat();
        for _ in 0..200_000 {
            out.write_all(&line).unwrap();
        }
        drop(ends.stderr);
    });
    flood.await.unwrap();
    capture.finish().await;
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk <= 258 * 1024, "{on_disk} bytes on disk");
    assert!(sink.events.len() < EVENTS_KEPT);
    // The listener has lost no event, only lines, and is told of them.
    while !lagging.is_empty() {
        assert!(matches!(lagging.recv().await.unwrap(), Event::Log { .. }));
    }
    sink.write(vec![LogLine {
        time_ms: 0,
        stderr: false,
        bytes: b"after".to_vec(),
    }])
    .await;
    let Event::Log { line, .. } = lagging.recv().await.unwrap() else {
        panic!("not a line");
    };
    assert!(line.bytes.starts_with(b"berth: ") && line.bytes.ends_with(b"the log has them"));
    let Event::Log { line, .. } = lagging.recv().await.unwrap() else {
        panic!("not a line");
    };
    assert_eq!(line.bytes, b"after");
}
