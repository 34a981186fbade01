//! The directory of a session: a lock that its living daemon (and a zygote that outlives it) holds, a record, and everything else.
//!
//! ```text
//! <sessions_dir>/<id>/lock           flock'ed for as long as the daemon lives
//!                    /session.json   SessionRecord: what a successor needs to clean up
//!                    /…              the engine's state, all of it disposable
//! <sessions_dir>/.new-<id>/          being made; renamed when lock and record are in place
//! <sessions_dir>/.dead-<id>/         being deleted; anybody may finish that
//! ```
//!
//! The kernel drops the lock however the daemon ends. A directory whose lock can be taken is dead:
//! [`sweep`] kills what is left in its cgroup and deletes it. Several sweepers and starting sessions
//! may run at the same time: each dead directory is swept by whoever gets its lock.

mod kept;

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use berth_jail::JailError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::log::now_ms;
pub use kept::kept_sessions;

const LOCK: &str = "lock";
const RECORD: &str = "session.json";
const UNFINISHED: &str = ".new-";
const DEAD: &str = ".dead-";
/// Longest path of a unix socket: `sun_path` less its final NUL.
const SOCKET_PATH_MAX: usize = 107;

/// A directory that has been unfinished for this long was left by a daemon that died making it.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);

/// What others may know of a session, and what is needed to clean up after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Unique on the machine.
    pub id: String,
    /// The daemon's process id.
    pub pid: u32,
    /// cgroup path of the session, as given to the zygote.
    pub cgroup: String,
    /// Where its Docker API is served.
    pub socket: PathBuf,
    /// The project's directory.
    pub project: PathBuf,
    /// Unix milliseconds.
    pub started_ms: u64,
    /// Its containers outlive its daemon, and wait for the next one.
    #[serde(default)]
    pub kept: bool,
}

/// The session of this process. Dropping it without [`Session::remove`] leaves its directory to the
/// next sweep.
#[derive(Debug)]
pub struct Session {
    /// Unique on the machine: 12 hex digits.
    pub id: String,
    /// Its directory.
    pub dir: PathBuf,
    /// cgroup path for the zygote: `berth/<id>`.
    pub cgroup: String,
    /// Where its Docker API is to be served: short enough for a unix socket.
    pub socket: PathBuf,
    lock: SessionLock,
}

/// Proof that a session's daemon lives: an flock, held until dropped.
#[derive(Debug)]
pub struct SessionLock {
    file: File,
}

impl SessionLock {
    /// Takes the lock of the session in `dir`; `None` if its daemon lives.
    ///
    /// # Errors
    /// [`EngineError::File`], also if `dir` does not exist.
    pub fn acquire(dir: &Path) -> Result<Option<Self>, EngineError> {
        Self::open(dir, true)
    }

    fn open(dir: &Path, create: bool) -> Result<Option<Self>, EngineError> {
        let path = dir.join(LOCK);
        let failed = |step| file_error(step, &path);
        let file = fs_err::OpenOptions::new()
            .create(create)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("open"))?
            .into_file();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed("lock")(error.into())),
        }
    }
}

impl Session {
    /// Makes a session for a project. `sessions_dir` is created if missing, for root only.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn create(sessions_dir: &Path, project: &Path) -> Result<Self, EngineError> {
        Self::make(sessions_dir, project, false)
    }

    /// The same for a session whose containers outlive its daemon: the zygote has its lock, too
    /// ([`Session::lock_descriptor`]), so that nobody sweeps it while they run.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn create_kept(sessions_dir: &Path, project: &Path) -> Result<Self, EngineError> {
        Self::make(sessions_dir, project, true)
    }

    fn make(sessions_dir: &Path, project: &Path, kept: bool) -> Result<Self, EngineError> {
        make_private_dir(sessions_dir)?;
        let id = format!("{:012x}", rand::random::<u64>() >> 16);
        let unfinished = sessions_dir.join(format!("{UNFINISHED}{id}"));
        make_private_dir(&unfinished)?;
        let lock = SessionLock::acquire(&unfinished)?
            .ok_or_else(|| file_error("lock", &unfinished)(io::ErrorKind::WouldBlock.into()))?;
        let dir = sessions_dir.join(&id);
        let record = SessionRecord {
            pid: std::process::id(),
            cgroup: format!("berth/{id}"),
            socket: socket_path(&dir, &id),
            project: project.to_owned(),
            started_ms: now_ms(),
            kept,
            id,
        };
        write_record(&unfinished.join(RECORD), &record)?;
        fs_err::rename(&unfinished, &dir).map_err(file_error("create", &dir))?;
        Ok(Self {
            id: record.id,
            dir,
            cgroup: record.cgroup,
            socket: record.socket,
            lock,
        })
    }

    /// Deletes the session's directory; for when everything in it has ended.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn remove(self) -> Result<(), EngineError> {
        remove_tree(&self.dir, &self.socket)?;
        drop(self.lock);
        Ok(())
    }
}

/// Whether the daemon of the session in `dir` has died, or the session has been removed. A doubt is
/// a living one.
pub(crate) fn is_dead(dir: &Path) -> bool {
    match SessionLock::open(dir, false) {
        Ok(lock) => lock.is_some(),
        Err(EngineError::File { source, .. }) => source.kind() == io::ErrorKind::NotFound,
        Err(_) => false,
    }
}

/// The sessions whose daemons live, oldest first.
///
/// # Errors
/// [`EngineError::File`] when `sessions_dir` exists but cannot be read.
pub fn sessions(sessions_dir: &Path) -> Result<Vec<SessionRecord>, EngineError> {
    let mut living = Vec::new();
    for dir in directories(sessions_dir)? {
        if is_named(&dir, UNFINISHED) || is_named(&dir, DEAD) {
            continue;
        }
        // A session that ends between these steps is not living.
        if let (Ok(None), Some(record)) = (SessionLock::open(&dir, false), read_record(&dir)) {
            living.push(record);
        }
    }
    living.sort_by_key(|record: &SessionRecord| record.started_ms);
    Ok(living)
}

/// Cleans up after every session whose daemon has died: kills what is left of it and deletes its
/// directory. Returns the ids of those it swept.
///
/// # Errors
/// [`EngineError::File`] when `sessions_dir` exists but cannot be read. A session that cannot be
/// swept is logged and left for the next time.
pub fn sweep(sessions_dir: &Path) -> Result<Vec<String>, EngineError> {
    sweep_with(sessions_dir, &berth_jail::sweep_session)
}

/// [`sweep`] with `kill` for what is left in a session's cgroup.
fn sweep_with(
    sessions_dir: &Path,
    kill: &dyn Fn(&str) -> Result<(), JailError>,
) -> Result<Vec<String>, EngineError> {
    let mut swept = Vec::new();
    for dir in directories(sessions_dir)? {
        let name = || {
            dir.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        match sweep_one(&dir, kill) {
            Ok(true) => swept.extend(name()),
            Ok(false) => {}
            Err(error) => {
                let error = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
                tracing::warn!(%error, "cannot clean up after a dead session");
            }
        }
    }
    Ok(swept)
}

fn sweep_one(
    dir: &Path,
    kill: &dyn Fn(&str) -> Result<(), JailError>,
) -> Result<bool, EngineError> {
    if is_named(dir, DEAD) {
        return delete(dir).map(|()| false);
    }
    if is_named(dir, UNFINISHED) {
        return if is_old(dir) {
            delete(dir).map(|()| true)
        } else {
            Ok(false)
        };
    }
    let lock = match SessionLock::open(dir, false) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(false),
        // Another sweeper has just taken it away, or it is none of ours.
        Err(EngineError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let record = read_record(dir);
    if let Some(record) = &record {
        kill(&record.cgroup).map_err(|source| EngineError::Jail {
            step: "clean up after the session of",
            name: record.id.clone(),
            source,
        })?;
    }
    let socket = record.map_or_else(|| dir.join("none"), |record| record.socket);
    remove_tree(dir, &socket)?;
    drop(lock);
    Ok(true)
}

/// Deletes a session's directory and its socket, which may be elsewhere. The caller has the lock.
/// What is gone is fine.
fn remove_tree(dir: &Path, socket: &Path) -> Result<(), EngineError> {
    if !socket.starts_with(dir) {
        fs_err::remove_file(socket)
            .or_else(gone)
            .map_err(file_error("delete", socket))?;
    }
    let mut name = std::ffi::OsString::from(DEAD);
    name.push(dir.file_name().unwrap_or_default());
    let dead = dir.with_file_name(name);
    fs_err::rename(dir, &dead)
        .or_else(gone)
        .map_err(file_error("move away", dir))?;
    delete(&dead)
}

fn delete(dir: &Path) -> Result<(), EngineError> {
    fs_err::remove_dir_all(dir)
        .or_else(gone)
        .map_err(file_error("delete", dir))
}

fn gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

fn directories(sessions_dir: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let entries = match fs_err::read_dir(sessions_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error("read", sessions_dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file_error("read", sessions_dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_named(dir: &Path, prefix: &str) -> bool {
    dir.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(prefix.as_bytes()))
}

fn is_old(dir: &Path) -> bool {
    let age = fs_err::metadata(dir)
        .and_then(|metadata| metadata.modified())
        .map(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .unwrap_or_default()
        });
    age.is_ok_and(|age| age > UNFINISHED_FOR)
}

fn socket_path(dir: &Path, id: &str) -> PathBuf {
    let inside = dir.join("docker.sock");
    if inside.as_os_str().len() <= SOCKET_PATH_MAX {
        inside
    } else {
        std::env::temp_dir().join(format!("berth-{id}.sock"))
    }
}

fn write_record(path: &Path, record: &SessionRecord) -> Result<(), EngineError> {
    serde_json::to_vec_pretty(record)
        .map_err(io::Error::from)
        .and_then(|text| fs_err::write(path, text))
        .map_err(file_error("write", path))
}

/// `None` if there is none or it is not whole: its daemon died before it made anything else.
fn read_record(dir: &Path) -> Option<SessionRecord> {
    serde_json::from_slice(&fs_err::read(dir.join(RECORD)).ok()?).ok()
}

fn make_private_dir(dir: &Path) -> Result<(), EngineError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(file_error("create", dir))
}

fn file_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError + use<> {
    let path = path.to_owned();
    move |source| EngineError::File { step, path, source }
}

#[cfg(test)]
mod tests;
