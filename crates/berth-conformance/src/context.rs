//! Laying out a case's context on disk, with modes, owners and times that git does not keep.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, ensure};
use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::archive::{self, Compression};
use crate::{Case, Entry, EntryKind};

/// Modification time of everything in a context, in Unix seconds: 2001. What has a later time in an
/// image was made by the build.
pub const FIXED_TIME: i64 = 1_000_000_000;

/// Makes the context of a case in an empty directory, the Dockerfile included.
///
/// # Errors
/// The file system's, and entries that contradict themselves.
pub fn lay_out(case: &Case, target: &Path) -> anyhow::Result<()> {
    let files = case.directory.join("context");
    if files.is_dir() && case.settings.exact_context {
        copy_exactly(&files, target)?;
    } else if files.is_dir() {
        copy_plain(&files, target)?;
    }
    let dockerfile = target.join(case.dockerfile_path());
    if let Some(parent) = dockerfile.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&dockerfile, &case.dockerfile)?;
    for entry in &case.settings.context {
        add(entry, target).with_context(|| format!("`{}`: `{}`", case.name, entry.path))?;
    }
    settle(target)
}

/// Everything that is on disk.
fn copy_exactly(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = std::process::Command::new("cp")
        .args(["--archive", "--no-target-directory", "--"])
        .args([from, to])
        .status()
        .context("could not start `cp`")?;
    ensure!(status.success(), "`cp` of `{}`: {status}", from.display());
    Ok(())
}

/// What git keeps: content and whether it is a program.
fn copy_plain(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_plain(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
            let program = entry.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if program { 0o755 } else { 0o644 };
            fs::set_permissions(&target, std::fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn add(entry: &Entry, target: &Path) -> anyhow::Result<()> {
    let path = target.join(&entry.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match &entry.kind {
        EntryKind::Text(text) => fs::write(&path, text)?,
        EntryKind::Zeros(size) => fs::File::create(&path)?.set_len(*size)?,
        EntryKind::Directory(_) => fs::create_dir_all(&path)?,
        EntryKind::Symlink(to) => symlink(to, &path)?,
        EntryKind::Link(to) => fs::hard_link(target.join(to), &path)?,
        EntryKind::Fifo(_) => node(&path, FileType::Fifo, 0)?,
        EntryKind::Socket(_) => node(&path, FileType::Socket, 0)?,
        EntryKind::Device([major, minor]) => {
            node(
                &path,
                FileType::CharacterDevice,
                rustix::fs::makedev(*major, *minor),
            )?;
        }
        EntryKind::Archive(entries) => {
            let file = fs::File::create(&path)?;
            archive::write(entries, file, Compression::of_name(&entry.path))?;
        }
    }
    let (uid, gid) = entry.ids()?;
    std::os::unix::fs::lchown(&path, Some(uid), Some(gid))?;
    match entry.kind {
        EntryKind::Symlink(_) => ensure!(entry.mode.is_none(), "links have no mode"),
        EntryKind::Link(_) => {}
        _ => fs::set_permissions(&path, std::fs::Permissions::from_mode(entry.permissions()?))?,
    }
    for (name, value) in &entry.xattrs {
        xattr::set(&path, name, value.as_bytes())?;
    }
    Ok(())
}

fn node(path: &Path, kind: FileType, device: u64) -> anyhow::Result<()> {
    Ok(rustix::fs::mknodat(
        CWD,
        path,
        kind,
        Mode::from_raw_mode(0o644),
        device,
    )?)
}

/// The same time for everything.
fn settle(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            settle(&entry?.path())?;
        }
    }
    let time = Timespec {
        tv_sec: FIXED_TIME,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
