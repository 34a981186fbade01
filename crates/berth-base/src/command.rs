//! Runs package clients: output becomes progress, the tail of it becomes the error.

use std::collections::VecDeque;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::BaseError;

/// Lines of output kept for the error message.
const TAIL_LINES: usize = 25;

/// Runs a program to its end; `on_line` gets each line of its two output streams.
///
/// Dropping the future kills the program; see [`isolated`] for what it started itself.
pub(crate) async fn run(
    command: &mut Command,
    step: &str,
    on_line: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), BaseError> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let spawn_error = |source| BaseError::Spawn {
        program: program.clone(),
        step: step.to_owned(),
        source,
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(spawn_error)?;
    let tail = std::sync::Mutex::new(VecDeque::with_capacity(TAIL_LINES));
    let keep = |line: &str| {
        on_line(line);
        if let Ok(mut tail) = tail.lock() {
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, (), ()) = tokio::join!(child.wait(), lines(stdout, &keep), lines(stderr, &keep));
    let status = status.map_err(spawn_error)?;
    if status.success() {
        return Ok(());
    }
    let output = tail
        .into_inner()
        .map(|tail| Vec::from(tail).join("\n"))
        .unwrap_or_default();
    let output = if output.is_empty() {
        format!("`{program}` wrote nothing")
    } else {
        output
    };
    Err(BaseError::Failed {
        step: step.to_owned(),
        status,
        output,
    })
}

/// A program in its own mount and PID namespace: its mounts go with it, and everything it starts
/// dies when it is killed.
pub(crate) fn isolated(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--", program])
        .env_remove("LD_PRELOAD")
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, keep: &(dyn Fn(&str) + Send + Sync)) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    // A read error on a pipe of a child ends its output like its end does.
    while let Ok(1..) = reader.read_until(b'\n', &mut buffer).await {
        let line = String::from_utf8_lossy(&buffer);
        let line = line.trim_end();
        if !line.is_empty() {
            keep(line);
        }
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_carries_the_step_and_the_end_of_the_output() {
        let error = run(
            Command::new("sh").args(["-c", "seq 1 100; echo broken >&2; exit 3"]),
            "counting",
            &|_| {},
        )
        .await
        .expect_err("exit status 3 is a failure");
        let message = error.to_string();
        assert!(
            message.starts_with("counting failed (exit status: 3):\n"),
            "{message}"
        );
        assert!(message.contains("broken"), "{message}");
        assert!(
            message.contains("100") && !message.contains("\n7\n"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_silent_failure_is_said_to_be_one() {
        let error = run(
            Command::new("sh").args(["-c", "exit 3"]),
            "failing",
            &|_| {},
        )
        .await
        .expect_err("exit status 3 is a failure");
        assert_eq!(
            error.to_string(),
            "failing failed (exit status: 3):\n`sh` wrote nothing"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program"), "testing", &|_| {})
            .await
            .expect_err("the program does not exist");
        assert_eq!(
            error.to_string(),
            "could not run `no-such-program` for testing"
        );
    }

    #[tokio::test]
    async fn every_line_is_reported() {
        let seen = std::sync::Mutex::new(Vec::new());
        run(
            Command::new("sh").args(["-c", "echo one; printf two"]),
            "talking",
            &|line| seen.lock().unwrap().push(line.to_owned()),
        )
        .await
        .unwrap();
        assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
    }
}
