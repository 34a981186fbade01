//! Files of the host that no build may change, and a secret that no build may read.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use berth_build::{BuildError, BuildRequest};
use berth_error::Report;
use berth_image::Image;

use crate::world::World;

pub(crate) struct Canary {
    directory: tempfile::TempDir,
    secret: String,
    before: Vec<String>,
}

impl Canary {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("canary").tempdir().unwrap();
        let path = directory.path();
        // Open to every user, so that only the sandbox keeps anybody out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let secret = format!("canary {}", uuid::Uuid::new_v4());
        std::fs::write(path.join("secret"), &secret).unwrap();
        std::fs::write(path.join("stub"), "").unwrap();
        std::fs::create_dir(path.join("hollow")).unwrap();
        for name in ["secret", "stub", "hollow"] {
            std::fs::set_permissions(path.join(name), std::fs::Permissions::from_mode(0o777))
                .unwrap();
        }
        let before = listing(path);
        Self {
            directory,
            secret,
            before,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path as text.
    pub(crate) fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    /// `../../..` and so on down to the canary, for links that begin anywhere.
    pub(crate) fn up(&self) -> String {
        format!(
            "{}{}",
            "../".repeat(40),
            self.text().trim_start_matches('/')
        )
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Nothing was made, changed or removed.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(listing(self.path()), self.before);
    }

    /// Neither was the secret read into an image.
    #[track_caller]
    pub(crate) fn assert_unseen(&self, world: &World, image: &Image) {
        self.assert_untouched();
        for layer in &image.layers {
            self.assert_not_below(&world.store.layer_path(layer));
        }
        let config = world.store.config_json(image).unwrap().to_string();
        assert!(!config.contains(&self.secret), "{config}");
    }

    /// A build that must succeed, because what it tried meant something harmless inside.
    #[track_caller]
    pub(crate) fn assert_built(&self, world: &World, built: Result<Image, BuildError>) -> Image {
        match built {
            Ok(image) => {
                self.assert_unseen(world, &image);
                image
            }
            Err(error) => panic!("{}", Report::from(error).render_plain()),
        }
    }

    /// A build that must be refused, and for this reason.
    #[track_caller]
    pub(crate) fn assert_refused(&self, built: Result<Image, BuildError>, why: &str) {
        match built {
            Ok(image) => panic!("built as {}", image.id),
            Err(error) => {
                let report = Report::from(error).render_plain();
                self.assert_not_in(&report);
                assert!(report.contains("Dockerfile:"), "{report}");
                assert!(report.contains(why), "expected `{why}` in: {report}");
            }
        }
    }

    /// Nor told.
    #[track_caller]
    pub(crate) fn assert_not_in(&self, text: &str) {
        self.assert_untouched();
        assert!(!text.contains(&self.secret), "{text}");
    }

    /// Whether the build fails or not; the image if it does not.
    pub(crate) async fn assert_kept(&self, world: &World, request: &BuildRequest) -> Option<Image> {
        match world.attempt(request).await.0 {
            Ok(image) => {
                self.assert_unseen(world, &image);
                Some(image)
            }
            Err(error) => {
                self.assert_not_in(&berth_error::Report::from(error).render_plain());
                None
            }
        }
    }

    #[track_caller]
    fn assert_not_below(&self, path: &Path) {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.assert_not_below(&entry.path());
            } else if kind.is_file() {
                let content = std::fs::read(entry.path()).unwrap();
                let secret = self.secret.as_bytes();
                let found = content.windows(secret.len()).any(|part| part == secret);
                assert!(!found, "the secret is in {}", entry.path().display());
            }
        }
    }
}

fn listing(path: &Path) -> Vec<String> {
    let mut lines = vec![line(path)];
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lines.extend(listing(&path));
        } else {
            lines.push(line(&path));
        }
    }
    lines.sort();
    lines
}

fn line(path: &Path) -> String {
    let of = std::fs::symlink_metadata(path).unwrap();
    let content = if of.is_file() {
        std::fs::read_to_string(path).unwrap()
    } else {
        String::new()
    };
    format!(
        "{} {:o} {}:{} {} {} {content}",
        path.display(),
        of.mode(),
        of.uid(),
        of.gid(),
        of.nlink(),
        of.mtime()
    )
}
