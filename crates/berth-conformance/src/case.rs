//! One Dockerfile of the corpus with what it needs: `<name>/Dockerfile`, `<name>/case.json` and
//! `<name>/context/`, of which only the first must be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err as fs;
use serde::Deserialize;

/// Directory of a corpus that is no case.
const IMAGES: &str = "images";

/// A Dockerfile and how it is built.
#[derive(Clone, Debug)]
pub struct Case {
    /// The directory's name; the image is `corpus/<name>`.
    pub name: String,
    /// Where it is.
    pub directory: PathBuf,
    /// Content of the Dockerfile.
    pub dockerfile: Vec<u8>,
    /// The rest.
    pub settings: Settings,
}

/// `case.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the case is about, for whoever reads it.
    pub about: String,
    /// Where the Dockerfile lies in the context; `Dockerfile` if not said.
    pub dockerfile: Option<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--secret id=KEY` with this content.
    pub secrets: BTreeMap<String, String>,
    /// What is in the context besides the files below `context/`.
    pub context: Vec<Entry>,
    /// Cases whose images this one uses: they are built first.
    pub needs: Vec<String>,
    /// The build must fail, in both; nothing else is compared.
    pub fails: bool,
    /// Files below `context/` keep modes, owners, links and attributes as they are on disk, which git does
    /// not keep: for a corpus from elsewhere.
    pub exact_context: bool,
    /// Needs the newest Dockerfile frontend, which the recording Docker may not have built in.
    pub labs: bool,
}

/// One file of a context or an archive.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Relative to the context or the archive's root; an archive may also name paths outside.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Octal; 644, or 755 for directories, if not said.
    #[serde(default)]
    pub mode: Option<String>,
    /// `uid:gid`; root if not said.
    #[serde(default)]
    pub owner: Option<String>,
    /// Extended attributes.
    #[serde(default)]
    pub xattrs: BTreeMap<String, String>,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file with this content.
    Text(String),
    /// A regular file of this many zeros.
    Zeros(u64),
    /// A directory; `true`.
    Directory(bool),
    /// A symbolic link to this.
    Symlink(String),
    /// A second name of this file, which came before.
    Link(String),
    /// A fifo; `true`.
    Fifo(bool),
    /// A listening socket's file; `true`. Contexts only.
    Socket(bool),
    /// A character device; `[major, minor]`.
    Device([u32; 2]),
    /// An archive of these; the path's end says how it is compressed.
    Archive(Vec<Entry>),
}

impl Entry {
    /// Permission bits.
    pub(crate) fn permissions(&self) -> anyhow::Result<u32> {
        match &self.mode {
            Some(mode) => u32::from_str_radix(mode, 8)
                .with_context(|| format!("`{}`: mode `{mode}`", self.path)),
            None => Ok(match self.kind {
                EntryKind::Directory(_) => 0o755,
                _ => 0o644,
            }),
        }
    }

    /// User and group.
    pub(crate) fn ids(&self) -> anyhow::Result<(u32, u32)> {
        let Some(owner) = &self.owner else {
            return Ok((0, 0));
        };
        let parse = || {
            let (uid, gid) = owner.split_once(':')?;
            Some((uid.parse().ok()?, gid.parse().ok()?))
        };
        parse().with_context(|| format!("`{}`: owner `{owner}`", self.path))
    }
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// Its Dockerfile is missing, or `case.json` is malformed.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let name = directory
            .file_name()
            .and_then(|name| name.to_str())
            .context("a case's directory has a name")?
            .to_owned();
        let settings = directory.join("case.json");
        let settings = if settings.exists() {
            serde_json::from_slice(&fs::read(&settings)?)
                .with_context(|| format!("`{}`", settings.display()))?
        } else {
            Settings::default()
        };
        Ok(Self {
            name,
            directory: directory.to_owned(),
            dockerfile: fs::read(directory.join("Dockerfile"))?,
            settings,
        })
    }

    /// The image's name, in Docker and in Berth.
    pub fn image(&self) -> String {
        format!("corpus/{}", self.name)
    }

    /// Where the facts of Docker's image are kept.
    pub fn golden(&self) -> PathBuf {
        self.directory.join("docker.json")
    }

    /// Where the Dockerfile is laid out, relative to the context.
    pub fn dockerfile_path(&self) -> &str {
        self.settings.dockerfile.as_deref().unwrap_or("Dockerfile")
    }
}

/// Environment variable that names another corpus.
pub const OTHER_CORPUS: &str = "BERTH_CORPUS";

/// Where the corpus is: in this repository, or where [`OTHER_CORPUS`] says.
pub fn directory() -> PathBuf {
    match std::env::var_os(OTHER_CORPUS) {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../berth-build/tests/corpus"),
    }
}

/// Archives of images (`docker save`) that a corpus brings for its cases to build on: `images/*.tar`.
///
/// # Errors
/// The directory cannot be read.
pub fn images(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let images = directory.join(IMAGES);
    if !images.is_dir() {
        return Ok(Vec::new());
    }
    let mut archives = Vec::new();
    for entry in fs::read_dir(&images)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

/// All cases, in an order in which each comes after those that it needs.
///
/// # Errors
/// A case cannot be read, or needs one that does not exist.
pub fn corpus(directory: &Path) -> anyhow::Result<Vec<Case>> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with(IMAGES) {
            names.push(path);
        }
    }
    names.sort();
    let mut open: Vec<Case> = names
        .iter()
        .map(|path| Case::read(path))
        .collect::<anyhow::Result<_>>()?;
    let mut ordered: Vec<Case> = Vec::new();
    while !open.is_empty() {
        let (ready, waiting): (Vec<Case>, Vec<Case>) = open.into_iter().partition(|case| {
            case.settings
                .needs
                .iter()
                .all(|need| ordered.iter().any(|done| done.name == *need))
        });
        anyhow::ensure!(
            !ready.is_empty(),
            "cases need each other, or one that does not exist: {:?}",
            waiting.iter().map(|case| &case.name).collect::<Vec<_>>()
        );
        ordered.extend(ready);
        open = waiting;
    }
    Ok(ordered)
}
