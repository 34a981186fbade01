//! The shared surroundings of all tests: the binary, its directories, the base images.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use rustix::fs::FlockOperation;

use crate::{EngineSession, Project, ServerSession, SessionBuilder, capability};

/// The base images of the examples and tests. They are made before the first session so that no
/// test's deadline includes them.
const BASE_IMAGES: [&str; 3] = ["debian:bookworm-slim", "node:22-slim", "python:3.11-slim"];

/// Where the tests' sessions live. Cheap to clone.
#[derive(Clone, Debug)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    binary: PathBuf,
    root: PathBuf,
}

impl World {
    /// The world around one `berth` binary: pass `env!("CARGO_BIN_EXE_berth")`.
    ///
    /// The first call in a process checks the machine and makes the base images if they are missing.
    pub fn open(binary: &str) -> Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD
            .get_or_init(|| {
                capability::require();
                let root = test_root();
                std::fs::create_dir_all(&root).expect("create the tests' directory");
                let binary = PathBuf::from(binary);
                let world = Self {
                    inner: Arc::new(Inner { binary, root }),
                };
                world.prepare();
                world
            })
            .clone()
    }

    /// A `berth dev` session on a project, to be configured and started.
    pub fn dev(&self, project: &Project) -> SessionBuilder {
        SessionBuilder::new(self.clone(), project)
    }

    /// A running `berth engine`. Others wait until it has ended.
    pub async fn engine(&self) -> EngineSession {
        EngineSession::start(self.clone()).await
    }

    /// A `berth engine` with a data directory of its own, which dies when it reaches a crash point
    /// of which a file is in `crash_points`.
    pub async fn engine_in(&self, data: &Path, crash_points: &Path) -> EngineSession {
        EngineSession::start_in(self.clone(), data, crash_points).await
    }

    /// A running `berth serve` with this data directory.
    pub async fn server(&self, data: &Path) -> ServerSession {
        ServerSession::start(self.clone(), data, &[], &[]).await
    }

    /// The same with more arguments.
    pub async fn server_with(&self, data: &Path, more: &[&str]) -> ServerSession {
        ServerSession::start(self.clone(), data, more, &[]).await
    }

    /// The same, run from another file with the program.
    pub async fn server_from(&self, program: &Path, data: &Path) -> ServerSession {
        let command = self.command_of(program);
        ServerSession::start_as(self.clone(), command, data, &[], &[]).await
    }

    /// The same for one that kills itself at the points whose names are files in `crash`.
    pub async fn server_that_crashes(&self, data: &Path, crash: &Path) -> ServerSession {
        let crash = crash.to_str().expect("a test's directory is text");
        self.server_in(data, &[], &[(berth_crash::VARIABLE, crash)])
            .await
    }

    /// The same with more arguments and variables.
    pub async fn server_in(
        &self,
        data: &Path,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> ServerSession {
        ServerSession::start(self.clone(), data, more, variables).await
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.inner.binary
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.inner.root.join("data")
    }

    /// Where all of its directories are.
    pub(crate) fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Its cache directory.
    pub fn cache_dir(&self) -> PathBuf {
        self.inner.root.join("cache")
    }

    /// `berth` with the tests' directories; add arguments and run it.
    pub fn command(&self) -> Command {
        self.command_of(&self.inner.binary)
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("BERTH_DATA_DIR", self.data_dir())
            .env("BERTH_CACHE_DIR", self.cache_dir())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs `berth` with these arguments to its end.
    pub async fn run<I, S>(&self, arguments: I) -> Output
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = self.command();
        command.args(arguments);
        crate::run(command, b"").await
    }

    /// A directory for something that is made once and kept; `make` fills a directory that takes
    /// its place when it is complete.
    pub(crate) fn cached(&self, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
        cached_in(&self.inner.root, name, make)
    }

    /// A data directory for one server at a time that has the base images, and nothing deployed. It is
    /// kept, and what was deployed goes with the next call.
    pub fn data_with_images(&self, name: &str) -> PathBuf {
        let data = self.cached(&format!("server-{name}"), |data| {
            self.add_base_images(data);
        });
        for part in ["server", "registry", "keys"] {
            match std::fs::remove_dir_all(data.join(part)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    panic!("clear {part} of {}: {error}", data.display())
                }
                _ => {}
            }
        }
        data
    }

    /// Puts the base images into a data directory that has no images.
    pub fn add_base_images(&self, data: &Path) {
        copy_all(&self.base_images(), data);
    }

    fn prepare(&self) {
        let _lock = lock(&self.inner.root.join("base-images.lock"));
        let data = self.data_dir();
        if !data.exists() {
            self.add_base_images(&data);
        }
        // Those whose recipe has changed.
        self.make_images(&data);
    }

    /// A data directory with the base images, in which nothing ever runs.
    fn base_images(&self) -> PathBuf {
        self.cached("base-images", |data| self.make_images(data))
    }

    fn make_images(&self, data: &Path) {
        for name in BASE_IMAGES {
            let output = self
                .command()
                .env("BERTH_DATA_DIR", data)
                .args(["images", "make", name])
                .stderr(Stdio::inherit())
                .output()
                .expect("run berth images make");
            assert!(
                output.status.success(),
                "the base image {name} could not be made"
            );
        }
    }
}

/// Copies what is in a directory, with all that the file system knows of it.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create a directory");
    let status = Command::new("cp")
        .args(["--archive", "--reflink=auto", "--no-target-directory"])
        .args([from, to])
        .status();
    let copied = status.is_ok_and(|status| status.success());
    assert!(copied, "{} could not be copied", from.display());
}

/// See [`World::cached`].
pub(crate) fn cached_in(root: &Path, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let parent = root.join("made");
    std::fs::create_dir_all(&parent).expect("create the cache");
    let path = parent.join(name);
    let _lock = lock(&parent.join(format!("{name}.lock")));
    if !path.exists() {
        let temporary = tempfile::tempdir_in(&parent).expect("create a temporary directory");
        make(temporary.path());
        std::fs::rename(temporary.keep(), &path).expect("move what was made into place");
    }
    path
}

/// `$BERTH_TEST_DIR`, or `berth-test` in the target directory this test was built in.
pub(crate) fn test_root() -> PathBuf {
    if let Some(directory) = std::env::var_os("BERTH_TEST_DIR") {
        return PathBuf::from(directory);
    }
    let executable = std::env::current_exe().expect("find the test's own executable");
    // <target>/<profile>/deps/<test>
    let target = executable
        .ancestors()
        .nth(3)
        .expect("tests are built in a target directory");
    target.join("berth-test")
}

/// An exclusive lock that ends with the returned file.
pub(crate) fn lock(path: &Path) -> File {
    let file = File::create(path).expect("create a lock file");
    rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("lock");
    file
}
