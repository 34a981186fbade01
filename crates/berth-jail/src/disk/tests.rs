//! Needs root and loop devices, like the tests of the jail.

use std::io::Write as _;
use std::path::Path;

use super::{Disk, DiskTemplate, attached_to};

const SIZE: u64 = 16 << 20;

fn fill(path: &Path) -> (u64, std::io::Error) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![1_u8; 1 << 16];
    let mut written = 0;
    loop {
        match file.write(&block) {
            Ok(bytes) => written += bytes as u64,
            Err(error) => return (written, error),
        }
    }
}

#[test]
fn a_disk_holds_its_size_and_its_neighbour_is_unharmed() {
    let directory = tempfile::tempdir().unwrap();
    let template = DiskTemplate::make(SIZE, directory.path()).unwrap();
    let full = Disk::create(&template, &directory.path().join("one")).unwrap();
    let other = Disk::create(&template, &directory.path().join("two")).unwrap();
    let (written, error) = fill(&full.upper().join("much"));
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(written > SIZE / 2 && written < SIZE, "{written}");
    assert!(full.used_bytes().unwrap() > SIZE * 9 / 10);
    std::fs::write(other.upper().join("little"), [7; 4096]).unwrap();
    assert!(other.used_bytes().unwrap() < SIZE / 2);
}

#[test]
fn inodes_run_out_too() {
    let directory = tempfile::tempdir().unwrap();
    let template = DiskTemplate::make(SIZE, directory.path()).unwrap();
    let disk = Disk::create(&template, &directory.path().join("one")).unwrap();
    let mut files = 0..100_000;
    let error = files.find_map(|n| std::fs::File::create(disk.upper().join(n.to_string())).err());
    let error = error.expect("a hundred thousand files fit");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn nothing_is_attached_when_the_disk_is_gone_and_it_can_be_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("renamed");
    let template = DiskTemplate::make(SIZE, directory.path()).unwrap();
    let mut disk = Disk::create(&template, &directory.path().join("first")).unwrap();
    disk.rename(&image).unwrap();
    std::fs::write(disk.upper().join("kept"), "x").unwrap();
    // A second one, as a daemon that adopts a container opens it, is the same file system.
    let again = Disk::open(&image).unwrap();
    assert_eq!(again.device, disk.device);
    drop(disk);
    assert_eq!(std::fs::read(again.upper().join("kept")).unwrap(), b"x");
    drop(again);
    assert_eq!(attached_to(&image).unwrap(), None);
    let later = Disk::open(&image).unwrap();
    assert_eq!(std::fs::read(later.upper().join("kept")).unwrap(), b"x");
}

#[test]
fn a_disk_that_cannot_be_made_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let damaged = DiskTemplate::of_zeros(SIZE);
    let image = directory.path().join("one");
    assert!(Disk::create(&damaged, &image).is_err());
    assert!(!image.exists());
}
