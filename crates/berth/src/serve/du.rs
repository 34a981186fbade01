//! How much room directories and disks have.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Bytes that the files below a directory take on the disk; what cannot be read counts nothing. A file
/// with several links counts once for each.
pub(super) fn size(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// Bytes of the disk that a directory is on: all, and those that are free for root.
pub(super) fn disk(directory: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some((
        found.f_blocks * found.f_frsize,
        found.f_bfree * found.f_frsize,
    ))
}

/// Memory that a process has now, in bytes.
pub(super) fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_written_takes_room() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(super::size(directory.path()), 0);
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/file"), vec![1; 10_000]).unwrap();
        assert!(super::size(directory.path()) >= 10_000);
        let (all, free) = super::disk(directory.path()).unwrap();
        assert!(all >= free && free > 0);
        assert!(super::memory(std::process::id()).unwrap() > 1 << 20);
    }
}
