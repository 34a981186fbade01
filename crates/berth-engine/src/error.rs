//! Why the engine refused or failed.
//!
//! The Docker face maps each variant to exactly one status code (named in its doc comment).
//! `Display` names the step, never the cause: that is the error's source.

use std::path::PathBuf;

use berth_error::Hint;
use berth_image::ImageError;
use berth_jail::JailError;

/// Why the engine refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// 409: create with a name that is in use.
    #[error("the container name `{0}` is already in use")]
    NameInUse(String),
    /// 404.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// 404.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// 304: start of a running container.
    #[error("container `{0}` is already running")]
    AlreadyRunning(String),
    /// 409: what was asked needs a living process.
    #[error("container `{0}` is not running")]
    NotRunning(String),
    /// 409: exec in a paused container, or a second pause.
    #[error("container `{0}` is paused")]
    Paused(String),
    /// 409: unpause of a container that is not paused.
    #[error("container `{0}` is not paused")]
    NotPaused(String),
    /// 409: remove without force.
    #[error("container `{0}` is running")]
    StillRunning(String),
    /// 409: everything but wait and remove while a removal is under way.
    #[error("container `{0}` is being removed")]
    BeingRemoved(String),
    /// Nothing listens on the port, and holding the connection any longer is pointless or not allowed.
    /// The container itself runs (otherwise: [`EngineError::NotRunning`]).
    #[error("the container is not listening on port {port}")]
    NotListening {
        /// The port inside the container.
        port: u16,
    },
    /// The port listens but connecting failed in another way.
    #[error("cannot connect to port {port} of the container")]
    Connect {
        /// The port inside the container.
        port: u16,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// 400: neither the image nor the request says what to run.
    #[error("no command for container `{0}`")]
    NoCommand(String),
    /// 400: the first process could not be executed.
    #[error("cannot start container `{name}`")]
    Start {
        /// The container.
        name: String,
        /// What the jail said.
        #[source]
        source: JailError,
    },
    /// 400 or the answer inside the stream: an exec'ed process could not be started.
    #[error("cannot execute `{program}` in container `{name}`")]
    Exec {
        /// The container.
        name: String,
        /// The program.
        program: String,
        /// What the jail said.
        #[source]
        source: JailError,
    },
    /// 500: another operation of the jail failed.
    #[error("cannot {step} container `{name}`")]
    Jail {
        /// What was being done, an infinitive.
        step: &'static str,
        /// The container.
        name: String,
        /// What the jail said.
        #[source]
        source: JailError,
    },
    /// 500: the image exists but cannot be used.
    #[error("cannot read image {reference}")]
    Image {
        /// The image as it was asked for.
        reference: String,
        /// What the store said.
        #[source]
        source: ImageError,
    },
    /// 500: a file or directory of the engine.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was being done, an infinitive.
        step: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// 500: a pipe, namespace or other resource of the kernel.
    #[error("cannot {step} for container `{name}`")]
    Kernel {
        /// What was being done, an infinitive.
        step: &'static str,
        /// The container.
        name: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// 400: a host name or address that cannot stand in `/etc/hosts`.
    #[error("`{0}` is not a host name or address")]
    InvalidHost(String),
    /// 503: as many instances of the application run as may.
    ///
    /// The `@cloudflare/containers` class (0.3.7) knows the text, in whatever case, and answers 503.
    #[error(
        "there is no container instance that can be provided to this Durable Object: \
         {max} of at most {max} run already (`max_instances`), so `{name}` was not started"
    )]
    NoInstance {
        /// Who wanted to start.
        name: String,
        /// `max_instances`.
        max: u32,
    },
    /// 503: all containers together have been given as much as they may.
    ///
    /// The same words for the class as of [`Self::NoInstance`].
    #[error(
        "there is no container instance that can be provided to this Durable Object: \
         all containers together may have {what}, so `{name}` was not started"
    )]
    NoTotal {
        /// Who wanted to start.
        name: String,
        /// How much of what there is, and how much of it is taken.
        what: String,
    },
    /// 404.
    #[error("no such volume: {0}")]
    NoSuchVolume(String),
    /// 409: removal of a volume that a container or another session uses.
    #[error("volume `{0}` is in use")]
    VolumeInUse(String),
    /// 400: a name that no volume can have.
    #[error("`{0}` is not a volume name: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is")]
    InvalidVolume(String),
    /// 400: a mount point that cannot be one.
    #[error("invalid mount at `{target}`: {reason}")]
    InvalidMount {
        /// As given.
        target: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// 404: no such file or directory in a container.
    #[error("no such file or directory in the container: {0}")]
    NoSuchPath(String),
    /// 500 for reading, 400 for writing: a path that must be a directory.
    #[error("not a directory: {0}")]
    NotADirectory(String),
    /// 403: a path on something mounted read-only.
    #[error("read-only in the container: {0}")]
    ReadOnly(String),
    /// 500: files of a container.
    #[error("cannot {step} `{path}`")]
    Archive {
        /// What was being done, an infinitive.
        step: &'static str,
        /// The path inside.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// 500: an archive that could not be unpacked, or not to its end.
    #[error("cannot unpack the archive at `{path}`")]
    Unpack {
        /// The path inside.
        path: String,
        /// Why.
        #[source]
        source: berth_image::UnpackError,
    },
    /// 500: an image could not be made of a container.
    #[error("cannot make an image of container `{name}`")]
    Commit {
        /// The container.
        name: String,
        /// What the store said.
        #[source]
        source: ImageError,
    },
    /// 500: every range of host user ids is taken.
    #[error("no free range of user ids is left")]
    NoIdRange,
    /// 503: the engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl Hint for EngineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NameInUse(name) => Some(format!(
                "remove container `{name}` first or choose another name"
            )),
            Self::NoSuchImage(_) => Some(
                "`berth images list` shows the images on this machine; \
                 `berth images import` brings one in"
                    .to_owned(),
            ),
            Self::Paused(name) => Some(format!("unpause container `{name}` first")),
            Self::NoCommand(_) => Some(
                "give the Dockerfile a CMD or an ENTRYPOINT, or set `entrypoint` in the class"
                    .to_owned(),
            ),
            Self::NotListening { port } => Some(format!(
                "check that the program in the container listens on port {port}, \
                 on 127.0.0.1, 0.0.0.0 or dual-stack ::"
            )),
            Self::NoInstance { .. } => Some(
                "raise `max_instances` of the container in the configuration, or let idle \
                 instances sleep earlier (`sleepAfter`)"
                    .to_owned(),
            ),
            Self::NoTotal { .. } => Some(
                "raise the server's `[limits]`, choose a smaller `instance_type`, or let idle \
                 instances sleep earlier (`sleepAfter`)"
                    .to_owned(),
            ),
            Self::NoIdRange => {
                Some("stop other Berth sessions or containers of this machine".to_owned())
            }
            Self::Image { source, .. } | Self::Commit { source, .. } => source.hint(),
            Self::Unpack { source, .. } => source.hint(),
            Self::VolumeInUse(_) => Some("remove the containers that use it first".to_owned()),
            Self::Start { source, .. } | Self::Exec { source, .. } | Self::Jail { source, .. } => {
                source.hint()
            }
            _ => None,
        }
    }
}
