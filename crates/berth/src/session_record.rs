//! `.berth/session.json` in a project: how `berth ps`, `logs` and `exec` find the running session.
//!
//! The record is advice only: whether the session lives shows in whether its socket answers.

use std::path::{Path, PathBuf};

use berth_error::{Report, ResultExt as _};
use serde::{Deserialize, Serialize};

/// What another `berth` process needs to talk to a session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    /// Id of the session.
    pub(crate) session: String,
    /// Process id of `berth dev`.
    pub(crate) pid: u32,
    /// Its Docker API socket.
    pub(crate) socket: PathBuf,
    /// Where the gateway listens.
    pub(crate) url: String,
}

fn path_in(project: &Path) -> PathBuf {
    project.join(".berth/session.json")
}

impl SessionRecord {
    /// Writes the record so that readers see all of it or none.
    pub(crate) fn write(&self, project: &Path) -> Result<(), Report> {
        let path = path_in(project);
        let describe = || format!("could not write `{}`", path.display());
        let temporary = path.with_extension("json.tmp");
        let text = serde_json::to_string_pretty(self).context(describe())?;
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).context(describe())?;
        }
        fs_err::write(&temporary, text).context(describe())?;
        fs_err::rename(&temporary, &path).context(describe())
    }

    /// Removes the record if it is still this session's.
    pub(crate) fn remove(project: &Path, session: &str) {
        if Self::read(project).is_some_and(|record| record.session == session)
            && let Err(error) = fs_err::remove_file(path_in(project))
        {
            tracing::debug!(%error, "the session record stays behind");
        }
    }

    fn read(project: &Path) -> Option<Self> {
        let text = fs_err::read_to_string(path_in(project)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The session of the project in `directory` or the nearest directory above it.
    pub(crate) fn find(directory: &Path) -> Result<Self, Report> {
        let directory = crate::paths::absolute(directory)?;
        directory
            .ancestors()
            .find_map(Self::read)
            .filter(|record| std::os::unix::net::UnixStream::connect(&record.socket).is_ok())
            .ok_or_else(|| {
                Report::new(
                    format!("no `berth dev` session runs for `{}`", directory.display()),
                    Some(
                        "start one with `berth dev`, or name the project with `--project`"
                            .to_owned(),
                    ),
                )
            })
    }
}
