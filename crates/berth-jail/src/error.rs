//! Why something in the jail failed, for callers ([`JailError`]) and on the wire ([`Failure`]).
//!
//! Invariant: every failure of a container's own making (command, user, working directory, image)
//! has a variant of its own; the rest is [`JailError::Setup`] with the step and the error number.

use std::io;

use berth_error::Hint;
use serde::{Deserialize, Serialize};

/// Why something in the jail failed.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The command is not in the image.
    #[error("executable `{0}` not found in the image")]
    NotFound(String),
    /// The command is in the image, but the user may not execute it.
    #[error("permission denied to execute `{0}`")]
    NotExecutable(String),
    /// The file is no program of this machine's architecture and has no `#!` line.
    #[error("`{0}` is not a program that this machine can run")]
    WrongFormat(String),
    /// The program exists; the interpreter or dynamic linker it names does not.
    #[error("the interpreter or dynamic linker of `{0}` is not in the image")]
    MissingInterpreter(String),
    /// `user` names nobody, or is malformed.
    #[error("no user or group `{0}` in the image")]
    UnknownUser(String),
    /// The working directory leads out of the image or is no directory.
    #[error("working directory `{path}` cannot be used: {reason}")]
    WorkingDirectory {
        /// As given.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The image has something where the jail must mount that it refuses to mount on.
    #[error("`{path}` in the image is {what}")]
    UnsafePath {
        /// Path inside.
        path: String,
        /// What is there.
        what: String,
    },
    /// A value of the specification makes no sense.
    #[error("invalid {0}")]
    Invalid(String),
    /// A step of the set-up failed.
    #[error("could not {step}")]
    Setup {
        /// What was being done, naming the path.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The process that set the sandbox up was killed before it could execute the command.
    #[error("the container's process was killed by signal {0} while it was set up")]
    SetupKilled(i32),
    /// The sandbox has ended.
    #[error("the container is not running")]
    Gone,
    /// The sandbox is frozen.
    #[error("the container is paused")]
    Frozen,
    /// CRIU, or what it needs.
    #[error("{0}")]
    Criu(String),
    /// The zygote has ended; every sandbox ended with it.
    #[error("the jail's helper process has ended")]
    ZygoteGone,
    /// Another daemon has the zygote.
    #[error("the jail's helper process belongs to another berth that runs")]
    ZygoteBusy,
    /// The zygote was started by a berth of another version.
    #[error("the jail's helper process speaks version {theirs} of its protocol, not {ours}")]
    ZygoteVersion {
        /// Its version.
        theirs: u64,
        /// This one's.
        ours: u32,
    },
    /// The zygote could not be started.
    #[error("could not start the jail's helper process")]
    Launch(#[source] io::Error),
}

impl JailError {
    /// A failed step that had a kernel error.
    pub(crate) fn setup(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Setup {
            step: step.into(),
            source: source.into(),
        }
    }
}

impl Hint for JailError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotFound(_) => {
                "check ENTRYPOINT and CMD, and that the image's PATH has the program's directory"
            }
            Self::NotExecutable(_) => {
                "make the file executable in the Dockerfile: `RUN chmod +x …` or `COPY --chmod=755 …`"
            }
            Self::WrongFormat(_) => {
                "the image may be built for another CPU architecture; a script needs a `#!` first line"
            }
            Self::MissingInterpreter(_) => {
                "a program linked against another libc (glibc or musl) needs that libc in the image, or static linking; a script needs the interpreter its `#!` line names"
            }
            Self::UnknownUser(_) => {
                "create the user in the Dockerfile (`RUN useradd …`) or give a numeric id"
            }
            Self::UnsafePath { .. } => {
                "an image may not replace /proc, /sys or /dev with a symbolic link"
            }
            Self::Setup { step, source } => return setup_hint(step, source),
            Self::ZygoteBusy => "only one daemon at a time can use a state directory",
            Self::ZygoteVersion { .. } => {
                "stop the containers with the version of berth that started them, or remove them"
            }
            Self::Launch(_) => {
                "berth must run as root on Linux with user, mount and pid namespaces"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn setup_hint(step: &str, source: &io::Error) -> Option<String> {
    match source.raw_os_error()? {
        libc::EINVAL | libc::EOPNOTSUPP if step.contains("map the ids") => Some(
            "the data directory must be on a file system with idmapped mounts, such as ext4, xfs, btrfs or tmpfs"
                .to_owned(),
        ),
        libc::EPERM => Some("berth must run as root with CAP_SYS_ADMIN".to_owned()),
        libc::ENOSPC => Some("the disk, or a kernel limit such as user.max_user_namespaces, is full".to_owned()),
        _ => None,
    }
}

/// [`JailError`] as it travels between the zygote, its children and the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    NotFound(String),
    NotExecutable(String),
    WrongFormat(String),
    MissingInterpreter(String),
    UnknownUser(String),
    WorkingDirectory { path: String, reason: String },
    UnsafePath { path: String, what: String },
    Invalid(String),
    Setup { step: String, errno: i32 },
    SetupKilled(i32),
    Gone,
    Frozen,
    Criu(String),
}

impl From<Failure> for JailError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(program) => Self::NotFound(program),
            Failure::NotExecutable(program) => Self::NotExecutable(program),
            Failure::WrongFormat(program) => Self::WrongFormat(program),
            Failure::MissingInterpreter(program) => Self::MissingInterpreter(program),
            Failure::UnknownUser(user) => Self::UnknownUser(user),
            Failure::WorkingDirectory { path, reason } => Self::WorkingDirectory { path, reason },
            Failure::UnsafePath { path, what } => Self::UnsafePath { path, what },
            Failure::Invalid(what) => Self::Invalid(what),
            Failure::Setup { step, errno } => Self::Setup {
                step,
                source: io::Error::from_raw_os_error(errno),
            },
            Failure::SetupKilled(signal) => Self::SetupKilled(signal),
            Failure::Gone => Self::Gone,
            Failure::Frozen => Self::Frozen,
            Failure::Criu(reason) => Self::Criu(reason),
        }
    }
}

/// Adds the step to a kernel error.
pub(crate) trait Step<T> {
    /// What was being done, in words that follow "could not".
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            Failure::Setup {
                step: step(),
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            }
        })
    }
}
