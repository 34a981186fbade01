//! The ring and its readers, on real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use super::*;

fn line(text: impl Into<Vec<u8>>) -> LogLine {
    LogLine {
        time_ms: 7,
        stderr: false,
        bytes: text.into(),
    }
}

fn store(budget: u64) -> (tempfile::TempDir, Arc<LogStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(LogStore::new(dir.path().to_owned(), budget));
    (dir, store)
}

async fn collect(mut lines: mpsc::Receiver<LogLine>) -> Vec<LogLine> {
    let mut all = Vec::new();
    while let Some(line) = lines.recv().await {
        all.push(line);
    }
    all
}

fn bytes_on_disk(dir: &std::path::Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn reads_back_what_was_written() {
    let (_dir, store) = store(1 << 20);
    let mut lines = vec![line("one"), line(""), line(vec![0, 255, b'\r'])];
    lines[1].stderr = true;
    lines.push(line(vec![b'x'; MAX_PIECE]));
    store.append(&lines[..2]).unwrap();
    store.append(&lines[2..]).unwrap();
    assert_eq!(collect(store.read(false)).await, lines);
}

#[tokio::test]
async fn keeps_the_newest_within_the_budget() {
    let (dir, store) = store(128 * 1024);
    for number in 0..2000 {
        store
            .append(&[line(format!("{number:0500}")), line(format!("{number}b"))])
            .unwrap();
    }
    assert!(bytes_on_disk(dir.path()) <= 128 * 1024 + 2 * 1024);
    let kept = collect(store.read(false)).await;
    assert!(kept.len() > 200, "kept only {}", kept.len());
    assert_eq!(kept.last().unwrap().bytes, b"1999b");
    let numbers: Vec<u32> = kept
        .iter()
        .filter(|line| line.bytes.len() == 500)
        .map(|line| String::from_utf8_lossy(&line.bytes).parse().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[tokio::test]
async fn a_batch_larger_than_the_ring_keeps_its_end() {
    let (dir, store) = store(64 * 1024);
    let lines: Vec<LogLine> = (0..5000).map(|n| line(format!("{n:0100}"))).collect();
    store.append(&lines).unwrap();
    assert!(bytes_on_disk(dir.path()) <= 66 * 1024);
    let kept = collect(store.read(false)).await;
    assert_eq!(kept[..], lines[lines.len() - kept.len()..]);
}

#[tokio::test]
async fn a_follower_sees_old_and_new_lines_once_and_ends_at_close() {
    let (dir, store) = store(1 << 20);
    store.append(&[line("old")]).unwrap();
    let mut follower = store.read(true);
    assert_eq!(follower.recv().await.unwrap().bytes, b"old");
    store.append(&[line("new")]).unwrap();
    assert_eq!(follower.recv().await.unwrap().bytes, b"new");
    store.append(&[line("last")]).unwrap();
    store.close();
    drop(dir);
    assert_eq!(collect(follower).await, [line("last")]);
}

#[tokio::test]
async fn a_slow_follower_is_told_that_lines_are_missing() {
    let (_dir, store) = store(64 * 1024);
    let mut follower = store.read(true);
    store.append(&[line("first")]).unwrap();
    assert_eq!(follower.recv().await.unwrap().bytes, b"first");
    let flood: Vec<LogLine> = (0..20).map(|_| line(vec![b'f'; MAX_PIECE])).collect();
    store.append(&flood).unwrap();
    store.close();
    let rest = collect(follower).await;
    assert!(rest[0].bytes.starts_with(b"berth: lines are missing"));
    assert!(rest.len() < 12);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_task() {
    let (_dir, store) = store(1 << 20);
    drop(store.read(true));
    tokio::time::timeout(Duration::from_secs(5), async {
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_unwritable_directory_is_an_error_and_the_log_recovers() {
    let (dir, store) = store(64 * 1024);
    let moved = dir.path().join("moved");
    let gone = LogStore::new(dir.path().join("gone"), 64 * 1024);
    assert!(gone.append(&[line("x")]).is_err());
    std::fs::create_dir(dir.path().join("gone")).unwrap();
    gone.append(&[line("y")]).unwrap();
    assert_eq!(collect(Arc::new(gone).read(false)).await, [line("y")]);
    assert!(!moved.exists());
    store.append(&[line("z")]).unwrap();
}

#[tokio::test]
async fn another_daemon_goes_on_with_what_is_whole() {
    let (dir, store) = store(128 * 1024);
    for number in 0..2000 {
        store.append(&[line(format!("{number:0100}"))]).unwrap();
    }
    let kept = collect(store.read(false)).await;
    drop(store);
    // The last record was only begun, in the newest file.
    let mut files: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort_by_key(|path| {
        let number = path.extension().unwrap().to_str().unwrap().to_owned();
        number.parse::<u64>().unwrap()
    });
    let mut torn = Vec::new();
    encode(&line("never finished"), &mut torn);
    let newest = files.last().unwrap();
    let mut bytes = std::fs::read(newest).unwrap();
    bytes.extend_from_slice(&torn[..torn.len() - 3]);
    std::fs::write(newest, bytes).unwrap();

    let store = Arc::new(LogStore::open(dir.path().to_owned(), 128 * 1024).unwrap());
    assert_eq!(collect(store.read(false)).await, kept);
    for number in 0..2000 {
        store.append(&[line(format!("n{number}"))]).unwrap();
    }
    let all = collect(store.read(false)).await;
    assert_eq!(all.last().unwrap().bytes, b"n1999");
    assert!(bytes_on_disk(dir.path()) <= 128 * 1024 + 2 * 1024);
    drop(store);
    let empty = tempfile::tempdir().unwrap();
    let store = Arc::new(LogStore::open(empty.path().to_owned(), 1 << 20).unwrap());
    store.append(&[line("first")]).unwrap();
    assert_eq!(collect(store.read(false)).await, [line("first")]);
}
