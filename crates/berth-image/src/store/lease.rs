//! What is needed right now, by whom: one file for each opening of a store, locked as long as it is
//! open, so that a holder that was killed holds nothing any more.
//!
//! Invariants: something is on record in a lease before it is looked for or put in place, and the
//! record is written under the shared [gate](super::gate), so that a collector, which holds the gate
//! alone, sees it or comes first. What a lease holds is gone from it when the last [`Hold`] of it is
//! dropped.
//!
//! The file has one line for each change, `+` or `-` and an [`Item`]; a line that is not complete
//! counts as not written. The first line says whose it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use fs_err::File;
use rustix::fs::FlockOperation;

use super::gate::Gate;
use super::{flock, make_private};
use crate::{Digest, ImageError};

/// Beyond this many bytes a lease is written anew when there is something to add.
const COMPACT_AT: u64 = 256 * 1024;

/// Something that a collector must leave alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// An image and everything of it, by its manifest; and what for, if others should know.
    Manifest(Digest, String),
    /// A blob.
    Blob(Digest),
    /// An unpacked layer, by its diff id.
    Tree(Digest),
    /// A directory below `cache/`, by its path there.
    Cache(String),
}

impl Item {
    fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let digest = |hex: &str| format!("sha256:{hex}").parse().ok();
        Some(match kind {
            "m" => {
                let (hex, purpose) = rest.split_once(' ').unwrap_or((rest, ""));
                Self::Manifest(digest(hex)?, purpose.to_owned())
            }
            "b" => Self::Blob(digest(rest)?),
            "t" => Self::Tree(digest(rest)?),
            "c" => Self::Cache(rest.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(digest, purpose) if purpose.is_empty() => {
                write!(f, "m {}", digest.hex())
            }
            Self::Manifest(digest, purpose) => {
                write!(f, "m {} {}", digest.hex(), purpose.replace('\n', " "))
            }
            Self::Blob(digest) => write!(f, "b {}", digest.hex()),
            Self::Tree(digest) => write!(f, "t {}", digest.hex()),
            Self::Cache(path) => write!(f, "c {path}"),
        }
    }
}

/// Keeps something of the store from being collected as long as it (or a clone) lives.
#[derive(Clone, Debug)]
pub struct Hold {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    items: Vec<Item>,
    lease: Arc<Lease>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lease.release(&self.items);
    }
}

/// The lease of one opening of a store.
#[derive(Debug)]
pub(super) struct Lease {
    root: PathBuf,
    id: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    header: String,
    bytes: u64,
    held: BTreeMap<Item, usize>,
}

impl Lease {
    /// A new lease with a scratch directory of its own.
    pub(super) fn create(root: &Path) -> Result<Arc<Self>, ImageError> {
        let _gate = Gate::shared(root)?;
        let parent = root.join("leases");
        let file = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(12)
            .tempfile_in(&parent)
            .map_err(ImageError::io("make a file in", &parent))?;
        let (file, path) = file
            .keep()
            .map_err(|error| ImageError::io("keep", &parent)(error.error))?;
        let id = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let file = File::from_parts(file, &path);
        flock(&file, FlockOperation::LockExclusive).map_err(ImageError::errno("lock", &path))?;
        make_private(&root.join("scratch").join(&id))?;
        let header = serde_json::json!({ "pid": std::process::id() }).to_string();
        let mut state = State {
            file,
            header,
            bytes: 0,
            held: BTreeMap::new(),
        };
        state.rewrite().map_err(ImageError::io("write", &path))?;
        Ok(Arc::new(Self {
            root: root.to_owned(),
            id,
            state: Mutex::new(state),
        }))
    }

    /// Its name, also of its scratch directory.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A second descriptor: what is held is held as long as there is one.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, ImageError> {
        let copied = self.state().file.file().try_clone();
        let copied = copied.map_err(ImageError::io("copy the lock of", &self.path()))?;
        Ok(copied.into())
    }

    /// Holds something; whether it is there is looked at afterwards.
    pub(super) fn hold(self: &Arc<Self>, mut items: Vec<Item>) -> Result<Hold, ImageError> {
        items.sort();
        items.dedup();
        let mut state = self.state();
        if items.iter().any(|item| !state.held.contains_key(item)) {
            // Not while the state is locked: a collector of this process may need it.
            drop(state);
            let gate = Gate::shared(&self.root)?;
            state = self.state();
            let lines: String = items
                .iter()
                .filter(|item| !state.held.contains_key(item))
                .map(|item| format!("+{item}\n"))
                .collect();
            state
                .append(&lines)
                .map_err(ImageError::io("write", &self.path()))?;
            drop(gate);
        }
        for item in &items {
            *state.held.entry(item.clone()).or_default() += 1;
        }
        drop(state);
        Ok(Hold {
            _held: Arc::new(Held {
                items,
                lease: Arc::clone(self),
            }),
        })
    }

    fn release(&self, items: &[Item]) {
        let mut state = self.state();
        let mut lines = String::new();
        for item in items {
            match state.held.get_mut(item) {
                Some(1) => {
                    state.held.remove(item);
                    lines.push_str(&format!("-{item}\n"));
                }
                Some(count) => *count -= 1,
                None => {}
            }
        }
        if let Err(error) = state.add(&lines) {
            // It is held longer than it must be.
            tracing::debug!(%error, "a lease was not shortened");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.root.join("leases").join(&self.id)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What is in the scratch directory still belongs to somebody who removes it; whoever opens
        // the store next removes what is left of both.
        let _ = fs::remove_dir(self.root.join("scratch").join(&self.id));
        let _ = fs::remove_file(self.path());
    }
}

impl State {
    /// Under the gate: nobody reads meanwhile.
    fn append(&mut self, lines: &str) -> std::io::Result<()> {
        if self.bytes > COMPACT_AT {
            self.rewrite()?;
        }
        self.add(lines)
    }

    fn add(&mut self, lines: &str) -> std::io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let (mut rest, mut offset) = (lines.as_bytes(), self.bytes);
        while !rest.is_empty() {
            // After an error, the next line goes where this one should have been.
            let written = rustix::io::pwrite(&self.file, rest, offset)?;
            rest = &rest[written..];
            offset += written as u64;
        }
        self.bytes = offset;
        Ok(())
    }

    fn rewrite(&mut self) -> std::io::Result<()> {
        let mut text = format!("{}\n", self.header);
        for item in self.held.keys() {
            text.push_str(&format!("+{item}\n"));
        }
        self.file.set_len(0)?;
        self.bytes = 0;
        self.add(&text)
    }
}

/// The leases of a store as somebody else sees them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// What the living ones hold.
    pub(super) held: BTreeSet<Item>,
    /// The names of the living ones.
    pub(super) living: BTreeSet<String>,
    /// The names of those whose holder is gone.
    pub(super) dead: Vec<String>,
}

impl Leases {
    /// Reads all leases. Complete only for whoever holds the gate alone.
    pub(super) fn read(root: &Path) -> Result<Self, ImageError> {
        let directory = root.join("leases");
        let mut leases = Self::default();
        for entry in fs::read_dir(&directory).map_err(ImageError::io("read", &directory))? {
            let entry = entry.map_err(ImageError::io("read", &directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ImageError::io("open", &path)(error)),
            };
            if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
                leases.dead.push(name);
                continue;
            }
            let mut text = String::new();
            std::io::Read::read_to_string(&mut { file }, &mut text)
                .map_err(ImageError::io("read", &path))?;
            leases.held.extend(replay(&text));
            leases.living.insert(name);
        }
        Ok(leases)
    }
}

/// What is held after the changes that are in a lease's file.
fn replay(text: &str) -> BTreeSet<Item> {
    let mut held = BTreeSet::new();
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        if let Some(item) = line.strip_prefix('+').and_then(Item::parse) {
            held.insert(item);
        } else if let Some(item) = line.strip_prefix('-').and_then(Item::parse) {
            held.remove(&item);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_what_is_held() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let items = [
            Item::Manifest(a.clone(), String::new()),
            Item::Manifest(a, "container `x`\n+t y".to_owned()),
            Item::Blob(b.clone()),
            Item::Tree(b),
            Item::Cache("build/mounts/1".to_owned()),
        ];
        let mut text = String::from("{}\n");
        for item in &items {
            text.push_str(&format!("+{item}\n"));
        }
        let held = replay(&text);
        assert_eq!(held.len(), 5, "{held:?}");
        text.push_str(&format!("-{}\n-{}", items[2], items[3]));
        let held = replay(&text);
        assert!(!held.contains(&items[2]), "released");
        assert!(held.contains(&items[3]), "not released yet");
    }
}
