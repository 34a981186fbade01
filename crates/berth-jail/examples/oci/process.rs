//! `process` of `config.json`, and the processes that `exec` adds.

use berth_jail::{DEFAULT_CAPABILITIES, ProcessSpec, Rlimit, RlimitKind};
use serde_json::{Value, json};

use crate::Result;
use crate::arguments::Arguments;
use crate::bundle::strings;

/// All that a bundle may ask for.
const KINDS: [(&str, RlimitKind); 12] = [
    ("RLIMIT_NOFILE", RlimitKind::Nofile),
    ("RLIMIT_NPROC", RlimitKind::Nproc),
    ("RLIMIT_CORE", RlimitKind::Core),
    ("RLIMIT_MEMLOCK", RlimitKind::Memlock),
    ("RLIMIT_STACK", RlimitKind::Stack),
    ("RLIMIT_FSIZE", RlimitKind::Fsize),
    ("RLIMIT_AS", RlimitKind::As),
    ("RLIMIT_DATA", RlimitKind::Data),
    ("RLIMIT_RSS", RlimitKind::Rss),
    ("RLIMIT_CPU", RlimitKind::Cpu),
    ("RLIMIT_SIGPENDING", RlimitKind::Sigpending),
    ("RLIMIT_MSGQUEUE", RlimitKind::Msgqueue),
];

/// The kernel's capabilities, by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

pub(crate) fn process(process: &Value) -> ProcessSpec {
    let user = &process["user"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    ProcessSpec {
        argv: strings(&process["args"]),
        env: strings(&process["env"]),
        cwd: process["cwd"].as_str().unwrap_or("/").to_owned(),
        user: format!("{}:{}", number(&user["uid"]), number(&user["gid"])),
        terminal: None,
    }
}

/// The capabilities to keep. The jail has one set of them: bounding, permitted and effective;
/// inheritable and ambient ones are never given.
pub(crate) fn capabilities(asked: &Value) -> Result<Vec<String>> {
    if asked.is_null() {
        return Ok(DEFAULT_CAPABILITIES.map(str::to_owned).to_vec());
    }
    let bounding = strings(&asked["bounding"]);
    // As the kernel answers; that a set is given does not mean that it is taken over.
    let beyond = |name: &String| is_known(name) && !bounding.contains(name);
    if strings(&asked["inheritable"]).iter().any(beyond) {
        return Err(
            "inheritable capabilities outside the bounding set: operation not permitted".to_owned(),
        );
    }
    Ok(bounding.into_iter().filter(|name| is_known(name)).collect())
}

/// Capabilities that no kernel has are to be warned of, not refused.
pub(crate) fn unknown_capabilities(asked: &Value) -> Option<String> {
    let mut unknown = strings(&asked["bounding"]);
    unknown.retain(|name| !is_known(name));
    unknown.sort();
    unknown.dedup();
    (!unknown.is_empty()).then(|| unknown.join(" "))
}

fn is_known(name: &str) -> bool {
    let short = name.strip_prefix("CAP_").unwrap_or_default();
    CAPABILITIES.contains(&short)
}

/// A container gets its three streams and no other descriptor, so none may be there to be passed on.
pub(crate) fn no_descriptors(arguments: &Arguments) -> Result<()> {
    let asked = 3..3 + arguments.number("preserve-fds");
    let mut open = asked.map(|number| format!("/proc/self/fd/{number}"));
    match open.find(|path| std::fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(format!("--preserve-fds: `{path}` is not passed on")),
        None => Ok(()),
    }
}

pub(crate) fn rlimits(asked: &Value) -> Result<Vec<Rlimit>> {
    let limits = asked.as_array().into_iter().flatten();
    limits
        .map(|limit| {
            let name = limit["type"].as_str().unwrap_or_default();
            let kind = KINDS.iter().find(|(known, _)| *known == name);
            let (_, kind) = kind.ok_or(format!("process.rlimits: `{name}`"))?;
            Ok(Rlimit {
                kind: *kind,
                soft: limit["soft"].as_u64(),
                hard: limit["hard"].as_u64(),
            })
        })
        .collect()
}

/// What `exec` asks the server for.
pub(crate) fn exec_request(arguments: &Arguments, command: &[&str]) -> Result<Value> {
    for flag in ["cap", "apparmor", "process-label"] {
        if arguments.flag(flag).is_some() {
            return Err(format!("--{flag}: a process has what its container has"));
        }
    }
    no_descriptors(arguments)?;
    if arguments.flag("cgroup").is_some_and(|path| path != "/") {
        return Err("--cgroup: a process is in its container's group".to_owned());
    }
    let process = match arguments.flag("process") {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?
        }
        None => json!({
            "args": command,
            "cwd": arguments.flag("cwd"),
            "user": arguments.flag("user"),
            "more_env": arguments.values("env").collect::<Vec<_>>(),
        }),
    };
    Ok(json!({
        "do": "exec",
        "process": process,
        "whole": arguments.flag("process").is_some(),
        "when_paused": arguments.flag("ignore-paused").is_some(),
        "pid": std::process::id(),
    }))
}

/// The process that an `exec` request means, in a container whose first one is `first`.
pub(crate) fn executed(request: &Value, first: ProcessSpec) -> ProcessSpec {
    let asked = &request["process"];
    if request["whole"] == true {
        return process(asked);
    }
    let more = strings(&asked["more_env"]);
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = more.iter().map(|entry| name(entry)).collect();
    let mut env = first.env;
    env.retain(|entry| !replaced.contains(&name(entry)));
    env.extend(more);
    ProcessSpec {
        argv: strings(&asked["args"]),
        env,
        cwd: asked["cwd"].as_str().map_or(first.cwd, str::to_owned),
        user: asked["user"].as_str().map_or(first.user, str::to_owned),
        terminal: None,
    }
}
