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
            git: Git { agent },
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
                let tree = directory.path().join("tree");
                fs_err::create_dir(&tree)?;
                self.git.check_out(&repository, &commit, &tree).await?;
                Ok(Files {
                    path: format!("tree/{}", repository.directory),
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
