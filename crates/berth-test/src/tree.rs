//! A client that a test runs, and every process that it starts in turn: npm's programs have children (Node's,
//! esbuild's) which a signal to the client alone does not end.
//!
//! They are told by a mark in their environment, wherever they are: in another process group, or adopted by
//! another parent.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::process::{Member, mark, members};

/// How long what a client has started may take to notice that the client has ended.
const GRACE: Duration = Duration::from_secs(10);

/// The processes of one client. What still runs of them is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Tree {
    mark: String,
}

impl Tree {
    /// Of a command that is started after this.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mark = mark();
        let (name, value) = mark.split_once('=').unwrap_or_default();
        command.env(name, value);
        Self { mark }
    }

    fn members(&self) -> Vec<Member> {
        members(None, None, &self.mark)
    }

    /// The command lines of what runs on although the client has ended.
    fn left(&self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        let runs_on = |member: &Member| {
            !member.ended_within(deadline.saturating_duration_since(Instant::now()))
        };
        let members = self.members().into_iter().filter(runs_on);
        members.map(|member| member.command).collect()
    }

    /// Call it when the client has ended.
    ///
    /// # Panics
    ///
    /// If something that it started runs on.
    pub(crate) async fn assert_ended(self) {
        let looked = tokio::task::spawn_blocking(move || (self.left(), self));
        let (left, _tree) = looked.await.expect("looking does not panic");
        assert!(left.is_empty(), "a client left behind: {left:#?}");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // What is killed may have started another one just before.
        for _ in 0..10 {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            members.iter().for_each(Member::kill);
            for member in members {
                member.ended_within(GRACE);
            }
        }
    }
}

/// Runs a client to its end, with this on its standard input; it may answer before it has read all of it.
///
/// # Panics
///
/// If something that it started runs on.
pub async fn run(mut command: Command, input: &[u8]) -> Output {
    let tree = Tree::of(&mut command);
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("spawn a client");
    let mut stdin = child.stdin.take().expect("it is piped");
    let feed = async move {
        // A command that reads nothing may have ended.
        let _ = stdin.write_all(input).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    tree.assert_ended().await;
    output.expect("run a client")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;
    use crate::process::Member;

    /// Prints the number of a process that it leaves, in a session of its own.
    const LEAVES: &str = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn member(line: &str) -> Member {
        let pid = line.trim().parse().unwrap();
        Member::open(pid).expect("it runs")
    }

    #[tokio::test]
    async fn a_client_that_ends_is_as_it_says() {
        let output = run(shell("cat; exit 3"), b"said").await;
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"said");
    }

    #[test]
    fn what_a_client_has_started_ends_with_its_tree() {
        let mut command = shell(&format!("{LEAVES}; wait"));
        let tree = Tree::of(&mut command);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let left = member(&line);
        drop(tree);
        assert!(left.ended_within(Duration::ZERO));
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn what_a_client_leaves_behind_fails_the_test_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let said = directory.path().join("pid");
        let script = format!("{{ {LEAVES}; }} >{}", said.display());
        let ran = tokio::spawn(async move { run(shell(&script), b"").await });
        // Held before it is killed.
        let left = loop {
            let line = std::fs::read_to_string(&said).unwrap_or_default();
            if line.ends_with('\n') {
                break member(&line);
            }
            tokio::task::yield_now().await;
        };
        let panic = ran.await.unwrap_err().into_panic();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("sleep 1000"), "{message}");
        assert!(left.ended_within(Duration::ZERO));
    }

    #[tokio::test]
    async fn who_no_longer_waits_for_a_client_leaves_nothing_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let said = directory.path().join("pid");
        let script = format!("{{ {LEAVES}; }} >{}; wait", said.display());
        let ran = tokio::spawn(async move { run(shell(&script), b"").await });
        let left = loop {
            let line = std::fs::read_to_string(&said).unwrap_or_default();
            if line.ends_with('\n') {
                break member(&line);
            }
            tokio::task::yield_now().await;
        };
        ran.abort();
        assert!(ran.await.unwrap_err().is_cancelled());
        assert!(left.ended_within(Duration::ZERO));
    }
}
