//! What a command writes: both streams through one pipe, so that lines keep their order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;

/// Lines that an error message shows.
const LAST_LINES: usize = 20;
/// Longer lines are passed on in parts.
const MAX_LINE: u64 = 16 * 1024;

/// The end to read from, and the one for the command.
pub(super) fn pipe() -> io::Result<(Receiver, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Receiver::from_owned_fd(read)?, write))
}

/// Passes lines on until nobody can write any more, or until there were `most` bytes of them; returns
/// the last ones.
pub(super) async fn read(
    receiver: Receiver,
    most: u64,
    line: &(dyn Fn(String) + Send + Sync),
) -> io::Result<Vec<String>> {
    let mut reader = BufReader::new(receiver);
    let mut last = VecDeque::new();
    let mut bytes = Vec::new();
    let (mut passed, mut is_cut) = (0_u64, false);
    loop {
        bytes.clear();
        let read = (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)
            .await?;
        if read == 0 {
            return Ok(last.into());
        }
        let text = clean(&bytes);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text.clone());
        if passed < most {
            line(text);
        } else if !is_cut {
            is_cut = true;
            line(format!("[more than {most} bytes: the rest is not shown]"));
        }
        passed = passed.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

/// The line without its end; of a progress bar that rewrites its line, the final state.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    text.rsplit('\r').next().unwrap_or_default().to_owned()
}
