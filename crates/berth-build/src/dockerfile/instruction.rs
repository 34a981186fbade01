//! What instructions say, before any variable is expanded.

use super::Heredoc;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Line on which it begins, from 1.
    pub(crate) line: usize,
    /// As written, continued lines joined.
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// The instructions of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    From(From),
    /// Names with their default values.
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Workdir(String),
    User(String),
    Expose(Vec<String>),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Volume(Vec<String>),
    StopSignal(String),
    /// In the form of Docker's image configuration.
    Healthcheck(serde_json::Value),
    /// The trigger as written.
    OnBuild(String),
    Maintainer(String),
    Copy(Copy),
    Add(Copy),
    Run(Run),
}

/// `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) image: String,
    pub(crate) platform: Option<String>,
    /// `AS`, in lower case.
    pub(crate) name: Option<String>,
}

/// A command line for a shell, or a list of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Shell(String),
    Exec(Vec<String>),
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    /// `--from`: a stage or an image.
    pub(crate) from: Option<String>,
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<String>,
    /// `--exclude`.
    pub(crate) exclude: Vec<String>,
    /// `--parents`.
    pub(crate) parents: bool,
    pub(crate) sources: Vec<String>,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) destination: String,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) command: Command,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) mounts: Vec<RunMount>,
    /// `--network=none`.
    pub(crate) offline: bool,
}

/// `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunMount {
    pub(crate) kind: RunMountKind,
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// The kinds of `RUN --mount` that we have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunMountKind {
    /// A directory that is kept between builds.
    Cache {
        /// `id`, or the target.
        id: String,
    },
    /// Bytes it may hold.
    Tmpfs { size: u64 },
    /// A part of the context.
    Bind { source: String },
}
