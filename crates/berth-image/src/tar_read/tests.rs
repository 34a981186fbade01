//! Archives where parsers are known to disagree, and the formats of sparse files.

use std::io::Read as _;

use tar::{EntryType, Header};

use super::*;
use crate::tar_write::pax_record;
use crate::testing::{Archive, Spec};

fn block(header: &mut Header, data: &[u8]) -> Vec<u8> {
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let data: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| pax_record(key.as_bytes(), value.as_bytes()))
        .collect();
    block(
        &mut header(EntryType::XHeader, "pax", data.len() as u64),
        &data,
    )
}

fn names(tar: &[u8]) -> io::Result<Vec<String>> {
    let mut reader = TarReader::new(tar);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        names.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    Ok(names)
}

/// TARmageddon (CVE-2025-62518): the header says 0, PAX says how long the inner archive is. A reader
/// that believes the header takes the inner archive's entries for its own.
#[test]
fn the_pax_size_wins_over_the_headers() {
    let inner = Archive::new().file("smuggled", "x").finish();
    let mut tar = pax(&[("size", &inner.len().to_string())]);
    tar.extend(block(
        &mut header(EntryType::Regular, "inner.tar", 0),
        &inner,
    ));
    tar.extend(Archive::new().file("after", "").finish());
    assert_eq!(names(&tar).unwrap(), ["inner.tar", "after"]);

    // Also behind a record whose value holds newlines.
    let mut tar = pax(&[
        ("SCHILY.xattr.user.a", "1\n2\n"),
        ("size", &inner.len().to_string()),
    ]);
    tar.extend(block(
        &mut header(EntryType::Regular, "inner.tar", 0),
        &inner,
    ));
    tar.extend(Archive::new().file("after", "").finish());
    assert_eq!(names(&tar).unwrap(), ["inner.tar", "after"]);
}

#[test]
fn the_pax_size_is_not_that_of_a_long_name_in_between() {
    let mut tar = pax(&[("size", "3")]);
    let long = "n".repeat(150);
    tar.extend(block(
        &mut header(EntryType::GNULongName, "././@LongLink", 151),
        format!("{long}\0").as_bytes(),
    ));
    tar.extend(block(&mut header(EntryType::Regular, "short", 0), b"abc"));
    tar.extend(Archive::new().finish());
    let mut reader = TarReader::new(tar.as_slice());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!((entry.path, entry.size), (long.into_bytes(), 3));
}

#[test]
fn links_and_directories_have_no_data_whatever_their_size_says() {
    for kind in [
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
    ] {
        let mut tar = block(&mut header(kind, "a", 512), b"");
        tar.extend(Archive::new().file("b", "").finish());
        assert_eq!(names(&tar).unwrap(), ["a", "b"], "{kind:?}");
    }
}

#[test]
fn damaged_archives_are_errors() {
    let good = Archive::new().file("a", "text").finish();
    assert!(
        names(&good[..700]).is_err(),
        "cut off inside the data's block"
    );
    assert!(names(&good[..100]).is_err(), "cut off inside a header");
    let mut bad = good.clone();
    bad[3] ^= 1;
    assert!(names(&bad).is_err(), "checksum");
    assert!(names(&[0x55; 2048]).is_err(), "no tar at all");
    assert!(names(&block(&mut header(EntryType::Regular, "a", u64::MAX), b"")).is_err());
    let long = block(&mut header(EntryType::XHeader, "a", 1 << 30), b"");
    assert!(names(&long).unwrap_err().to_string().contains("too long"));
    assert!(names(&[]).unwrap().is_empty());
}

fn contents(tar: &[u8]) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    crate::unpack::unpack(
        directory.path(),
        tar,
        crate::unpack::UnpackLimits::default(),
    )
    .unwrap();
    let entry = std::fs::read_dir(directory.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let name = entry.file_name().into_string().unwrap();
    (name, std::fs::read(entry.path()).unwrap())
}

#[test]
fn sparse_files_are_read_in_every_format() {
    let mut expected = vec![0; 5000];
    expected[1000..1003].copy_from_slice(b"abc");
    expected[4000..4002].copy_from_slice(b"de");
    let map = "1000,3,4000,2,5000,0";

    let mut old = Header::new_gnu();
    old.set_entry_type(EntryType::GNUSparse);
    old.as_mut_bytes()[..4].copy_from_slice(b"file");
    old.set_mode(0o644);
    old.set_uid(0);
    old.set_gid(0);
    old.set_mtime(0);
    old.set_size(5);
    let gnu = old.as_gnu_mut().unwrap();
    for (slot, (offset, len)) in gnu.sparse.iter_mut().zip([(1000, 3), (4000, 2)]) {
        slot.offset
            .copy_from_slice(format!("{offset:011o}\0").as_bytes());
        slot.numbytes
            .copy_from_slice(format!("{len:011o}\0").as_bytes());
    }
    gnu.realsize
        .copy_from_slice(format!("{:011o}\0", 5000).as_bytes());
    let old = block(&mut old, b"abcde");

    let mut zero_one = pax(&[
        ("GNU.sparse.size", "5000"),
        ("GNU.sparse.map", map),
        ("GNU.sparse.name", "file"),
    ]);
    zero_one.extend(block(
        &mut header(EntryType::Regular, "GNUSparseFile.0/file", 5),
        b"abcde",
    ));

    let mut one = pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "file"),
        ("GNU.sparse.realsize", "5000"),
    ]);
    let mut data = b"2\n1000\n3\n4000\n2\n".to_vec();
    data.resize(512, 0);
    data.extend(b"abcde");
    one.extend(block(
        &mut header(
            EntryType::Regular,
            "GNUSparseFile.0/file",
            data.len() as u64,
        ),
        &data,
    ));

    for (format, mut tar) in [("old", old), ("0.1", zero_one), ("1.0", one)] {
        tar.extend(Archive::new().finish());
        assert_eq!(
            contents(&tar),
            ("file".to_owned(), expected.clone()),
            "{format}"
        );
    }
}

#[test]
fn sparse_maps_that_lie_are_errors() {
    for map in [
        "0,6",
        "4999,5",
        "3,2,1,3",
        "0,5,1",
        "18446744073709551615,5",
        "0,4",
    ] {
        let mut tar = pax(&[("GNU.sparse.size", "5000"), ("GNU.sparse.map", map)]);
        tar.extend(block(&mut header(EntryType::Regular, "file", 5), b"abcde"));
        assert!(names(&tar).is_err(), "{map}");
    }
}

#[test]
fn what_the_writer_wrote_is_read_back() {
    let long = format!("{}/ü", "d".repeat(300));
    let tar = Archive::new()
        .add(&Spec {
            path: &long,
            owner: (0o7_777_777, 0o10_000_000),
            mtime: (-2, 1),
            xattrs: vec![(b"user.x".to_vec(), b"\n=\0".to_vec())],
            data: b"data",
            ..Spec::default()
        })
        .symlink("s", &long)
        .finish();
    let mut reader = TarReader::new(tar.as_slice());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!((entry.uid, entry.gid), (0o7_777_777, 0o10_000_000));
    assert_eq!(entry.mtime, (-2, 1));
    assert_eq!(entry.xattrs, [(b"user.x".to_vec(), b"\n=\0".to_vec())]);
    let mut data = String::new();
    reader.read_to_string(&mut data).unwrap();
    assert_eq!(data, "data");
    let link = reader.next_entry().unwrap().unwrap();
    assert_eq!((link.kind, link.link), (Kind::Symlink, long.into_bytes()));
    assert!(reader.next_entry().unwrap().is_none());
}

proptest::proptest! {
    /// Random changes to an archive make errors or other archives, never a panic or a hang.
    #[test]
    fn random_damage_is_survived(changes in proptest::collection::vec((0_usize..4096, 0_u8..=255), 1..20)) {
        let mut tar = pax(&[("path", "other"), ("mtime", "1.5")]);
        tar.extend(Archive::new().file("a", "text").symlink("b", "a").dir("c").finish());
        for (at, value) in changes {
            let at = at % tar.len();
            tar[at] = value;
        }
        let _ = names(&tar);
    }
}
