//! A bare repository with two commits, the first of them tagged, in `<root>/repository.git`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "support of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Repository {
    root: PathBuf,
    first: String,
}

impl Repository {
    /// Makes it, and what it takes to be read as plain files.
    pub(crate) fn make(root: &Path) -> Self {
        let work = root.join("work");
        std::fs::create_dir_all(work.join("docs/api")).unwrap();
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
                .args(arguments)
                .current_dir(&work)
                .env("GIT_COMMITTER_DATE", "1000000000 +0000")
                .output()
                .expect("the tests need git");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "--quiet", "--initial-branch=main", "."]);
        std::fs::write(work.join("docs/api/file"), "one").unwrap();
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", "one"]);
        git(&["tag", "-a", "-m", "v1", "v1"]);
        let first = git(&["rev-parse", "HEAD"]);
        std::fs::write(work.join("docs/api/file"), "two").unwrap();
        git(&["commit", "--quiet", "-a", "-m", "two"]);
        let bare = "../repository.git";
        git(&["clone", "--quiet", "--bare", ".", bare]);
        git(&["-C", bare, "update-server-info"]);
        Self {
            root: root.to_owned(),
            first,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The commit that `v1` names.
    pub(crate) fn first(&self) -> &str {
        &self.first
    }
}
