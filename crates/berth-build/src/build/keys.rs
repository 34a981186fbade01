//! Key files of `--ssh`: an agent of the build's own holds them and answers in their place.
//!
//! It is OpenSSH's, so that every format of key is one. The keys reach it through a pipe, never a
//! command line; it and its socket end with the build. Nobody is asked for a passphrase.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::BuildRequest;
use crate::error::{BuildError, KeyError};

/// Larger files are no keys; as in BuildKit.
const MAX_KEY: u64 = 100 << 10;

/// An agent with keys; ends when it is dropped.
pub(super) struct KeyAgent {
    directory: tempfile::TempDir,
    _process: Child,
    _output: BufReader<ChildStdout>,
}

const NAME: &str = "agent";

/// Starts an agent for every id of `--ssh` that names key files, and puts its socket in their place.
/// The agents must live as long as the build.
pub(super) async fn serve(request: &mut BuildRequest) -> Result<Vec<KeyAgent>, BuildError> {
    let mut agents = Vec::new();
    for (id, paths) in &mut request.ssh {
        let sockets = paths.iter().filter(|path| is_socket(path)).count();
        let failed = |source| BuildError::Ssh {
            id: id.clone(),
            source,
        };
        match (paths.len(), sockets) {
            (0, _) | (1, 1) => continue,
            (_, 0) => {}
            _ => return Err(failed(KeyError::Mixed)),
        }
        let agent = KeyAgent::start(paths).await.map_err(failed)?;
        *paths = vec![agent.socket()];
        agents.push(agent);
    }
    Ok(agents)
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl KeyAgent {
    async fn start(keys: &[PathBuf]) -> Result<Self, KeyError> {
        let mut contents = Vec::new();
        for path in keys {
            contents.push((path, read(path)?));
        }
        // Its path must fit into a socket's address, which one in the store may not.
        let directory = tempfile::Builder::new().prefix("berth-ssh-").tempdir()?;
        let mut process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(directory.path().join(NAME))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing("ssh-agent", error))?;
        let output = process.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("the agent has no output"))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        // Said when it listens.
        if output.read_line(&mut line).await? == 0 {
            return Err(io::Error::other("ssh-agent ended at once").into());
        }
        let agent = Self {
            directory,
            _process: process,
            _output: output,
        };
        for (path, content) in contents {
            agent.add(path, &content).await?;
        }
        Ok(agent)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    async fn add(&self, path: &Path, content: &[u8]) -> Result<(), KeyError> {
        let mut process = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", self.socket())
            // Where it would ask for a passphrase, it gets none.
            .env("SSH_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing("ssh-add", error))?;
        if let Some(mut input) = process.stdin.take() {
            // One that has ended says why itself.
            let _ = input.write_all(content).await;
            if !content.ends_with(b"\n") {
                let _ = input.write_all(b"\n").await;
            }
        }
        let output = process.wait_with_output().await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let mut lines = said.lines().filter(|line| !line.trim().is_empty());
        let line = lines.next_back().unwrap_or("ssh-add refuses it");
        let reason = line
            .rsplit_once("\"(stdin)\": ")
            .map_or(line, |(_, reason)| reason);
        Err(KeyError::Refused {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let refused = |reason: &str| KeyError::Refused {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let metadata = fs_err::metadata(path)?;
    if !metadata.is_file() {
        return Err(refused("it is neither an agent's socket nor a file"));
    }
    if metadata.len() > MAX_KEY {
        return Err(refused("it is too large for a key"));
    }
    Ok(fs_err::read(path)?)
}

fn missing(program: &'static str, error: io::Error) -> KeyError {
    match error.kind() {
        io::ErrorKind::NotFound => KeyError::NoProgram(program),
        _ => error.into(),
    }
}
