use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use super::*;

fn place(directory: &Path) -> Place {
    Place::new(std::fs::File::open(directory).unwrap().into(), 0)
}

fn archive(place: &Place, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let found = place.find(path).unwrap();
    place.read(&found, &mut bytes).unwrap();
    bytes
}

/// Names in an archive, with what their entries hold.
fn entries(archive: &[u8]) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::File::open(directory.path()).unwrap();
    berth_image::extract(root.into(), archive).unwrap();
    let mut found = Vec::new();
    let mut left = vec![directory.path().to_owned()];
    while let Some(path) = left.pop() {
        let relative = path.strip_prefix(directory.path()).unwrap();
        let name = relative.display().to_string();
        let kind = path.symlink_metadata().unwrap();
        if kind.is_dir() {
            let inside = std::fs::read_dir(&path).unwrap();
            left.extend(inside.map(|entry| entry.unwrap().path()));
            found.push((format!("{name}/"), String::new()));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            found.push((name, target.display().to_string()));
        } else {
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn strings(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, content): &(&str, &str)| ((*name).to_owned(), (*content).to_owned());
    list.iter().map(owned).collect()
}

fn tree() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    std::fs::create_dir_all(at("srv/data")).unwrap();
    std::fs::write(at("srv/data/a"), "1").unwrap();
    symlink("/srv/data", at("link")).unwrap();
    symlink("/etc", at("srv/out")).unwrap();
    directory
}

#[test]
fn the_form_of_the_path_says_how_entries_are_named() {
    let directory = tree();
    let place = place(directory.path());
    let inside = strings(&[("/", ""), ("a", "1")]);
    for path in ["/srv/data/.", "srv/data/.", "/link/.", "/srv/../link//./."] {
        assert_eq!(entries(&archive(&place, path)), inside, "{path}");
    }
    let named = strings(&[("/", ""), ("data/", ""), ("data/a", "1")]);
    for path in ["/srv/data", "/srv/data/"] {
        assert_eq!(entries(&archive(&place, path)), named, "{path}");
    }
    let file = strings(&[("/", ""), ("a", "1")]);
    assert_eq!(entries(&archive(&place, "/link/a")), file);
    let link = strings(&[("/", ""), ("link", "/srv/data")]);
    assert_eq!(entries(&archive(&place, "/link")), link);
    assert_eq!(entries(&archive(&place, "/.")).len(), 6);
    assert_eq!(entries(&archive(&place, "/")).len(), 6);
}

#[test]
fn what_is_not_there_and_what_is_no_directory_differ() {
    let directory = tree();
    let place = place(directory.path());
    for path in ["/nope", "/nope/.", "/srv/data/a/b", "/srv/out/passwd"] {
        let error = place.find(path).err();
        assert!(matches!(error, Some(EngineError::NoSuchPath(_))), "{path}");
    }
    for path in ["/srv/data/a/.", "/srv/data/a/"] {
        let error = place.find(path).err();
        assert!(
            matches!(error, Some(EngineError::NotADirectory(_))),
            "{path}"
        );
    }
    let none = io::empty();
    let error = place.write("/nope", none, WriteOptions::default());
    assert!(matches!(error, Err(EngineError::NoSuchPath(_))));
    let error = place.write("/srv/data/a", io::empty(), WriteOptions::default());
    assert!(matches!(error, Err(EngineError::NotADirectory(_))));
}

#[test]
fn stat_describes_links_themselves() {
    let directory = tree();
    let place = place(directory.path());
    let link = place.find("/link").unwrap().stat;
    assert_eq!(
        (link.name.as_str(), link.link_target.as_str()),
        ("link", "/srv/data")
    );
    let file = place.find("/srv/data/a").unwrap().stat;
    assert_eq!((file.size, file.mode & 0o170_000), (1, 0o100_000));
    assert_eq!(place.find("/").unwrap().stat.name, "/");
}

#[test]
fn links_on_the_way_stay_in_the_root() {
    let directory = tree();
    let place = place(directory.path());
    let host = std::fs::metadata("/etc").unwrap().mtime_nsec();
    let packed = archive(&place, "/srv/data/.");
    std::fs::create_dir(directory.path().join("etc")).unwrap();
    // `/srv/out` leads to `/etc`: the one inside.
    place
        .write("/srv/out", packed.as_slice(), WriteOptions::default())
        .unwrap();
    let written = directory.path().join("etc/a");
    assert_eq!(std::fs::read_to_string(written).unwrap(), "1");
    assert_eq!(std::fs::metadata("/etc").unwrap().mtime_nsec(), host);
}

#[test]
fn kinds_are_kept_when_asked() {
    let directory = tree();
    let place = place(directory.path());
    let keep = WriteOptions { keep_kinds: true };
    let file = archive(&place, "/srv/data/a");
    std::fs::create_dir_all(directory.path().join("x/a")).unwrap();
    assert!(place.write("/x", file.as_slice(), keep).is_err());
    assert!(directory.path().join("x/a").is_dir());
    place
        .write("/x", file.as_slice(), WriteOptions::default())
        .unwrap();
    assert!(directory.path().join("x/a").is_file());
}

#[test]
fn pieces_come_out_as_they_went_in() {
    let (sender, receiver) = mpsc::channel(1);
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE + 5).collect();
    let to_send = sent.clone();
    let writer = std::thread::spawn(move || {
        let mut writer = PieceWriter::new(sender);
        writer.write_all(&to_send).unwrap();
        writer.flush().unwrap();
    });
    let mut received = Vec::new();
    PieceReader::new(receiver)
        .read_to_end(&mut received)
        .unwrap();
    writer.join().unwrap();
    assert_eq!(received, sent);
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    let (sender, receiver) = mpsc::channel(2);
    sender.blocking_send(Ok(Bytes::from_static(b"x"))).unwrap();
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    sender.blocking_send(Err(broken)).unwrap();
    let error = PieceReader::new(receiver)
        .read_to_end(&mut Vec::new())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let mut writer = PieceWriter::new(sender);
    let error = writer
        .write_all(b"x")
        .and_then(|()| writer.flush())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
