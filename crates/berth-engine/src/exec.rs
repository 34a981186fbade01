//! Another process in a running container: its descriptors, and who gets them.
//!
//! Runs in a task of its own, beside the actor: a slow exec delays nobody. If the caller has gone
//! by the time the process exists, the process is killed: nobody could ever read its streams.

use std::io;
use std::os::fd::OwnedFd;

use berth_jail::{ExecFds, ExecProcess};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::activity::Use;
use crate::actor::Reply;
use crate::launch::Guest;
use crate::process::{Effective, exec_process};
use crate::{EngineError, Exec, ExecIo, ExecSpec};

/// Our ends of the three pipes.
struct OurEnds {
    stdin: Option<Sender>,
    stdout: Receiver,
    stderr: Receiver,
}

/// Executes and answers.
pub(crate) async fn run<G: Guest>(
    guest: G,
    name: String,
    container: std::sync::Arc<Effective>,
    spec: ExecSpec,
    using: Use,
    reply: Reply<Exec>,
) {
    let result = execute(&guest, name, &container, &spec).await;
    if let Ok(exec) = &result {
        berth_jail::crash_point("exec.runs");
        let process = exec.process.clone();
        tokio::spawn(async move {
            process.wait().await;
            drop(using);
        });
    }
    if let Err(Ok(exec)) = reply.send(result) {
        // The caller has gone. `Ok(false)` and errors: the process has, too.
        let _ = exec.process.kill(Signal::KILL.as_raw());
    }
}

async fn execute<G: Guest>(
    guest: &G,
    name: String,
    container: &Effective,
    spec: &ExecSpec,
) -> Result<Exec, EngineError> {
    let (fds, ours) = if spec.terminal.is_some() {
        (ExecFds::Terminal, None)
    } else {
        let (fds, ours) = pipes(spec.stdin).map_err(|source| EngineError::Kernel {
            step: "make pipes for a process",
            name: name.clone(),
            source,
        })?;
        (fds, Some(ours))
    };
    let spawned = guest.exec(exec_process(container, spec), fds).await;
    let (process, master) = spawned.map_err(|source| EngineError::Exec {
        name: name.clone(),
        program: spec.argv.first().cloned().unwrap_or_default(),
        source,
    })?;
    io_of(process, master, ours).ok_or_else(|| EngineError::Kernel {
        step: "get a terminal",
        name,
        source: io::ErrorKind::NotFound.into(),
    })
}

fn io_of(process: ExecProcess, master: Option<OwnedFd>, ours: Option<OurEnds>) -> Option<Exec> {
    let io = match (ours, master) {
        (Some(ours), _) => ExecIo::Pipes {
            stdin: ours.stdin,
            stdout: ours.stdout,
            stderr: ours.stderr,
        },
        (None, Some(master)) => ExecIo::Terminal(master),
        (None, None) => return None,
    };
    Some(Exec { process, io })
}

/// Pipes whose far ends block, as programs expect, and whose near ends do not.
fn pipes(with_stdin: bool) -> io::Result<(ExecFds, OurEnds)> {
    let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let (their_stdin, stdin) = if with_stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        (Some(theirs), Some(Sender::from_owned_fd(ours)?))
    } else {
        (None, None)
    };
    Ok((
        ExecFds::Pipes {
            stdin: their_stdin,
            stdout: Some(their_stdout),
            stderr: Some(their_stderr),
        },
        OurEnds {
            stdin,
            stdout: Receiver::from_owned_fd(stdout)?,
            stderr: Receiver::from_owned_fd(stderr)?,
        },
    ))
}
