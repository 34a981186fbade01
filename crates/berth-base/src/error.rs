//! Why a base image could not be made, and what the user can do about it.

use std::path::PathBuf;

use berth_error::Hint;
use berth_image::ImageError;

/// Why a base image that has a recipe could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Assembling a root file system needs root.
    #[error("making the base image `{reference}` needs root")]
    NotRoot {
        /// The image asked for.
        reference: String,
    },
    /// The recipes need a Debian host.
    #[error("the base image `{name}` is made from Debian packages, but this machine runs {os}")]
    NotDebian {
        /// The image asked for.
        name: String,
        /// What the machine says it is.
        os: String,
    },
    /// The machine's apt configuration names no Debian archive.
    #[error("no apt source of this machine has the Debian suite `{codename}` with `main`")]
    NoSources {
        /// The host's own suite.
        codename: String,
    },
    /// A package client is missing or could not be executed.
    #[error("could not run `{program}` for {step}")]
    Spawn {
        /// The program.
        program: String,
        /// What it was needed for.
        step: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A package client failed.
    #[error("{step} failed ({status}):\n{output}")]
    Failed {
        /// What was being done.
        step: String,
        /// How the program ended.
        status: std::process::ExitStatus,
        /// The last lines it wrote.
        output: String,
    },
    /// A file operation of our own failed.
    #[error("could not {action} `{path}`")]
    File {
        /// What was being done.
        action: &'static str,
        /// To which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A configuration value was refused by the OCI model.
    #[error("could not describe the image")]
    Describe(#[source] oci_spec::OciSpecError),
    /// The image store failed.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// A task of ours was cancelled or panicked.
    #[error("a background task of {step} ended early")]
    Task {
        /// What it was doing.
        step: &'static str,
    },
}

const IMPORT: &str = "bring the image in yourself with `berth images import <rootfs.tar> <name>` \
                      (for example from `docker export` on another machine)";

impl Hint for BaseError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot { .. } => Some("run the command as root".to_owned()),
            Self::NotDebian { .. } | Self::NoSources { .. } => Some(IMPORT.to_owned()),
            Self::Spawn { program, .. } => Some(format!(
                "install `{program}` with your package client, or {IMPORT}"
            )),
            Self::Failed { .. } => Some(format!(
                "check that this machine reaches its package archives, then try again; or {IMPORT}"
            )),
            Self::File { .. } | Self::Describe(_) | Self::Task { .. } => None,
            Self::Store(error) => error.hint(),
        }
    }
}

/// Maps an I/O error to [`BaseError::File`].
pub(crate) fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> BaseError {
    let path = path.into();
    move |source| BaseError::File {
        action,
        path,
        source,
    }
}
