//! Pipes whose other ends the test has.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

fn made() -> (Output, File, File) {
    let (out_read, out) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (err_read, err) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let output = Output::new(out_read, err_read).unwrap();
    (output, out.into(), err.into())
}

async fn next(output: &mut Output, room: usize) -> Option<(OutputStream, Vec<u8>)> {
    let mut buffer = vec![0; room];
    let read = output.read(&mut buffer);
    let read = tokio::time::timeout(Duration::from_secs(10), read).await;
    let (stream, count) = read.unwrap().unwrap()?;
    buffer.truncate(count);
    Some((stream, buffer))
}

use OutputStream::{Stderr, Stdout};

#[tokio::test]
async fn what_was_written_first_is_read_first() {
    let (mut output, mut out, mut err) = made();
    for _ in 0..50 {
        err.write_all(b"e").unwrap();
        out.write_all(b"o").unwrap();
        assert_eq!(next(&mut output, 100).await.unwrap(), (Stderr, b"e".into()));
        // Behind what the other stream already has.
        err.write_all(b"f").unwrap();
        assert_eq!(next(&mut output, 100).await.unwrap(), (Stdout, b"o".into()));
        assert_eq!(next(&mut output, 100).await.unwrap(), (Stderr, b"f".into()));
    }
}

#[tokio::test]
async fn a_stream_with_more_than_fits_lets_the_other_have_its_turn() {
    let (mut output, mut out, mut err) = made();
    out.write_all(&[b'o'; 10]).unwrap();
    err.write_all(b"e").unwrap();
    drop((out, err));
    let mut read = Vec::new();
    while let Some((stream, bytes)) = next(&mut output, 4).await {
        read.push((stream, bytes.len()));
    }
    let expected = [(Stdout, 4), (Stderr, 1), (Stdout, 4), (Stdout, 2)];
    assert_eq!(read, expected);
}

#[tokio::test]
async fn bytes_and_the_end_that_come_while_waiting_wake_the_reader() {
    let (mut output, mut out, err) = made();
    let reader = tokio::spawn(async move {
        let mut read = Vec::new();
        while let Some(piece) = next(&mut output, 100).await {
            read.push(piece);
        }
        read
    });
    tokio::task::yield_now().await;
    out.write_all(b"late").unwrap();
    drop(err);
    tokio::task::yield_now().await;
    drop(out);
    assert_eq!(reader.await.unwrap(), [(Stdout, b"late".to_vec())]);
}

/// `fcntl(F_SETFL, O_DIRECT)` by the program itself: a read ends at each packet.
#[tokio::test]
async fn a_pipe_in_packet_mode_is_read_to_its_end() {
    let (mut output, mut out, err) = made();
    let flags = fcntl_getfl(&out).unwrap();
    fcntl_setfl(&out, flags | OFlags::DIRECT).unwrap();
    out.write_all(b"one").unwrap();
    out.write_all(b"two").unwrap();
    assert_eq!(
        next(&mut output, 100).await.unwrap(),
        (Stdout, b"one".into())
    );
    assert_eq!(
        next(&mut output, 100).await.unwrap(),
        (Stdout, b"two".into())
    );
    drop((out, err));
    assert_eq!(next(&mut output, 100).await, None);
}
