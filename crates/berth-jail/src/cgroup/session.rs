//! A session's groups: the parents of its sandboxes' groups, and the place of its helpers.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Capabilities, Hierarchies, SandboxGroup, write};

/// Group of the zygote and of adopted processes, beside the sandboxes' groups: version 2 allows no
/// process in a group that has children with controllers.
const HELPERS: &str = "helpers";

/// One session's place in every hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    hierarchies: Hierarchies,
    path: String,
}

impl Session {
    /// Checks the path (relative, no `..`) and reads the machine's hierarchies.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if path.is_empty() || !Path::new(path).components().all(plain) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self {
            hierarchies: Hierarchies::detect()?,
            path: path.to_owned(),
        })
    }

    /// What works here.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.hierarchies.capabilities()
    }

    /// The groups of one sandbox.
    pub(crate) fn sandbox(&self, name: &str) -> SandboxGroup {
        SandboxGroup::new(&self.hierarchies, &self.path, name)
    }

    /// Makes the directories and, in version 2, hands the controllers down. A controller that
    /// cannot be handed down is dropped from what [`Session::capabilities`] reports.
    pub(crate) fn create(&mut self) -> io::Result<()> {
        for root in self.hierarchies.roots() {
            make(&root.join(&self.path))?;
        }
        let Some(root) = self.hierarchies.unified.clone() else {
            return Ok(());
        };
        let path = root.join(&self.path);
        let mut levels: Vec<PathBuf> = path
            .ancestors()
            .take_while(|level| level.starts_with(&root))
            .map(Path::to_owned)
            .collect();
        levels.reverse();
        self.hierarchies.unified_controllers.retain(|controller| {
            levels.iter().all(|level| {
                write(
                    &level.join("cgroup.subtree_control"),
                    &format!("+{controller}"),
                )
                .is_ok()
            })
        });
        Ok(())
    }

    /// Moves a process of ours into the session, in the tracking hierarchy only.
    pub(crate) fn adopt(&self, pid: u32) -> io::Result<()> {
        let Some(root) = self.hierarchies.tracking() else {
            return Ok(());
        };
        let directory = root.join(&self.path).join(HELPERS);
        make(&directory)?;
        write(&directory.join("cgroup.procs"), &pid.to_string())
    }

    /// Moves the calling process back to the root of the tracking hierarchy.
    pub(crate) fn leave(&self) -> io::Result<()> {
        match self.hierarchies.tracking() {
            Some(root) => write(&root.join("cgroup.procs"), "0"),
            None => Ok(()),
        }
    }

    /// Removes the session's own directories if nothing lives in them any more, and the parents
    /// that this leaves empty.
    pub(crate) fn remove(&self) {
        for root in self.hierarchies.roots() {
            let path = root.join(&self.path);
            let _ = std::fs::remove_dir(path.join(HELPERS));
            for level in path.ancestors().take_while(|level| *level != root) {
                // Fails, as it should, while another session's groups or processes are there.
                if std::fs::remove_dir(level).is_err() && level.exists() {
                    break;
                }
            }
        }
    }

    /// Kills what is in the groups of sandboxes, frozen or not, and removes them: for when their
    /// zygote is dead.
    pub(crate) fn sweep_sandboxes(&self) -> io::Result<()> {
        let mut groups = Vec::new();
        for directory in self.directories() {
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            let all = entries.flatten().filter(|entry| {
                entry.file_name() != HELPERS && entry.file_type().is_ok_and(|kind| kind.is_dir())
            });
            groups.extend(all.map(|entry| entry.path()));
        }
        if groups.is_empty() {
            return Ok(());
        }
        super::sweep::clear(&groups)
    }

    /// Kills the processes beside the zygote, whose id is `zygote`, and waits for their end.
    pub(crate) fn sweep_helpers(&self, zygote: u32) -> io::Result<()> {
        match self.hierarchies.tracking() {
            Some(root) => super::sweep::end_all_but(&root.join(&self.path).join(HELPERS), zygote),
            None => Ok(()),
        }
    }

    /// The session's directory in every hierarchy.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let roots = self.hierarchies.roots();
        roots.iter().map(|root| root.join(&self.path)).collect()
    }
}

/// Makes a directory and its parents, also while another session that ends removes a parent, which was
/// empty a moment ago ([`Session::remove`]).
fn make(directory: &Path) -> io::Result<()> {
    use io::ErrorKind::{AlreadyExists, NotFound};
    // Each further attempt needs another session to end between two system calls.
    for _ in 0..100 {
        match std::fs::create_dir_all(directory) {
            // Seen and gone, or made and gone, before the next level was.
            Err(error) if matches!(error.kind(), AlreadyExists | NotFound) => {}
            outcome => return outcome,
        }
    }
    std::fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_begin_and_end_at_once_do_not_take_each_others_parents() {
        let parent = format!("berth-test-parent-{}", std::process::id());
        std::thread::scope(|scope| {
            for name in ["one", "two"] {
                let path = format!("{parent}/{name}");
                scope.spawn(move || {
                    let mut session = Session::open(&path).unwrap();
                    for _ in 0..500 {
                        let created = session.create();
                        session.remove();
                        created.unwrap();
                    }
                });
            }
        });
        let gone = Session::open(&parent).unwrap();
        assert!(gone.directories().iter().all(|path| !path.exists()));
    }
}
