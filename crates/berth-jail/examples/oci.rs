//! A thin OCI runtime command line over the jail, to run conformance suites against it; no product
//! feature. `oci --root DIR create|start|state|kill|delete ID …` on a bundle's `config.json`.
//!
//! What the jail decides for itself (devices, masked paths, namespaces, seccomp) is not taken from
//! the bundle. One server process per container waits between the commands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test tool"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use berth_jail::{
    DEFAULT_CAPABILITIES, Limits, Mount, MountSource, OnDisconnect, ProcessSpec, Rootfs, Sandbox,
    SandboxFds, SandboxSpec, ZYGOTE_ARG, Zygote, ZygoteConfig,
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == ZYGOTE_ARG) {
        return berth_jail::zygote_main();
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (mut root, mut bundle) = (PathBuf::from("/run/berth-oci"), PathBuf::from("."));
    let (mut pid_file, mut words) = (None, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or("a value is missing".to_owned());
        match argument.as_str() {
            "--root" => root = PathBuf::from(value()?),
            "--bundle" | "-b" => bundle = PathBuf::from(value()?),
            "--pid-file" => pid_file = Some(PathBuf::from(value()?)),
            flag if flag.starts_with("--") => {}
            word => words.push(word.to_owned()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["create", id] => create(&root, id, &bundle, pid_file.as_deref()),
        ["serve", id] => serve(&root.join(id), id, &bundle),
        ["start", id] => ask(&root, id, "start").map(drop),
        ["kill", id] => ask(&root, id, "kill TERM").map(drop),
        ["kill", id, signal] => ask(&root, id, &format!("kill {signal}")).map(drop),
        ["delete", id] => ask(&root, id, "delete").map(drop),
        ["state", id] => ask(&root, id, "state").map(|state| println!("{state}")),
        _ => Err(format!("unknown command {words:?}")),
    }
}

/// One request to a container's server; its answer.
fn ask(root: &Path, id: &str, request: &str) -> Result<String> {
    let gone = |_| format!("container `{id}` does not exist");
    let mut stream = UnixStream::connect(root.join(id).join("socket")).map_err(gone)?;
    writeln!(stream, "{request}").map_err(gone)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(gone)?;
    match answer.split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some((_, text)) => Err(text.to_owned()),
        None => Err("no answer".to_owned()),
    }
}

fn create(root: &Path, id: &str, bundle: &Path, pid_file: Option<&Path>) -> Result<()> {
    let text = |error: std::io::Error| error.to_string();
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || !id.bytes().all(safe) || id.starts_with('.') {
        return Err(format!("invalid container id `{id}`"));
    }
    let bundle = bundle.canonicalize().map_err(text)?;
    let home = root.join(id);
    specification(&home, id, &bundle)?;
    std::fs::create_dir_all(root).map_err(text)?;
    std::fs::create_dir(&home).map_err(|_| format!("container `{id}` exists"))?;
    for name in ["upper", "work"] {
        std::fs::create_dir(home.join(name)).map_err(text)?;
    }
    // Bound here, so that the next command finds it; served by a process that stays.
    let listener = UnixListener::bind(home.join("socket")).map_err(text)?;
    let mut command = Command::new(std::env::current_exe().map_err(text)?);
    command.arg("--root").arg(root).arg("--bundle").arg(&bundle);
    let server = command
        .args(["serve", id])
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let server = server.spawn().map_err(text)?;
    if let Some(path) = pid_file {
        std::fs::write(path, server.id().to_string()).map_err(text)?;
    }
    Ok(())
}

/// A container between `create` and `delete`.
struct Container {
    id: String,
    bundle: PathBuf,
    home: PathBuf,
    zygote: Zygote,
    /// Its standard output and error, until it is started.
    output: Option<(OwnedFd, OwnedFd)>,
    sandbox: Option<Sandbox>,
    killed: bool,
}

fn serve(home: &Path, id: &str, bundle: &Path) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(serve_requests(home, id, bundle))
        .map_err(|error| error.to_string())
}

async fn serve_requests(home: &Path, id: &str, bundle: &Path) -> std::io::Result<()> {
    let listener = UnixListener::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let output = (
        rustix::stdio::stdout().try_clone_to_owned()?,
        rustix::stdio::stderr().try_clone_to_owned()?,
    );
    // The container's end of the streams ends with the container, not with this process.
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let cgroup = format!("berth-oci/{}", std::process::id());
    let config = ZygoteConfig {
        executable: std::env::current_exe()?,
        cgroup: cgroup.clone(),
        on_disconnect: OnDisconnect::KillAll,
    };
    let mut container = Container {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        home: home.to_owned(),
        zygote: Zygote::launch(config)
            .await
            .map_err(std::io::Error::other)?,
        output: Some(output),
        sandbox: None,
        killed: false,
    };
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let answer = container.answer(line.trim()).await;
        let text = match &answer {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error {error}"),
        };
        if line.trim() == "delete" && answer.is_ok() {
            container.zygote.shutdown().await;
            let _ = berth_jail::sweep_session(&cgroup);
            std::fs::remove_dir_all(home)?;
            return stream.write_all(text.as_bytes());
        }
        stream.write_all(text.as_bytes())?;
    }
}

impl Container {
    fn status(&self) -> &'static str {
        match &self.sandbox {
            None if self.killed => "stopped",
            None => "created",
            Some(sandbox) if sandbox.exit_status().is_some() => "stopped",
            Some(_) => "running",
        }
    }

    async fn answer(&mut self, request: &str) -> Result<String> {
        let status = self.status();
        match (request.split_once(' ').unwrap_or((request, "")), status) {
            (("state", _), _) => Ok(self.state()),
            (("start", _), "created") => self.start().await,
            (("kill", signal), "running" | "created") => self.kill(signal).await,
            (("delete", _), "stopped") => Ok(String::new()),
            ((request, _), status) => Err(format!("cannot {request} a {status} container")),
        }
    }

    fn state(&self) -> String {
        let status = self.status();
        let mut state = json!({
            "ociVersion": "1.0.2", "id": self.id, "status": status, "bundle": self.bundle,
        });
        let pid = self
            .sandbox
            .as_ref()
            .map_or(std::process::id(), Sandbox::pid);
        if status != "stopped" {
            state["pid"] = json!(pid);
        }
        serde_json::to_string_pretty(&state).unwrap_or_default()
    }

    async fn start(&mut self) -> Result<String> {
        let spec = specification(&self.home, &self.id, &self.bundle)?;
        let (stdout, stderr) = self.output.take().ok_or("it was started")?;
        let fds = SandboxFds {
            netns: netns(),
            stdin: None,
            stdout,
            stderr,
            disk: None,
        };
        match self.zygote.spawn(spec, fds).await {
            Ok(sandbox) => self.sandbox = Some(sandbox),
            Err(error) => {
                self.killed = true;
                let source = std::error::Error::source(&error).map(ToString::to_string);
                return Err(format!("{error}: {}", source.unwrap_or_default()));
            }
        }
        Ok(String::new())
    }

    async fn kill(&mut self, signal: &str) -> Result<String> {
        let Some(sandbox) = &self.sandbox else {
            (self.killed, self.output) = (true, None);
            return Ok(String::new());
        };
        let number = match signal.trim_start_matches("SIG") {
            "TERM" => libc::SIGTERM,
            "KILL" => libc::SIGKILL,
            number => number.parse().map_err(|_| format!("signal `{signal}`"))?,
        };
        sandbox.kill(number).map_err(|error| error.to_string())?;
        if number == libc::SIGKILL {
            sandbox.wait().await;
        }
        Ok(String::new())
    }
}

fn netns() -> OwnedFd {
    let script = ["--net", "sh", "-c", "echo; read _"];
    let mut holder = Command::new("unshare");
    let holder = holder
        .args(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(holder.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    namespace.into()
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// The part of `config.json` that is a container's own to choose.
fn specification(home: &Path, id: &str, bundle: &Path) -> Result<SandboxSpec> {
    let text = std::fs::read_to_string(bundle.join("config.json"));
    let text = text.map_err(|error| format!("config.json: {error}"))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let version = config["ociVersion"].as_str().unwrap_or_default();
    if !version.starts_with("1.") {
        return Err(format!("ociVersion `{version}`"));
    }
    let (process, linux) = (&config["process"], &config["linux"]);
    let capabilities = &process["capabilities"]["bounding"];
    let user = &process["user"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let root = bundle.join(config["root"]["path"].as_str().unwrap_or("rootfs"));
    Ok(SandboxSpec {
        id: id.to_owned(),
        hostname: config["hostname"].as_str().unwrap_or("oci").to_owned(),
        rootfs: Rootfs {
            lower: vec![root],
            upper: home.join("upper"),
            work: home.join("work"),
            read_only: config["root"]["readonly"].as_bool().unwrap_or(false),
        },
        mounts: mounts(&config["mounts"]),
        files: BTreeMap::new(),
        process: ProcessSpec {
            argv: strings(&process["args"]),
            env: strings(&process["env"]),
            cwd: process["cwd"].as_str().unwrap_or("/").to_owned(),
            user: format!("{}:{}", number(&user["uid"]), number(&user["gid"])),
            terminal: None,
        },
        limits: limits(&linux["resources"]),
        id_base: 100_000_000 + (std::process::id() % 10_000) * 65_536,
        capabilities: if capabilities.is_null() {
            DEFAULT_CAPABILITIES.map(str::to_owned).to_vec()
        } else {
            strings(capabilities)
        },
        no_new_privs: process["noNewPrivileges"].as_bool().unwrap_or(false),
        shm_bytes: 64 << 20,
        extras: berth_jail::SandboxExtras::default(),
    })
}

/// Bind mounts and tmpfs; the jail brings its own kernel file systems.
fn mounts(value: &Value) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for mount in value.as_array().into_iter().flatten() {
        let target = mount["destination"].as_str().unwrap_or_default();
        let options = strings(&mount["options"]);
        let bind = options
            .iter()
            .any(|option| option == "bind" || option == "rbind");
        let source = match (bind, mount["type"].as_str()) {
            (true, _) | (_, Some("bind")) => {
                MountSource::Bind(PathBuf::from(mount["source"].as_str().unwrap_or_default()))
            }
            (_, Some("tmpfs")) if !target.starts_with("/dev") => MountSource::Tmpfs(64 << 20),
            _ => continue,
        };
        mounts.push(Mount {
            target: target.to_owned(),
            source,
            read_only: options.iter().any(|option| option == "ro"),
        });
    }
    mounts
}

fn limits(resources: &Value) -> Limits {
    let positive = |value: &Value| value.as_i64().filter(|value| *value > 0);
    let quota = positive(&resources["cpu"]["quota"]);
    let period = positive(&resources["cpu"]["period"]).unwrap_or(100_000);
    Limits {
        cpu_milli: quota.and_then(|quota| u32::try_from(quota * 1000 / period).ok()),
        memory_bytes: positive(&resources["memory"]["limit"]).map(i64::unsigned_abs),
        pids: positive(&resources["pids"]["limit"]).and_then(|value| u32::try_from(value).ok()),
        ..Limits::default()
    }
}
