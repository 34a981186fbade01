//! A thin OCI runtime command line over the jail, to run conformance suites against it; no product
//! feature. `oci --root DIR create|start|state|kill|delete|pause|resume|exec ID …` on a bundle's
//! `config.json`.
//!
//! What the jail decides for itself (devices, the kernel's file systems and what of them is masked,
//! namespaces, ids, seccomp) is not taken from the bundle; a container is made when it is started; there
//! are no hooks. One server process per container waits between the commands (`server`); `arguments`
//! reads the command line; `bundle`, `process` and `mounts` translate the specification.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test tool"
)]

mod arguments;
mod bundle;
mod mounts;
mod process;
mod server;

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use arguments::Arguments;
use berth_jail::ZYGOTE_ARG;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == ZYGOTE_ARG) {
        return berth_jail::zygote_main();
    }
    match Arguments::parse(&arguments).and_then(|arguments| run(&arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8> {
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    let tell = |id: &str, request: Value| ask(&arguments.root().join(id), &request).map(|_| 0);
    match words.as_slice() {
        ["create", id] => create(arguments, id).map(|()| 0),
        ["serve", id] => {
            server::serve(&arguments.root().join(id), id, &arguments.bundle()).map(|()| 0)
        }
        ["start", id] => tell(id, json!({"do": "start"})),
        ["pause", id] => tell(id, json!({"do": "pause"})),
        ["resume", id] => tell(id, json!({"do": "resume"})),
        ["delete", id] => tell(id, json!({"do": "delete"})),
        ["kill", id] => tell(id, json!({"do": "kill", "signal": "TERM"})),
        ["kill", id, signal] => tell(id, json!({"do": "kill", "signal": signal})),
        ["state", id] => {
            let state = ask(&arguments.root().join(id), &json!({"do": "state"}))?;
            println!(
                "{}",
                serde_json::to_string_pretty(&state).unwrap_or_default()
            );
            Ok(0)
        }
        ["exec", id, command @ ..] => {
            let request = process::exec_request(arguments, command)?;
            let code = ask(&arguments.root().join(id), &request)?;
            Ok(code
                .as_u64()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(255))
        }
        _ => Err(format!("unknown command {words:?}")),
    }
}

/// One request to a container's server; its answer.
fn ask(home: &Path, request: &Value) -> Result<Value> {
    let gone = |_| "the container does not exist".to_owned();
    let mut stream = UnixStream::connect(home.join("socket")).map_err(gone)?;
    writeln!(stream, "{request}").map_err(gone)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(gone)?;
    let mut answer: Value = serde_json::from_str(&answer).map_err(|_| "no answer".to_owned())?;
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["ok"].take()),
    }
}

/// Checks what can be checked without a container, and leaves a server that waits for `start`.
fn create(arguments: &Arguments, id: &str) -> Result<()> {
    let text = |error: std::io::Error| error.to_string();
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || !id.bytes().all(safe) || id.starts_with('.') {
        return Err(format!("invalid container id `{id}`"));
    }
    process::no_descriptors(arguments)?;
    let bundle = arguments.bundle().canonicalize().map_err(text)?;
    let config = bundle::read(&bundle)?;
    if let Some(names) = process::unknown_capabilities(&config["process"]["capabilities"]) {
        eprintln!("warning: ignoring unknown or unavailable capabilities: [{names}]");
    }
    bundle::check(&bundle, &config)?;
    let (root, home) = (arguments.root(), arguments.root().join(id));
    std::fs::create_dir_all(&root).map_err(text)?;
    std::fs::create_dir(&home).map_err(|_| format!("container `{id}` exists"))?;
    // Bound here, so that the next command finds it; served by a process that stays. Mounts of its own
    // become the bundle's.
    let listener = UnixListener::bind(home.join("socket")).map_err(text)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe().map_err(text)?);
    command.arg("--root").arg(root).arg("--bundle").arg(&bundle);
    let server = command
        .args(["serve", id])
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let server = server.spawn().map_err(text)?;
    match arguments.flag("pid-file") {
        Some(path) => std::fs::write(path, server.id().to_string()).map_err(text),
        None => Ok(()),
    }
}
