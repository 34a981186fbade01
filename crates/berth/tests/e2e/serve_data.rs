//! `berth serve`: what several Workers share and what outlives them, with an unmodified wrangler: KV, D1,
//! queues, secrets stores; and what Workers are to each other.

mod cli;
mod d1;
mod kv;
mod links;
mod queues;
mod stores;

use std::path::Path;

use berth_test::ServerSession;
use rustix::process::{Pid, PidfdFlags, Signal};

/// Kills the process that keeps the data; returns when it has ended.
fn kill_data_plane(data: &Path) {
    let config = data.join("server/data/workerd.capnp");
    let config = config.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let keeps = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.split('\0').any(|word| word == config)
    };
    let found: Vec<i32> = pids.filter(keeps).collect();
    let [pid] = found[..] else {
        panic!("one process keeps the data: {found:?}");
    };
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty());
    let pidfd = pidfd.unwrap();
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    let mut ended = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut ended, None).unwrap();
}

/// Asks until it is answered so: what a process that was killed had on the way is lost.
pub(crate) async fn until(server: &ServerSession, worker: &str, path: &str, expected: &str) {
    let asked = async {
        loop {
            let reply = server.get(worker, path).await;
            if reply.status.is_success() && reply.text() == expected {
                return;
            }
        }
    };
    let limit = std::time::Duration::from_secs(30);
    if tokio::time::timeout(limit, asked).await.is_err() {
        let reply = server.get(worker, path).await;
        panic!(
            "{worker}{path}: {} {}, not {expected}",
            reply.status,
            reply.text()
        );
    }
}

/// What stands behind a mark in wrangler's output, up to the next character that is not a letter, a digit
/// or `-`.
pub(crate) fn after<'a>(output: &'a str, mark: &str) -> &'a str {
    let (_, rest) = output.split_once(mark).expect(output);
    let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '-');
    &rest[..end.unwrap_or(rest.len())]
}

fn stderr(output: &std::process::Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
