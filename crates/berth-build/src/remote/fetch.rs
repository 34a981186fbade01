//! From a remote source to files in a directory, in two steps: what it is now, for the cache; and, if
//! that is not known, the files.

use std::path::{Path, PathBuf};

use berth_image::Root;
use tokio::sync::OnceCell;

use super::clone::Git;
use super::http::Http;
use super::{Remote, RemoteError};
use crate::context::ignore::Ignore;
use crate::copy::{CopyPlan, Sources, Writer};
use crate::error::{Problem, StepError};

/// Where a repository is checked out, in its scratch directory.
const TREE: &str = "tree";
/// Most bytes of an archive that is looked into for its time.
const MAX_DATED: u64 = 4 << 30;

/// Fetches for one build.
#[derive(Debug)]
pub(crate) struct Fetcher {
    /// Made when it is needed: reading the host's certificates takes a while.
    http: OnceCell<Http>,
    git: Git,
    /// Where what servers said is kept.
    memory: PathBuf,
    /// Where files are put; on the store's file system.
    scratch: PathBuf,
    ca_bundle: Option<PathBuf>,
    use_memory: bool,
}

/// A remote source whose state is known.
#[derive(Debug)]
pub(crate) struct Resolved {
    remote: Remote,
    /// Everything that the files depend on.
    pub(crate) identity: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Here(tempfile::TempDir),
    /// With the commit, of a repository.
    Later(String),
}

/// The files of a remote source.
#[derive(Debug)]
pub(crate) struct Files {
    directory: tempfile::TempDir,
    /// Below it.
    path: String,
    is_file: bool,
    url: String,
}

impl Fetcher {
    pub(crate) fn new(
        memory: PathBuf,
        scratch: PathBuf,
        ca_bundle: Option<PathBuf>,
        agent: Option<PathBuf>,
        use_memory: bool,
    ) -> Self {
        Self {
            http: OnceCell::new(),
            git: Git::new(agent, ca_bundle.clone()),
            memory,
            scratch,
            ca_bundle,
            use_memory,
        }
    }

    /// What a source is now.
    pub(crate) async fn resolve(&self, remote: &Remote) -> Result<Resolved, RemoteError> {
        let (identity, content) = match remote {
            Remote::Git(repository) => {
                let commit = self.git.commit(repository).await?;
                let identity = format!(
                    "git {commit} {} {} {}",
                    repository.directory, repository.keep_git_dir, repository.submodules
                );
                (identity, Content::Later(commit))
            }
            Remote::Http(download) => match &download.checksum {
                Some(checksum) => {
                    let identity = format!("http {} {checksum}", download.name);
                    (identity, Content::Later(String::new()))
                }
                None => {
                    let directory = self.directory()?;
                    let file = directory.path().join(&download.name);
                    let http = self.http().await?;
                    let (known, fetched) = http.ask(download, &file, self.use_memory).await?;
                    let content = if fetched {
                        Content::Here(directory)
                    } else {
                        Content::Later(String::new())
                    };
                    (known.identity(&download.name), content)
                }
            },
        };
        Ok(Resolved {
            remote: remote.clone(),
            identity,
            content,
        })
    }

    /// The files of a source.
    pub(crate) async fn fetch(&self, resolved: Resolved) -> Result<Files, RemoteError> {
        let Resolved {
            remote, content, ..
        } = resolved;
        match remote {
            Remote::Http(download) => {
                let directory = match content {
                    Content::Here(directory) => directory,
                    Content::Later(_) => {
                        let directory = self.directory()?;
                        let file = directory.path().join(&download.name);
                        self.http().await?.ask(&download, &file, false).await?;
                        directory
                    }
                };
                Ok(Files {
                    directory,
                    path: download.name,
                    is_file: true,
                    url: download.url,
                })
            }
            Remote::Git(repository) => {
                let Content::Later(commit) = content else {
                    return Err(std::io::Error::other("a repository without a commit").into());
                };
                let directory = self.directory()?;
                let tree = directory.path().join(TREE);
                fs_err::create_dir(&tree)?;
                self.git.check_out(&repository, &commit, &tree).await?;
                Ok(Files {
                    path: format!("{TREE}/{}", repository.directory),
                    is_file: false,
                    directory,
                    url: repository.url,
                })
            }
        }
    }

    async fn http(&self) -> Result<&Http, RemoteError> {
        let make = async || Http::new(self.memory.clone(), self.ca_bundle.as_deref());
        self.http.get_or_try_init(make).await
    }

    fn directory(&self) -> std::io::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("add-")
            .tempdir_in(&self.scratch)
    }
}

impl Files {
    /// When they were made, in Unix seconds: a commit's time, a file's `Last-Modified`, or else the time
    /// of the newest file in it if it is an archive.
    pub(crate) fn time(&self) -> std::io::Result<Option<u64>> {
        let path = self.directory.path().join(&self.path);
        if !self.is_file {
            return seconds(&self.directory.path().join(TREE));
        }
        match seconds(&path)? {
            Some(0) | None => {}
            known => return Ok(known),
        }
        let into = tempfile::tempdir_in(self.directory.path())?;
        let directory = Root::open(into.path())?;
        let options = berth_image::ExtractOptions {
            max_bytes: Some(MAX_DATED),
            ..berth_image::ExtractOptions::default()
        };
        let file = fs_err::File::open(&path)?;
        let tree = directory.as_fd().try_clone_to_owned()?;
        if berth_image::extract_into(tree, b"", file, options).is_err() {
            // No archive, then.
            return Ok(None);
        }
        newest(into.path())
    }

    /// Copies them to where the step wants them.
    pub(crate) fn write(&self, plan: &CopyPlan, writer: &mut Writer<'_>) -> Result<(), StepError> {
        let root = Root::open(self.directory.path())?;
        let ignore = Ignore::default();
        let sources = Sources {
            root: &root,
            ignore: &ignore,
            name: format!("`{}`", super::http::shown(&self.url)),
        };
        let exclude = if self.is_file { &[][..] } else { &plan.exclude };
        let failed = |error| match error {
            crate::copy::SelectError::Io(error) => StepError::Io(error),
            crate::copy::SelectError::Problem(Problem { problem, .. }) => {
                StepError::Io(std::io::Error::new(std::io::ErrorKind::NotFound, problem))
            }
        };
        // Below the directory of the checkout.
        let shown = self.path.split_once('/').map_or("", |(_, inside)| inside);
        let selection = sources
            .exactly(Path::new(&self.path), shown, exclude)
            .map_err(failed)?;
        let unpack = self.is_file && plan.unpack == Some(true);
        writer.groups(&root, &selection.groups, unpack)
    }
}

fn seconds(path: &Path) -> std::io::Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(u64::try_from(fs_err::symlink_metadata(path)?.mtime()).ok())
}

/// The time of the newest regular file in a directory.
fn newest(directory: &Path) -> std::io::Result<Option<u64>> {
    let mut found = None;
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found = found.max(newest(&entry.path())?);
        } else if kind.is_file() {
            found = found.max(seconds(&entry.path())?);
        }
    }
    Ok(found)
}
