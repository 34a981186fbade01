//! A store with a tiny base image, a context directory and a zygote, all removed at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "support of tests")]
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use berth_build::{BuildError, BuildEvent, BuildHost, BuildRequest, HostFuture, Outcome, build};
use berth_image::{Image, ImageStore};
use berth_jail::{OnDisconnect, Zygote, ZygoteConfig};

/// The last step of every build.
const EXPORT: &str = "exporting to image";

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: ImageStore,
    zygote: tokio::sync::OnceCell<Zygote>,
    cgroup: String,
}

/// What one build said and made.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) image: Image,
    pub(crate) events: Vec<BuildEvent>,
}

impl Built {
    /// Lines that `RUN`s wrote.
    pub(crate) fn output(&self) -> Vec<&str> {
        let export = self.events.iter().find_map(|event| match event {
            BuildEvent::Started { step, name } if name == EXPORT => Some(*step),
            _ => None,
        });
        self.events
            .iter()
            .filter_map(|event| match event {
                BuildEvent::Output { step, line } if Some(*step) != export => Some(line.as_str()),
                _ => None,
            })
            .collect()
    }

    /// For each step, in the order in which they began, whether it was cached.
    pub(crate) fn cached(&self) -> Vec<bool> {
        let mut steps: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match event {
                BuildEvent::Started { step, name } if name != EXPORT => {
                    Some((*step, self.outcome(*step) == Some(&Outcome::Cached)))
                }
                _ => None,
            })
            .collect();
        steps.sort_unstable();
        steps.into_iter().map(|(_, cached)| cached).collect()
    }

    fn outcome(&self, number: usize) -> Option<&Outcome> {
        self.events.iter().find_map(|event| match event {
            BuildEvent::Finished { step, outcome } if *step == number => Some(outcome),
            _ => None,
        })
    }

    /// How the step with this text in its name ended.
    pub(crate) fn outcome_of(&self, text: &str) -> Option<&Outcome> {
        outcome_of(&self.events, text)
    }
}

/// How the step with this text in its name ended.
pub(crate) fn outcome_of<'a>(events: &'a [BuildEvent], text: &str) -> Option<&'a Outcome> {
    let number = events.iter().find_map(|event| match event {
        BuildEvent::Started { step, name } if name.contains(text) => Some(*step),
        _ => None,
    })?;
    events.iter().find_map(|event| match event {
        BuildEvent::Finished { step, outcome } if *step == number => Some(outcome),
        _ => None,
    })
}

/// The test images' program, compiled once per test binary.
fn tool() -> &'static [u8] {
    static TOOL: OnceLock<Vec<u8>> = OnceLock::new();
    TOOL.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("tool");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tool.c");
        let status = std::process::Command::new("gcc")
            .args(["-static", "-Os", "-o"])
            .args([&out, &source])
            .status()
            .expect("the tests need gcc");
        assert!(status.success());
        std::fs::read(out).unwrap()
    })
}

/// Nothing is brought in: what is not there is missing.
impl BuildHost for World {
    fn zygote(&self) -> HostFuture<'_, Zygote> {
        Box::pin(async { Ok(World::zygote(self).await.clone()) })
    }

    fn provide<'a>(
        &'a self,
        _reference: &'a str,
        _progress: &'a (dyn Fn(String) + Send + Sync),
    ) -> HostFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&directory.path().join("store")).unwrap();
        std::fs::create_dir(directory.path().join("context")).unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap();
        let cgroup = format!("berth-test/build-{}", name.trim_start_matches('.'));
        let world = Self {
            directory,
            store,
            zygote: tokio::sync::OnceCell::new(),
            cgroup,
        };
        world.base();
        world
    }

    /// `base`: a shell, /etc with users, and a link /lib → usr/lib.
    fn base(&self) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, mode: u32, data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_000_000_000);
            if name.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
            }
            tar.append_data(&mut header, name, data).unwrap();
        };
        for directory in [
            "bin/", "dev/", "etc/", "proc/", "sys/", "usr/", "usr/lib/", "tmp/",
        ] {
            add(directory, 0o755, b"");
        }
        add("bin/sh", 0o755, tool());
        add(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
        );
        add("etc/group", 0o644, b"root:x:0:\napp:x:1001:\nstaff:x:50:\n");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_link(&mut header, "lib", "usr/lib").unwrap();
        let tar = tar.into_inner().unwrap();
        self.store.import_rootfs(tar.as_slice(), "base").unwrap();
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.context().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        let path = self.directory.path().join("Dockerfile");
        std::fs::write(&path, dockerfile).unwrap();
        BuildRequest {
            dockerfile: path,
            context: self.context(),
            tags: vec!["built".to_owned()],
            ..BuildRequest::default()
        }
    }

    pub(crate) async fn zygote(&self) -> &Zygote {
        self.zygote
            .get_or_init(async || {
                Zygote::launch(ZygoteConfig {
                    executable: berth_jail::test_zygote().unwrap(),
                    cgroup: self.cgroup.clone(),
                    on_disconnect: OnDisconnect::KillAll,
                })
                .await
                .unwrap()
            })
            .await
    }

    pub(crate) async fn run(&self, request: &BuildRequest) -> Result<Built, BuildError> {
        let (image, events) = self.attempt(request).await;
        Ok(Built {
            image: image?,
            events,
        })
    }

    /// A build that may fail, with what it told.
    pub(crate) async fn attempt(
        &self,
        request: &BuildRequest,
    ) -> (Result<Image, BuildError>, Vec<BuildEvent>) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let keep = |event| events.lock().unwrap().push(event);
        let image = build(&self.store, self, request, &keep).await;
        let events = events.lock().unwrap().clone();
        (image, events)
    }

    pub(crate) async fn build(&self, dockerfile: &str) -> Built {
        match self.run(&self.request(dockerfile)).await {
            Ok(built) => built,
            Err(error) => panic!("{}", berth_error::Report::from(error).render_plain()),
        }
    }

    /// The report of a build that must fail; the test's directory is `[DIR]`.
    pub(crate) async fn fail(&self, dockerfile: &str) -> String {
        let error = self.run(&self.request(dockerfile)).await.unwrap_err();
        self.assert_clean();
        let report = berth_error::Report::from(error).render_plain();
        report.replace(self.directory.path().to_str().unwrap(), "[DIR]")
    }

    /// The image's file system, its layers applied one after the other.
    pub(crate) fn tree(&self, image: &Image) -> Tree {
        Tree(
            image
                .layers
                .iter()
                .rev()
                .map(|layer| self.store.layer_path(layer))
                .collect(),
        )
    }

    /// Nothing unfinished is left, and nothing is mounted.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.store.scratch_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.directory.path().to_str().unwrap();
        assert!(!mounts.contains(here), "{mounts}");
    }

    pub(crate) async fn close(self) {
        self.assert_clean();
        if let Some(zygote) = self.zygote.get() {
            zygote.shutdown().await;
        }
    }
}

/// Layers, topmost first, looked up as overlayfs does for names without links.
pub(crate) struct Tree(Vec<PathBuf>);

impl Tree {
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        for layer in &self.0 {
            let path = layer.join(name);
            if let Ok(metadata) = std::fs::symlink_metadata(&path) {
                let whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
                return (!whiteout).then_some(path);
            }
        }
        None
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self
            .path(name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        std::fs::read_to_string(path).unwrap()
    }

    pub(crate) fn metadata(&self, name: &str) -> std::fs::Metadata {
        let path = self
            .path(name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        std::fs::symlink_metadata(path).unwrap()
    }

    /// Everything in the topmost layer, sorted.
    pub(crate) fn top(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![self.0[0].clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                names.push(
                    path.strip_prefix(&self.0[0])
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                }
            }
        }
        names.sort();
        names
    }
}
