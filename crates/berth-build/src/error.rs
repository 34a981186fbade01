//! What can go wrong in a build. Every error that a line of the Dockerfile causes shows that line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use berth_error::Hint;
use berth_image::ImageError;
use berth_jail::JailError;
use berth_net::NetError;

use crate::HostError;

/// A place in a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The Dockerfile.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// The instruction as written, its first line.
    pub text: String,
    /// The lines around it, with its own marked; empty until the build adds it.
    pub excerpt: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}`", self.path.display(), self.line, self.text)
    }
}

/// Why a build failed; the message has the Dockerfile's path, line and text.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The Dockerfile is not correct, or asks for something that is not there.
    #[error("{location}: {problem}")]
    Dockerfile {
        /// Where.
        location: Box<Location>,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The Dockerfile has no line that could be blamed.
    #[error("{}: {problem}", path.display())]
    NoStage {
        /// The Dockerfile.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A base image is not in the store.
    #[error("{location}: image `{image}` is not on this machine")]
    MissingBase {
        /// Where it is named.
        location: Box<Location>,
        /// As named.
        image: String,
    },
    /// A base image could not be brought in.
    #[error("{location}: {source}")]
    Base {
        /// Where it is named.
        location: Box<Location>,
        /// Why not.
        source: Box<HostError>,
    },
    /// A `RUN` step ended with something other than 0.
    #[error("{location}: the command ended with {status}{}", tail(last_lines))]
    RunFailed {
        /// Where.
        location: Box<Location>,
        /// `exit code 1`, `signal 9`, `exit code 137, out of memory`.
        status: String,
        /// The end of what it wrote.
        last_lines: Vec<String>,
    },
    /// A step could not be carried out.
    #[error("{location}: {action}")]
    Step {
        /// Where.
        location: Box<Location>,
        /// What failed, as a sentence without its cause.
        action: String,
        /// The cause.
        source: Box<StepError>,
    },
    /// Keys of `--ssh` could not be served.
    #[error("the keys of `--ssh {id}` cannot be used")]
    Ssh {
        /// Its id.
        id: String,
        /// Why not.
        source: KeyError,
    },
    /// The image store refused.
    #[error("could not store the image")]
    Store(#[source] Box<ImageError>),
    /// The image could not be put together.
    #[error("could not put the image together")]
    Export(#[source] Box<StepError>),
    /// Another step failed, or nobody wants the build any more.
    #[error("the build was cancelled")]
    Canceled,
    /// The time that it may take is over.
    #[error("the build took longer than {limit:?}")]
    OutOfTime {
        /// What it may take.
        limit: Duration,
    },
}

impl BuildError {
    /// The line that is to blame.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Dockerfile { location, .. }
            | Self::MissingBase { location, .. }
            | Self::Base { location, .. }
            | Self::RunFailed { location, .. }
            | Self::Step { location, .. } => Some(location),
            Self::Io { .. }
            | Self::NoStage { .. }
            | Self::Ssh { .. }
            | Self::Store(_)
            | Self::Export(_)
            | Self::Canceled
            | Self::OutOfTime { .. } => None,
        }
    }

    /// Adds the lines around [`BuildError::location`].
    pub(crate) fn with_excerpt(mut self, excerpt: String) -> Self {
        match &mut self {
            Self::Dockerfile { location, .. }
            | Self::MissingBase { location, .. }
            | Self::Base { location, .. }
            | Self::RunFailed { location, .. }
            | Self::Step { location, .. } => location.excerpt = excerpt,
            _ => {}
        }
        self
    }

    /// The problem in one line, where the step is known already.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Dockerfile { problem, .. } | Self::NoStage { problem, .. } => problem.clone(),
            Self::MissingBase { image, .. } => format!("image `{image}` is not on this machine"),
            Self::Base { source, .. } => source.message.clone(),
            Self::RunFailed { status, .. } => format!("the command ended with {status}"),
            Self::Step { action, source, .. } => format!("{action}: {source}"),
            other => other.to_string(),
        }
    }
}

/// Causes of [`BuildError::Ssh`].
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// OpenSSH's programs hold the keys.
    #[error("the program `{0}` is not on this machine")]
    NoProgram(&'static str),
    /// An agent's socket beside other paths.
    #[error("it names an agent's socket and other paths")]
    Mixed,
    /// It is no key, or one with a passphrase.
    #[error("`{}`: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What `ssh-add` said.
        reason: String,
    },
    /// Of the file system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Hint for KeyError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoProgram(_) => "install it, for example with `apt-get install openssh-client`",
            Self::Mixed => "name either one socket or one or more key files",
            Self::Refused { reason, .. } if reason.contains("passphrase") => {
                "add it to your agent with `ssh-add`, and forward that: `--ssh default`"
            }
            Self::Refused { .. } => "a private key is wanted, such as `~/.ssh/id_ed25519`",
            Self::Io(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// Causes of [`BuildError::Step`].
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Of the image store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Of the sandbox of a `RUN`.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// Of the network of a `RUN`.
    #[error(transparent)]
    Network(#[from] NetError),
    /// Of the host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Of the file system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Of a download of `ADD`.
    #[error(transparent)]
    Remote(#[from] crate::remote::RemoteError),
    /// The disk is nearly full, and what is left is not for builds.
    #[error(
        "it does not fit on the disk of `{}`: {} MiB are left, of which {} MiB stay free",
        path.display(), free >> 20, reserve >> 20
    )]
    DiskReserve {
        /// The image store.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The time that the build may take is over.
    #[error("the build took longer than {limit:?}")]
    OutOfTime {
        /// What it may take.
        limit: Duration,
    },
    /// Every user id that builds may use is in use.
    #[error("all user ids that steps of builds may have are in use")]
    NoIdRange,
    /// Of an archive that `ADD` unpacks.
    #[error(transparent)]
    Unpack(#[from] berth_image::UnpackError),
}

/// Hint of a build that took too long.
const MORE_TIME: &str = "give it more with `--timeout`; what is finished is in the cache";

fn tail(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  | {line}")).collect()
}

impl Hint for BuildError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Dockerfile { hint, .. } | Self::NoStage { hint, .. } => hint.clone(),
            Self::MissingBase { image, .. } => Some(format!(
                "bring it in with `berth images import <tar> {image}`; `berth images list` shows what is there"
            )),
            Self::Base { source, .. } => source.hint.clone(),
            Self::Store(source) => source.hint(),
            Self::Ssh { source, .. } => source.hint(),
            Self::OutOfTime { .. } => Some(MORE_TIME.to_owned()),
            Self::Step { source, .. } => match source.as_ref() {
                StepError::Image(source) => source.hint(),
                StepError::Unpack(source) => source.hint(),
                StepError::Jail(source) => source.hint(),
                StepError::Network(source) => source.hint(),
                StepError::Host(source) => source.hint.clone(),
                StepError::Remote(source) => source.hint(),
                StepError::DiskReserve { .. } => Some(
                    "free some space, or let other images go with `berth images remove`".to_owned(),
                ),
                StepError::OutOfTime { .. } => Some(MORE_TIME.to_owned()),
                StepError::NoIdRange => Some("wait for other builds to end".to_owned()),
                StepError::Io(_) => None,
            },
            _ => None,
        }
    }
}

/// Something wrong at a line of a Dockerfile whose path is added later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) problem: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A problem that its caller places ([`Problem::at`]).
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self {
            line: 0,
            text: String::new(),
            problem: problem.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Places a problem that has no place yet.
    pub(crate) fn at(mut self, line: usize, text: &str) -> Self {
        if self.line == 0 {
            self.line = line;
            first_line(text).clone_into(&mut self.text);
        }
        self
    }

    pub(crate) fn in_file(self, path: &std::path::Path) -> BuildError {
        if self.line == 0 {
            return BuildError::NoStage {
                path: path.to_owned(),
                problem: self.problem,
                hint: self.hint,
            };
        }
        BuildError::Dockerfile {
            location: Box::new(Location {
                path: path.to_owned(),
                line: self.line,
                text: self.text,
                excerpt: String::new(),
            }),
            problem: self.problem,
            hint: self.hint,
        }
    }
}

/// What is shown of an instruction.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The known name nearest to a mistyped one, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3))
        .min()
        .map(|(_, candidate)| candidate)
}
