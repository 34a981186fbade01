//! Hostile and odd archives. Each case unpacks into a fresh root beside a directory that must not
//! change; the names follow the list that containerd's archive tests made common.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::*;
use crate::testing::{Archive, Spec};

struct World {
    directory: tempfile::TempDir,
}

/// What the rest of the host is, as far as a test can see: a directory next to the root.
const SECRET: &str = "host secret";

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory };
        std::fs::create_dir(world.root()).unwrap();
        std::fs::create_dir(world.outside()).unwrap();
        std::fs::write(world.canary(), SECRET).unwrap();
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(world.canary(), mode).unwrap();
        world
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    fn canary(&self) -> PathBuf {
        self.outside().join("canary")
    }

    fn unpack(&self, archive: Archive) -> Result<Unpacked, UnpackError> {
        unpack(
            &self.root(),
            archive.finish().as_slice(),
            UnpackLimits::default(),
        )
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Nothing outside the root changed, and nothing was linked in from there.
    fn assert_untouched(&self, case: &str) {
        let metadata = std::fs::symlink_metadata(self.canary()).unwrap();
        assert!(metadata.is_file(), "{case}");
        assert_eq!(
            std::fs::read_to_string(self.canary()).unwrap(),
            SECRET,
            "{case}"
        );
        assert_eq!(metadata.mode() & 0o7777, 0o640, "{case}");
        assert_eq!((metadata.uid(), metadata.nlink()), (0, 1), "{case}");
        let names = |path: &Path| -> Vec<_> {
            let mut names: Vec<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.outside()), ["canary"], "{case}");
        assert_eq!(names(self.directory.path()), ["outside", "root"], "{case}");
    }
}

fn is_fifo_or_device(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    xattr::get(path, OPAQUE_XATTR).unwrap().as_deref() == Some(b"y")
}

/// What must be true afterwards: the archive is refused, or this file has this text.
enum Then {
    Refused,
    File(&'static str, &'static str),
    Whiteout(&'static str),
    Opaque(&'static str),
    Link(&'static str, &'static str),
    Absent(&'static str),
}

/// `{out}` in a name becomes the absolute path of the directory outside the root.
type Case = (&'static str, fn(&str) -> Archive, Then);

fn cases() -> Vec<Case> {
    use Then::*;
    vec![
        (
            "SymlinkAbsolute",
            |out| Archive::new().symlink("link", out).file("link/canary", "x"),
            Refused.or_inside(),
        ),
        (
            "SymlinkUpAndOut",
            |_| {
                Archive::new()
                    .symlink("link", "../outside")
                    .file("link/canary", "x")
            },
            File("outside/canary", "x"),
        ),
        (
            "SymlinkMultipleAbsolute",
            |out| {
                Archive::new()
                    .symlink("a", out)
                    .symlink("b", "/a")
                    .file("b/canary", "x")
            },
            Refused.or_inside(),
        ),
        (
            "SymlinkMultipleRelative",
            |_| {
                Archive::new()
                    .symlink("a", "../../outside")
                    .symlink("b", "a")
                    .file("b/canary", "x")
            },
            File("outside/canary", "x"),
        ),
        (
            "SymlinkChainThroughDirectory",
            |_| {
                Archive::new()
                    .dir("d")
                    .symlink("d/up", "..")
                    .symlink("d/up2", "up/..")
                    .file("d/up2/outside/canary", "x")
            },
            File("outside/canary", "x"),
        ),
        (
            "SymlinkEmptyFile",
            |out| {
                Archive::new()
                    .symlink("link", &format!("{out}/canary"))
                    .file("link", "")
            },
            File("link", ""),
        ),
        (
            "SymlinkEmptyTarget",
            |_| Archive::new().symlink("link", ""),
            Refused,
        ),
        (
            "SymlinkEmptyFilename",
            |_| {
                Archive::new()
                    .symlink("link", "../outside/canary")
                    .file("", "x")
            },
            Refused,
        ),
        (
            "SymlinkParentDirectory",
            |_| {
                Archive::new()
                    .symlink("link", "..")
                    .file("link/../canary", "x")
            },
            File("canary", "x"),
        ),
        (
            "SymlinkParentRelative",
            |_| {
                Archive::new()
                    .dir("d")
                    .symlink("d/link", "../..")
                    .file("d/link/outside/canary", "x")
            },
            File("outside/canary", "x"),
        ),
        (
            "SymlinkSlashEnded",
            |_| {
                Archive::new().symlink("link", "../outside/").add(&Spec {
                    path: "link//",
                    kind: Kind::Directory,
                    mode: 0o777,
                    ..Spec::default()
                })
            },
            File("link", "directory"),
        ),
        (
            "SymlinkOverrideDirectory",
            |_| {
                Archive::new()
                    .dir("d")
                    .file("d/f", "x")
                    .symlink("d", "/tmp")
            },
            Link("d", "/tmp"),
        ),
        (
            "SymlinkOverrideDirectoryRelative",
            |_| {
                Archive::new()
                    .dir("a")
                    .dir("a/d")
                    .symlink("a/d", "../b")
                    .file("a/d/f", "x")
            },
            File("b/f", "x"),
        ),
        (
            "SymlinkOverridePath",
            |out| {
                Archive::new()
                    .dir("a")
                    .file("a/canary", "1")
                    .symlink("a", out)
                    .file("a/canary", "2")
            },
            Refused.or_inside(),
        ),
        (
            "SymlinkLoop",
            |_| {
                Archive::new()
                    .symlink("a", "b")
                    .symlink("b", "a")
                    .file("a/f", "x")
            },
            Refused,
        ),
        (
            "SymlinkToProc",
            |_| {
                Archive::new()
                    .symlink("p", "/proc/self/cwd")
                    .file("p/f", "x")
            },
            File("proc/self/cwd/f", "x"),
        ),
        (
            "DirectoryOverrideSymlink",
            |_| {
                Archive::new()
                    .symlink("d", "../outside")
                    .dir("d")
                    .file("d/canary", "x")
            },
            File("d/canary", "x"),
        ),
        (
            "DirectoryOverrideSymlinkAndHardlink",
            |_| {
                Archive::new()
                    .symlink("d", "../outside/canary")
                    .hardlink("h", "d")
                    .dir("d")
                    .file("h", "x")
            },
            File("h", "x"),
        ),
        (
            "FileOverrideSymlink",
            |out| {
                Archive::new()
                    .symlink("f", &format!("{out}/canary"))
                    .file("f", "x")
            },
            File("f", "x"),
        ),
        (
            "FileOverrideDirectory",
            |_| {
                Archive::new()
                    .dir("d")
                    .dir("d/e")
                    .file("d/e/f", "1")
                    .file("d", "x")
            },
            File("d", "x"),
        ),
        (
            "FileAsParent",
            |_| Archive::new().file("f", "1").file("f/g", "x"),
            Refused,
        ),
        (
            "HardlinkAbsolute",
            |out| {
                Archive::new()
                    .hardlink("h", &format!("{out}/canary"))
                    .file("h", "x")
            },
            Refused,
        ),
        (
            "HardlinkRelative",
            |_| Archive::new().hardlink("h", "../outside/canary"),
            Refused,
        ),
        (
            "HardlinkRelativeLong",
            |_| {
                Archive::new()
                    .dir("d")
                    .hardlink("d/h", "../../../../outside/canary")
            },
            Refused,
        ),
        (
            "HardlinkRelativeUpAndOut",
            |_| {
                Archive::new()
                    .dir("d")
                    .hardlink("d/h", "d/../../../outside/canary")
            },
            Refused,
        ),
        (
            "HardlinkDownAndOut",
            |_| {
                Archive::new()
                    .dir("d")
                    .hardlink("d/h", "d/../../outside/canary")
            },
            Refused,
        ),
        (
            "HardlinkDirectAbsolute",
            |out| Archive::new().hardlink("h", &format!("{out}/canary")),
            Refused,
        ),
        (
            "HardlinkDirectRelative",
            |_| {
                Archive::new()
                    .hardlink("h", "../outside/canary")
                    .file("h", "x")
            },
            Refused,
        ),
        (
            "HardlinkDirectRelativeUpAndOut",
            |_| {
                Archive::new()
                    .dir("d")
                    .hardlink("d/h", "/../../outside/canary")
                    .file("d/h", "x")
            },
            Refused,
        ),
        (
            "HardlinkDirectory",
            |_| Archive::new().dir("d").hardlink("h", "d"),
            Refused,
        ),
        (
            "HardlinkRoot",
            |_| Archive::new().hardlink("h", "/"),
            Refused,
        ),
        (
            "HardlinkThroughSymlink",
            |_| {
                Archive::new()
                    .symlink("link", "../outside")
                    .hardlink("h", "link/canary")
            },
            Refused,
        ),
        (
            "HardlinkSymlinkBeforeCreateTarget",
            |_| {
                Archive::new()
                    .symlink("s", "../outside/canary")
                    .hardlink("h", "s")
                    .file("h", "x")
            },
            File("h", "x"),
        ),
        (
            "HardlinkSymlinkRelative",
            |_| {
                Archive::new()
                    .symlink("s", "../outside/canary")
                    .hardlink("h", "s")
            },
            Link("h", "../outside/canary"),
        ),
        (
            "HardlinkSymlinkAbsolute",
            |out| {
                Archive::new()
                    .symlink("s", &format!("{out}/canary"))
                    .hardlink("h", "s")
                    .file("s", "x")
            },
            File("s", "x"),
        ),
        (
            "HardlinkSymlinkChmod",
            |out| {
                Archive::new()
                    .symlink("s", &format!("{out}/canary"))
                    .add(&Spec {
                        path: "h",
                        link: "s",
                        kind: Kind::HardLink,
                        mode: 0o777,
                        owner: (9, 9),
                        ..Spec::default()
                    })
            },
            File("outside", "absent"),
        ),
        (
            "HardlinkToItself",
            |_| Archive::new().file("f", "x").hardlink("f", "f"),
            File("f", "x"),
        ),
        (
            "HardlinkMissing",
            |_| Archive::new().hardlink("h", "nowhere"),
            Refused,
        ),
        (
            "DeviceOverSymlink",
            |out| {
                Archive::new()
                    .symlink("n", &format!("{out}/canary"))
                    .add(&Spec {
                        path: "n",
                        kind: Kind::Fifo,
                        mode: 0o777,
                        ..Spec::default()
                    })
            },
            Absent("x"),
        ),
        (
            "NameAbsolute",
            |out| Archive::new().file(&format!("{out}/canary"), "x"),
            Refused.or_inside(),
        ),
        (
            "NameUpAndOut",
            |_| Archive::new().file("../outside/canary", "x"),
            File("outside/canary", "x"),
        ),
        ("WhiteoutRoot", |_| Archive::new().file(".wh.", ""), Refused),
        (
            "WhiteoutRootParent",
            |_| Archive::new().file(".wh...", ""),
            Refused,
        ),
        (
            "WhiteoutParent",
            |_| Archive::new().dir("d").file("d/.wh...", ""),
            Refused,
        ),
        (
            "WhiteoutCurrentDirectory",
            |_| Archive::new().dir("d").file("d/.wh..", ""),
            Refused,
        ),
        (
            "WhiteoutSymlink",
            |_| {
                Archive::new()
                    .symlink("link", "../outside")
                    .file(".wh.link", "")
            },
            Link("link", "../outside"),
        ),
        (
            "WhiteoutSymlinkPath",
            |_| {
                Archive::new()
                    .symlink("link", "../outside")
                    .file("link/.wh.canary", "")
            },
            Whiteout("outside/canary"),
        ),
        (
            "WhiteoutDirectoryName",
            |_| Archive::new().dir(".wh.d"),
            Whiteout("d"),
        ),
        (
            "WhiteoutDeadSymlinkParent",
            |_| {
                Archive::new()
                    .symlink("link", "nowhere/at/all")
                    .file("link/.wh.f", "")
            },
            Whiteout("nowhere/at/all/f"),
        ),
        (
            "WhiteoutRelativePath",
            |_| Archive::new().file("d/../../../.wh.f", ""),
            Whiteout("f"),
        ),
        (
            "WhiteoutParentRemoval",
            |_| Archive::new().dir("d").file("d/f", "x").file(".wh.d", ""),
            Opaque("d"),
        ),
        (
            "WhiteoutThenDirectory",
            |_| Archive::new().file(".wh.d", "").dir("d").file("d/f", "x"),
            Opaque("d"),
        ),
        (
            "WhiteoutThenFile",
            |_| Archive::new().file(".wh.f", "").file("f", "x"),
            File("f", "x"),
        ),
        (
            "FileThenWhiteout",
            |_| Archive::new().file("f", "x").file(".wh.f", ""),
            File("f", "x"),
        ),
        (
            "OpaqueBeforeDirectory",
            |_| Archive::new().file("d/.wh..wh..opq", "").dir("d"),
            Opaque("d"),
        ),
        (
            "OpaqueAfterContent",
            |_| {
                Archive::new()
                    .dir("d")
                    .file("d/f", "x")
                    .file("d/.wh..wh..opq", "")
            },
            Opaque("d"),
        ),
        (
            "OpaqueThroughSymlink",
            |_| {
                Archive::new()
                    .symlink("l", "../outside")
                    .file("l/.wh..wh..opq", "")
            },
            Opaque("outside"),
        ),
        (
            "AufsBookkeeping",
            |_| Archive::new().dir(".wh..wh.plnk").file(".wh..wh.aufs", ""),
            Absent(".wh..wh.plnk"),
        ),
        (
            "OverlayAttributes",
            |_| {
                Archive::new().add(&Spec {
                    path: "d",
                    kind: Kind::Directory,
                    xattrs: vec![(b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec())],
                    ..Spec::default()
                })
            },
            File("d", "directory"),
        ),
        ("RootAsFile", |_| Archive::new().file("./", "x"), Refused),
        (
            "OwnerOutOfRange",
            |_| {
                Archive::new().add(&Spec {
                    path: "f",
                    owner: (u32::MAX, 0),
                    ..Spec::default()
                })
            },
            Refused,
        ),
        // Not attacks: what real images rely on.
        (
            "AbsoluteSymlinkInside",
            |_| {
                Archive::new()
                    .dir("usr")
                    .dir("usr/bin")
                    .symlink("bin", "/usr/bin")
                    .file("bin/sh", "x")
            },
            File("usr/bin/sh", "x"),
        ),
        (
            "AbsoluteSymlinkChain",
            |_| {
                Archive::new()
                    .dir("etc")
                    .dir("etc/alternatives")
                    .dir("usr")
                    .symlink("etc/alternatives/d", "/usr")
                    .symlink("d", "/etc/alternatives/d")
                    .file("d/f", "x")
            },
            File("usr/f", "x"),
        ),
        (
            "MissingParents",
            |_| Archive::new().file("a/b/c/f", "x"),
            File("a/b/c/f", "x"),
        ),
    ]
}

impl Then {
    /// For archives whose names hold the host's absolute path: they may be refused or end below the
    /// root; the canary decides.
    fn or_inside(self) -> Self {
        Then::Absent("canary-outside")
    }
}

#[test]
fn nothing_outside_the_root_is_touched() {
    for (case, archive, then) in cases() {
        let world = World::new();
        let out = world.outside().to_str().unwrap().to_owned();
        let result = world.unpack(archive(&out));
        world.assert_untouched(case);
        let root = world.root();
        match then {
            Then::Refused => assert!(result.is_err(), "{case}"),
            _ => assert!(result.is_ok(), "{case}: {result:?}"),
        }
        match then {
            Then::Refused => {}
            Then::File(path, "directory") => {
                assert!(
                    std::fs::symlink_metadata(root.join(path)).unwrap().is_dir(),
                    "{case}"
                );
                let names: Vec<_> = xattr::list(root.join(path)).unwrap().collect();
                assert!(names.is_empty(), "{case}: {names:?}");
            }
            Then::File(path, "absent") => assert!(!root.join(path).exists(), "{case}"),
            Then::File(path, text) => {
                assert!(
                    std::fs::symlink_metadata(root.join(path))
                        .unwrap()
                        .is_file(),
                    "{case}"
                );
                assert_eq!(world.read(path), text, "{case}");
            }
            Then::Whiteout(path) => assert!(is_fifo_or_device(&root.join(path)), "{case}"),
            Then::Opaque(path) => assert!(is_opaque(&root.join(path)), "{case}"),
            Then::Link(path, target) => {
                let link = std::fs::read_link(root.join(path)).unwrap();
                assert_eq!(link, Path::new(target), "{case}");
            }
            Then::Absent(path) => assert!(!root.join(path).exists(), "{case}"),
        }
    }
}

#[test]
fn absolute_names_of_the_host_end_below_the_root() {
    let world = World::new();
    let out = world.outside().to_str().unwrap().to_owned();
    world
        .unpack(
            Archive::new()
                .symlink("link", &out)
                .file("link/canary", "x"),
        )
        .unwrap();
    world.assert_untouched("absolute");
    assert_eq!(
        world.read(&format!("{}/canary", out.trim_start_matches('/'))),
        "x"
    );
}

#[test]
fn entries_and_bytes_are_limited() {
    let limits = UnpackLimits {
        entries: 3,
        bytes: 10,
    };
    let world = World::new();
    let many = (0..4).fold(Archive::new(), |archive, number| {
        archive.file(&number.to_string(), "")
    });
    let error = unpack(&world.root(), many.finish().as_slice(), limits).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries(3)), "{error:?}");

    let limits = UnpackLimits {
        entries: 100,
        bytes: 10,
    };
    let world = World::new();
    let large = Archive::new()
        .file("a", "123456")
        .file("b", "12345")
        .finish();
    let error = unpack(&world.root(), large.as_slice(), limits).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyBytes(10)), "{error:?}");
    assert!(!world.root().join("b").exists());

    // A bomb that holds no file at all: padding after the end of the archive.
    let world = World::new();
    let limits = UnpackLimits {
        entries: 100,
        bytes: 10_000,
    };
    let padding = Archive::new().finish();
    let endless = padding.as_slice().chain(io::repeat(0));
    let error = unpack(&world.root(), endless, limits).unwrap_err();
    assert!(matches!(error, UnpackError::Archive(_)), "{error:?}");
}

#[test]
fn extension_headers_count_as_entries() {
    let limits = UnpackLimits {
        entries: 3,
        bytes: 1 << 20,
    };
    let mut tar = Vec::new();
    for _ in 0..4 {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(0);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
    }
    tar.extend(Archive::new().file("a", "").finish());
    let world = World::new();
    let error = unpack(&world.root(), tar.as_slice(), limits).unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries(3)), "{error:?}");
}

#[test]
fn a_capability_and_set_user_id_survive_the_owner() {
    let world = World::new();
    // Version 2, effective, CAP_NET_BIND_SERVICE (bit 10, a newline byte in the second word).
    let capability =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
            .to_vec();
    let archive = Archive::new().add(&Spec {
        path: "bin/ping",
        mode: 0o6755,
        owner: (100, 200),
        mtime: (-5, 250_000_000),
        xattrs: vec![(b"security.capability".to_vec(), capability.clone())],
        data: b"x",
        ..Spec::default()
    });
    world.unpack(archive).unwrap();
    let path = world.root().join("bin/ping");
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o6755);
    assert_eq!((metadata.uid(), metadata.gid()), (100, 200));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-5, 250_000_000));
    assert_eq!(
        xattr::get(&path, "security.capability").unwrap(),
        Some(capability)
    );
}

#[test]
fn directories_keep_their_times_whatever_comes_into_them() {
    let world = World::new();
    world
        .unpack(
            Archive::new()
                .dir("./")
                .dir("a")
                .dir("a/b")
                .file("a/b/c", "x")
                .file("a/d", "x"),
        )
        .unwrap();
    for path in ["", "a", "a/b"] {
        let metadata = std::fs::metadata(world.root().join(path)).unwrap();
        assert_eq!(metadata.mtime(), 1_000_000_000, "{path:?}");
    }
}
