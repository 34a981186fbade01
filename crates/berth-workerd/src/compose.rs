//! A project and its bundle → workerd's configuration, as text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_config::Project;
use berth_error::Hint;
use indexmap::IndexMap;

use crate::Bundle;

/// What the project does not say.
#[derive(Clone, Debug)]
pub struct ComposeOptions {
    /// Where state persists (`.berth/state`). Created, with its subdirectories.
    pub state_dir: PathBuf,
    /// Directory of the configuration file; modules are embedded relative to it.
    pub generated_dir: PathBuf,
    /// Where workerd listens.
    pub listen: Listen,
    /// The container engine; `None` when the project runs without containers.
    pub containers: Option<ContainerOptions>,
}

/// Where workerd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On 127.0.0.1 with a port the kernel chooses.
    Loopback,
    /// On a Unix socket at this path (at most 107 bytes).
    Unix(PathBuf),
}

/// The container engine.
#[derive(Clone, Debug)]
pub struct ContainerOptions {
    /// Unix socket of the Docker Engine API.
    pub docker_socket: PathBuf,
    /// Image name of the egress sidecar.
    pub egress_image: String,
    /// Scopes the containers' names; a later workerd with the same value adopts them.
    pub session_id: String,
    /// Images by Durable Object class.
    pub images: BTreeMap<String, ClassImages>,
}

/// Images of one container class.
#[derive(Clone, Debug, Default)]
pub struct ClassImages {
    /// Reference of the default image.
    pub default: Option<String>,
    /// `ctx.container.images`: name → reference.
    pub named: IndexMap<String, String>,
}

/// Why no configuration could be written.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A directory or file could not be written.
    #[error("could not write `{path}`")]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for ComposeError {}

/// The text of workerd's configuration: a Cap'n Proto file with the constant `config`, for
/// `<generated_dir>/workerd.capnp`. Creates the state directories it refers to.
#[allow(unused_variables, clippy::todo)]
pub fn compose(
    project: &Project,
    bundle: &Bundle,
    options: &ComposeOptions,
) -> Result<String, ComposeError> {
    todo!()
}

/// The uniqueKey of a Durable Object class: `<worker>-<class>` in characters a container name may
/// have. Container names are `workerd-<session>-<uniqueKey>-<object id>`.
pub fn unique_key(worker: &str, class_name: &str) -> String {
    let _ = Path::new(worker);
    format!("{worker}-{class_name}")
}
