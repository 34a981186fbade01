//! Volumes: directories that outlive containers, sessions and daemons.
//!
//! ```text
//! <data>/volumes/<name>/volume.json   what is known of it; a shared flock on the directory is held
//!                                     by everybody who uses the volume
//!                      /data          its content, ids as inside
//!                      /filling       exists while an image's content is copied into it
//!                      /lock          held by whoever copies it
//!                      /session       directory of the session that this one ends with, if any
//!               /.new-<hex>/          being made; renamed when it is whole
//!               /.dead-<hex>/         being deleted; anybody may finish that
//! ```
//!
//! Owned by nobody alone: all sessions of the machine share them, so everything appears and
//! disappears by `rename`, and the kernel drops the locks of a daemon that dies. Directories are
//! closed to other users: volumes hold set-user-id programs of images. All functions block on files.

mod sweep;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::archive::{PieceReader, Pieces, Place, WriteOptions, archive_error};
use crate::log::now_ms;

const RECORD: &str = "volume.json";
const DATA: &str = "data";
const FILLING: &str = "filling";
const GATE: &str = "lock";
const OWNER: &str = "session";
const UNFINISHED: &str = ".new-";
const DEAD: &str = ".dead-";

/// Longest name: that of a directory, less what a deletion puts in front.
const NAME_MAX: usize = 200;

/// What is known of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Unique on the machine.
    pub name: String,
    /// Labels, as given when it was made.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as given; kept, without effect.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Unix milliseconds.
    pub created_ms: u64,
}

/// The volumes of a machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
    session: PathBuf,
}

/// A volume in use: it cannot be removed until this is dropped.
#[derive(Debug)]
pub struct VolumeLease {
    name: String,
    directory: PathBuf,
    _lock: File,
}

impl VolumeLease {
    /// The volume's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory with its content.
    pub fn data(&self) -> PathBuf {
        self.directory.join(DATA)
    }

    /// The volume outlives the session that made it, whatever was said then, and a power cut. Blocks until what
    /// is in it is on the disk.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn keep(&self) -> Result<(), EngineError> {
        let owner = self.directory.join(OWNER);
        let directory = File::open(&self.directory);
        let directory = directory.map_err(file_error("open", &self.directory))?;
        rustix::fs::syncfs(&directory)
            .map_err(|errno| file_error("flush", &self.directory)(errno.into()))?;
        match fs_err::remove_file(&owner) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file_error("delete", &owner)(error))
            }
            _ => directory
                .sync_all()
                .map_err(file_error("flush", &self.directory)),
        }
    }

    /// Unpacks an archive below a directory of the volume, which must exist. Blocks until the
    /// archive has ended.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPath`], [`EngineError::NotADirectory`], [`EngineError::Unpack`].
    pub fn write_archive(
        &self,
        path: &str,
        archive: Pieces,
        options: WriteOptions,
    ) -> Result<(), EngineError> {
        let place = Place::new(open_directory(&self.data())?, 0);
        place.write(path, PieceReader::new(archive), options)
    }

    /// Copies what is in a directory of another volume into a directory of this one, which should
    /// be empty; the directory's own attributes, too. Blocks.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPath`], [`EngineError::NotADirectory`], [`EngineError::Archive`].
    pub fn copy_from(&self, path: &str, from: &Self, source: &str) -> Result<(), EngineError> {
        let directory = |lease: &Self, path: &str| {
            let place = Place::new(open_directory(&lease.data())?, 0);
            place.directory_at(path)
        };
        let (from, to) = (directory(from, source)?, directory(self, path)?);
        berth_image::copy_tree(from.as_fd(), to.as_fd(), berth_image::OverlayRecords::Drop)
            .map_err(archive_error("copy", source))
    }

    /// Runs `fill` on the volume's directory if nothing is in it. What a `fill` left unfinished, in
    /// this process or one that died, is removed first.
    pub(crate) fn fill_if_empty(
        &self,
        fill: impl FnOnce(OwnedFd) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        // Whoever comes second finds it filled.
        let gate = self.directory.join(GATE);
        let file = File::create(&gate).map_err(file_error("create", &gate))?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| file_error("lock", &gate)(errno.into()))?;
        let (data, marker) = (self.data(), self.directory.join(FILLING));
        let directory = open_directory(&data)?;
        if marker.exists() {
            empty(&data)?;
        } else if !berth_image::is_empty_directory(directory.as_fd())
            .map_err(file_error("read", &data))?
        {
            return Ok(());
        }
        fs_err::write(&marker, []).map_err(file_error("create", &marker))?;
        if let Err(error) = fill(directory) {
            // The marker stays until nothing of the attempt is left.
            empty(&data)?;
            fs_err::remove_file(&marker).map_err(file_error("delete", &marker))?;
            return Err(error);
        }
        fs_err::remove_file(&marker).map_err(file_error("delete", &marker))
    }
}

impl Volumes {
    /// Opens or creates the volumes below `root` for the session in the directory `session`, and
    /// deletes what was left half-way and what belonged to sessions that have ended.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn open(root: &Path, session: &Path) -> Result<Self, EngineError> {
        make_private_dir(root)?;
        let volumes = Self {
            root: root.to_owned(),
            session: session.to_owned(),
        };
        volumes.sweep()?;
        Ok(volumes)
    }

    /// Makes a volume; one that exists stays as it is and is returned.
    ///
    /// # Errors
    /// [`EngineError::InvalidVolume`], [`EngineError::File`].
    pub fn create(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<VolumeInfo, EngineError> {
        self.create_for(name, labels, options, None)
    }

    /// [`Volumes::create`] of a volume that ends with this session, however that ends, unless it is
    /// [kept](VolumeLease::keep).
    ///
    /// # Errors
    /// As [`Volumes::create`].
    pub fn create_passing(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<VolumeInfo, EngineError> {
        self.create_for(name, labels, options, Some(&self.session))
    }

    fn create_for(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
        owner: Option<&Path>,
    ) -> Result<VolumeInfo, EngineError> {
        check_name(name)?;
        if let Some(existing) = self.get(name) {
            return Ok(existing);
        }
        let info = VolumeInfo {
            name: name.to_owned(),
            labels,
            options,
            created_ms: now_ms(),
        };
        let unfinished = self
            .root
            .join(format!("{UNFINISHED}{:016x}", rand::random::<u64>()));
        let target = self.root.join(name);
        let made = make(&unfinished, &info, owner).and_then(|_lock| {
            berth_jail::crash_point("volume.made");
            match rustix::fs::renameat_with(CWD, &unfinished, CWD, &target, RenameFlags::NOREPLACE)
            {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(file_error("create", &target)(errno.into())),
            }
        });
        if let Ok(true) = made {
            berth_jail::crash_point("volume.created");
            return Ok(info);
        }
        // Best effort; the next sweep finishes it.
        let _ = fs_err::remove_dir_all(&unfinished);
        made?;
        self.get(name)
            .ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))
    }

    /// What is known of a volume.
    pub fn get(&self, name: &str) -> Option<VolumeInfo> {
        check_name(name).ok()?;
        let record = self.root.join(name).join(RECORD);
        serde_json::from_slice(&fs_err::read(record).ok()?).ok()
    }

    /// Notes that a volume is used now, if there is one.
    pub fn touch(&self, name: &str) {
        let record = self.root.join(name).join(RECORD);
        if check_name(name).is_err() {
            return;
        }
        let opened = fs_err::OpenOptions::new().write(true).open(record);
        if let Err(error) = opened.and_then(|file| file.file().set_modified(SystemTime::now())) {
            tracing::debug!(%error, "use not recorded");
        }
    }

    /// When a volume was made or [touched](Self::touch) last; `None`: there is none.
    pub fn last_used(&self, name: &str) -> Option<SystemTime> {
        check_name(name).ok()?;
        let record = self.root.join(name).join(RECORD);
        fs_err::metadata(record)
            .and_then(|found| found.modified())
            .ok()
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn list(&self) -> Result<Vec<VolumeInfo>, EngineError> {
        let mut found: Vec<VolumeInfo> = self
            .entries()?
            .iter()
            .filter_map(|name| self.get(name))
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Removes a volume and its content.
    ///
    /// # Errors
    /// [`EngineError::NoSuchVolume`]; [`EngineError::VolumeInUse`]; [`EngineError::File`].
    pub fn remove(&self, name: &str) -> Result<(), EngineError> {
        let missing = || EngineError::NoSuchVolume(name.to_owned());
        check_name(name).map_err(|_| missing())?;
        let directory = self.root.join(name);
        let Some(lock) = self.lock(&directory, FlockOperation::NonBlockingLockExclusive)? else {
            return Err(if directory.exists() {
                EngineError::VolumeInUse(name.to_owned())
            } else {
                missing()
            });
        };
        let dead = self
            .root
            .join(format!("{DEAD}{:016x}", rand::random::<u64>()));
        fs_err::rename(&directory, &dead).map_err(file_error("move away", &directory))?;
        berth_jail::crash_point("volume.moved");
        drop(lock);
        fs_err::remove_dir_all(&dead).map_err(file_error("delete", &dead))
    }

    /// Uses a volume; it is made if there is none.
    ///
    /// # Errors
    /// [`EngineError::InvalidVolume`], [`EngineError::File`].
    pub fn lease(&self, name: &str) -> Result<VolumeLease, EngineError> {
        let directory = self.root.join(name);
        loop {
            self.create(name, BTreeMap::new(), BTreeMap::new())?;
            // `None`: removed in between.
            if let Some(lock) = self.lock(&directory, FlockOperation::LockShared)? {
                return Ok(VolumeLease {
                    name: name.to_owned(),
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    /// Locks a volume's directory. `None`: somebody else has it, or it is not there any more.
    fn lock(
        &self,
        directory: &Path,
        operation: FlockOperation,
    ) -> Result<Option<File>, EngineError> {
        let failed = |source| file_error("lock", directory)(source);
        let file = match File::open(directory) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match rustix::io::retry_on_intr(|| flock(&file, operation)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        }
        let locked = file.metadata().map_err(failed)?;
        let still_there = fs_err::metadata(directory)
            .is_ok_and(|now| (now.dev(), now.ino()) == (locked.dev(), locked.ino()));
        Ok(still_there.then_some(file))
    }

    fn entries(&self) -> Result<Vec<String>, EngineError> {
        let failed = || file_error("read", &self.root);
        let mut names = Vec::new();
        for entry in fs_err::read_dir(&self.root).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            names.extend(entry.file_name().into_string());
        }
        Ok(names)
    }
}

/// Docker's rule for names; what begins with a dot is ours.
fn check_name(name: &str) -> Result<(), EngineError> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_MAX && name.bytes().all(safe) {
        Ok(())
    } else {
        Err(EngineError::InvalidVolume(name.to_owned()))
    }
}

/// Makes what a volume consists of. The lock says that somebody does.
fn make(directory: &Path, info: &VolumeInfo, owner: Option<&Path>) -> Result<File, EngineError> {
    make_private_dir(directory)?;
    let lock = File::open(directory).map_err(file_error("open", directory))?;
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockShared))
        .map_err(|errno| file_error("lock", directory)(errno.into()))?;
    let data = directory.join(DATA);
    fs_err::create_dir(&data)
        .and_then(|()| {
            use std::os::unix::fs::PermissionsExt as _;
            // Of `/data` inside; whatever the umask says.
            fs_err::set_permissions(&data, std::fs::Permissions::from_mode(0o755))
        })
        .map_err(file_error("create", &data))?;
    if let Some(session) = owner {
        let owner = directory.join(OWNER);
        fs_err::write(&owner, session.as_os_str().as_bytes())
            .map_err(file_error("write", &owner))?;
    }
    let record = directory.join(RECORD);
    serde_json::to_vec(info)
        .map_err(io::Error::from)
        .and_then(|text| {
            fs_err::write(&record, text)?;
            // A volume that is there has a record, also after a power cut.
            fs_err::File::open(&record)?.sync_all()
        })
        .map_err(file_error("write", &record))?;
    Ok(lock)
}

fn make_private_dir(directory: &Path) -> Result<(), EngineError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(file_error("create", directory))
}

fn open_directory(path: &Path) -> Result<OwnedFd, EngineError> {
    let file = File::open(path).map_err(file_error("open", path))?;
    Ok(file.into())
}

/// Removes what is in a directory.
fn empty(directory: &Path) -> Result<(), EngineError> {
    for entry in fs_err::read_dir(directory).map_err(file_error("read", directory))? {
        let path = entry.map_err(file_error("read", directory))?.path();
        let is_directory = fs_err::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        let removed = if is_directory {
            fs_err::remove_dir_all(&path)
        } else {
            fs_err::remove_file(&path)
        };
        removed.map_err(file_error("delete", &path))?;
    }
    Ok(())
}

fn file_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError + use<> {
    let path = path.to_owned();
    move |source| EngineError::File { step, path, source }
}

#[cfg(test)]
mod tests;
