//! From a directory to a [`Project`]: find the file, parse it, decode it, add the secrets.

use std::path::PathBuf;

use crate::{ConfigErrors, Diagnostic, Project};

/// What to load, and what the command line adds.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The project's directory.
    pub directory: PathBuf,
    /// `--config`: a file to read instead of looking for one; relative to the current directory.
    pub config: Option<PathBuf>,
    /// `--env` (or `CLOUDFLARE_ENV`, which is the caller's to read).
    pub environment: Option<String>,
    /// `--var KEY:VALUE`, in order; the last of one name wins, and all win over the file and the secrets.
    pub vars: Vec<(String, String)>,
    /// Newest compatibility date that the pinned workerd accepts, `YYYY-MM-DD`. Used when the file
    /// has none; a later one in the file is a mistake. `None`: no limit, and today as the default.
    pub max_compatibility_date: Option<String>,
    /// The environment variables of the process. Read for names in `secrets.required` only.
    pub process_env: Vec<(String, String)>,
}

/// A project that can run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// What its author should know; ordered by place.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a project.
///
/// # Errors
/// All mistakes of the configuration file and of the secret files, each once.
pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigErrors> {
    let _ = options;
    todo!()
}

/// Files whose change makes the project stale: the configuration file and every file that gives
/// secrets or would give some if it existed. Absolute.
pub fn watched_files(project: &Project) -> Vec<PathBuf> {
    let _ = project;
    todo!()
}
