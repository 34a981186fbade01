use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::*;

fn open(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).unwrap()
}

/// A tree with everything in it.
fn tree(root: &Path) {
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/b/file"), "text").unwrap();
    std::fs::hard_link(root.join("a/b/file"), root.join("a/second")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    std::os::unix::fs::chown(root.join("a/b/file"), Some(1000), Some(7)).unwrap();
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(root.join("a/b/file"), mode).unwrap();
    let mode = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(root.join("a"), mode).unwrap();
    xattr::set(root.join("a/b/file"), "user.note", b"n").unwrap();
    xattr::set(root.join("a/b"), "trusted.overlay.opaque", b"y").unwrap();
    xattr::set(root.join("a/b"), "trusted.overlay.origin", b"x").unwrap();
    for (name, kind) in [
        ("fifo", FileType::Fifo),
        ("gone", FileType::CharacterDevice),
    ] {
        fs::mknodat(fs::CWD, root.join(name), kind, Mode::RUSR, 0).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (64 << 20) - 3).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
}

fn copied(records: OverlayRecords) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    std::fs::create_dir(&to).unwrap();
    tree(&from);
    copy_tree(open(&from).as_fd(), open(&to).as_fd(), records).unwrap();
    (directory, to)
}

#[test]
fn a_copy_has_everything_the_original_has() {
    let (directory, to) = copied(OverlayRecords::Drop);
    let file = std::fs::metadata(to.join("a/b/file")).unwrap();
    let original = std::fs::metadata(directory.path().join("from/a/b/file")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.nlink()), (1000, 7, 2));
    assert_eq!(file.mode(), original.mode());
    assert_eq!(
        (file.mtime(), file.mtime_nsec()),
        (original.mtime(), original.mtime_nsec())
    );
    assert_ne!(file.ino(), original.ino());
    assert_eq!(
        std::fs::metadata(to.join("a/second")).unwrap().ino(),
        file.ino()
    );
    assert_eq!(
        std::fs::metadata(to.join("a")).unwrap().mode() & 0o7777,
        0o1777
    );
    assert_eq!(
        std::fs::read_link(to.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let note = xattr::get(to.join("a/b/file"), "user.note").unwrap();
    assert_eq!(note.as_deref(), Some(b"n".as_slice()));
    assert!(
        std::fs::metadata(to.join("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert!(!to.join("socket").exists());
}

#[test]
fn holes_stay_holes() {
    let (_directory, to) = copied(OverlayRecords::Drop);
    let sparse = std::fs::metadata(to.join("sparse")).unwrap();
    assert_eq!(sparse.len(), 64 << 20);
    assert!(sparse.blocks() < 1000, "{} blocks", sparse.blocks());
    assert!(
        std::fs::read(to.join("sparse"))
            .unwrap()
            .ends_with(b"\0end")
    );
}

#[test]
fn what_a_layer_hides_is_kept_only_when_asked() {
    let opaque = |to: &Path| xattr::get(to.join("a/b"), OPAQUE_XATTR).unwrap();
    let (_directory, to) = copied(OverlayRecords::Keep);
    assert_eq!(opaque(&to).as_deref(), Some(b"y".as_slice()));
    let origin = xattr::get(to.join("a/b"), "trusted.overlay.origin").unwrap();
    assert_eq!(origin, None, "it is about the mount");
    let gone = std::fs::metadata(to.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let (_directory, to) = copied(OverlayRecords::Drop);
    assert_eq!(opaque(&to), None);
}

#[test]
fn bottomless_trees_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let mut deepest = open(directory.path());
    for base in std::iter::once("from").chain(std::iter::repeat_n("d", MAX_DEPTH + 2)) {
        fs::mkdirat(&deepest, base, Mode::RWXU).unwrap();
        deepest = fs::openat(&deepest, base, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let from = open(&directory.path().join("from"));
    let error = copy_tree(from.as_fd(), open(&to).as_fd(), OverlayRecords::Drop).unwrap_err();
    assert!(error.to_string().contains("levels deep"), "{error}");
}
