//! What instructions say, before any variable is expanded.

use super::Heredoc;
use super::mount::MountText;
use crate::lint::Checks;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Line on which it begins, from 1.
    pub(crate) line: usize,
    /// As written, continued lines joined.
    pub(crate) text: String,
    /// The first word as written.
    pub(crate) keyword: String,
    pub(crate) kind: Kind,
    /// Left by the base image or stage, whose `ONBUILD` it was.
    pub(crate) is_trigger: bool,
    /// What `# check=` comments before it say.
    pub(crate) checks: Option<Checks>,
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
    /// `--unpack` of `ADD`.
    pub(crate) unpack: Option<bool>,
    /// `--keep-git-dir` of `ADD`.
    pub(crate) keep_git_dir: Option<bool>,
    /// `--checksum` of `ADD`.
    pub(crate) checksum: Option<String>,
    pub(crate) sources: Vec<String>,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) destination: String,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) command: Command,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) mounts: Vec<MountText>,
    /// `--network=none`.
    pub(crate) offline: bool,
}
