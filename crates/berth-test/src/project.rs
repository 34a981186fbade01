//! A project directory of one test: a copy of an example, or files of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::World;

/// A temporary project. The directory goes away with the last clone of the value.
#[derive(Clone, Debug)]
pub struct Project {
    directory: std::sync::Arc<TempDir>,
}

impl Project {
    /// An empty directory.
    pub fn empty() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("berth-project-")
            .tempdir()
            .expect("create a project directory");
        Self {
            directory: std::sync::Arc::new(directory),
        }
    }

    /// A copy of one of the repository's examples.
    pub fn example(name: &str) -> Self {
        let source = repository().join("examples").join(name);
        Self::copy_of(&source)
    }

    /// A copy of a directory.
    pub fn copy_of(source: &Path) -> Self {
        assert!(
            source.is_dir(),
            "there is no project in {}",
            source.display()
        );
        let project = Self::empty();
        copy_tree(source, project.path());
        project
    }

    /// The project's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, making its directory.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        let parent = path.parent().expect("a file has a directory");
        std::fs::create_dir_all(parent).expect("create a directory of the project");
        std::fs::write(path, content).expect("write a file of the project");
        self
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).expect("read a file of the project")
    }

    /// Replaces one piece of text in a file, which must be there.
    pub fn replace(&self, path: &str, from: &str, to: &str) -> &Self {
        let text = self.read(path);
        assert!(text.contains(from), "`{path}` does not contain `{from}`");
        self.write(path, text.replacen(from, to, 1))
    }

    /// Copies a file from elsewhere into the project, with its mode.
    pub fn copy(&self, from: &Path, to: &str) -> &Self {
        let to = self.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a file has a directory"))
            .expect("create a directory of the project");
        std::fs::copy(from, to).expect("copy a file into the project");
        self
    }

    /// Puts one version of an npm package without dependencies into `node_modules`, as
    /// `npm install` would. Fetched once by name and kept.
    pub fn install(&self, world: &World, package: &str, version: &str) -> &Self {
        let key = format!("{}@{version}", package.replace('/', "+"));
        let made = world.cached(&key, |directory| {
            let status = Command::new("npm")
                .args([
                    "install",
                    "--silent",
                    "--ignore-scripts",
                    "--no-package-lock",
                ])
                .args(["--no-save", "--prefix"])
                .arg(directory)
                .arg(format!("{package}@{version}"))
                .current_dir(directory)
                .status()
                .expect("run npm");
            assert!(
                status.success(),
                "npm could not install {package}@{version}"
            );
        });
        copy_tree(
            &made.join("node_modules").join(package),
            &self.path().join("node_modules").join(package),
        );
        self
    }
}

/// The root of the repository.
fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .expect("the crate is in crates/")
        .to_owned()
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create a directory");
    for entry in std::fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read a directory");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("read a file's type");
        if kind.is_dir() {
            if entry.file_name() != ".berth" {
                copy_tree(&entry.path(), &target);
            }
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}
