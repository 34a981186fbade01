use std::time::{Duration, SystemTime};

use super::*;

fn volumes() -> (tempfile::TempDir, Volumes) {
    let directory = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(&directory.path().join("volumes"), directory.path()).unwrap();
    (directory, volumes)
}

fn create(volumes: &Volumes, name: &str) -> VolumeInfo {
    volumes
        .create(name, BTreeMap::new(), BTreeMap::new())
        .unwrap()
}

#[test]
fn a_volume_is_there_for_every_session_until_it_is_removed() {
    let (directory, volumes) = volumes();
    let labels = BTreeMap::from([("made-at".to_owned(), "7".to_owned())]);
    let made = volumes
        .create("a", labels.clone(), BTreeMap::new())
        .unwrap();
    assert_eq!(made.labels, labels);
    fs_err::write(volumes.lease("a").unwrap().data().join("x"), "1").unwrap();
    // Made again, it stays as it is.
    assert_eq!(create(&volumes, "a"), made);
    let other = Volumes::open(&directory.path().join("volumes"), directory.path()).unwrap();
    assert_eq!(other.get("a"), Some(made.clone()));
    assert_eq!(other.list().unwrap(), [made]);
    let data = other.lease("a").unwrap().data();
    assert_eq!(fs_err::read_to_string(data.join("x")).unwrap(), "1");
    other.remove("a").unwrap();
    assert_eq!(volumes.get("a"), None);
    assert!(matches!(
        volumes.remove("a"),
        Err(EngineError::NoSuchVolume(_))
    ));
    assert_eq!(fs_err::read_dir(&volumes.root).unwrap().count(), 0);
}

#[test]
fn a_volume_in_use_stays() {
    let (directory, volumes) = volumes();
    let leases = [volumes.lease("a").unwrap(), volumes.lease("a").unwrap()];
    let other = Volumes::open(&directory.path().join("volumes"), directory.path()).unwrap();
    for lease in leases {
        assert!(matches!(
            other.remove("a"),
            Err(EngineError::VolumeInUse(_))
        ));
        drop(lease);
    }
    other.remove("a").unwrap();
}

#[test]
fn names_cannot_lead_elsewhere() {
    let (_directory, volumes) = volumes();
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        ".new-1",
        "-a",
        "a b",
        &"a".repeat(201),
    ] {
        let made = volumes.create(name, BTreeMap::new(), BTreeMap::new());
        assert!(matches!(made, Err(EngineError::InvalidVolume(_))), "{name}");
        assert!(volumes.get(name).is_none());
        assert!(matches!(
            volumes.remove(name),
            Err(EngineError::NoSuchVolume(_))
        ));
    }
}

#[test]
fn one_of_many_makers_wins() {
    let (directory, _volumes) = volumes();
    let root = directory.path().join("volumes");
    let made: Vec<VolumeInfo> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number: i32| {
                let root = &root;
                scope.spawn(move || {
                    let labels = BTreeMap::from([("by".to_owned(), number.to_string())]);
                    let volumes = Volumes::open(root, root).unwrap();
                    volumes.create("a", labels, BTreeMap::new()).unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(made.iter().all(|info| *info == made[0]), "{made:?}");
    assert_eq!(fs_err::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn what_was_left_half_way_goes() {
    let (directory, volumes) = volumes();
    create(&volumes, "keep");
    for (name, seconds_old) in [(".new-1", 3600), (".new-2", 0), (".dead-3", 0)] {
        let path = volumes.root.join(name);
        fs_err::create_dir_all(&path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds_old);
        File::open(&path).unwrap().set_modified(then).unwrap();
    }
    Volumes::open(&directory.path().join("volumes"), directory.path()).unwrap();
    let mut left = volumes.entries().unwrap();
    left.sort();
    assert_eq!(left, [".new-2", "keep"]);
}

#[test]
fn an_interrupted_fill_is_done_again() {
    let (_directory, volumes) = volumes();
    let lease = volumes.lease("a").unwrap();
    let data = lease.data();
    // As a daemon leaves it that is killed.
    fs_err::write(lease.directory.join(FILLING), []).unwrap();
    fs_err::create_dir(data.join("half")).unwrap();
    let failed = lease.fill_if_empty(|_| {
        fs_err::write(data.join("again half"), []).unwrap();
        Err(EngineError::NoIdRange)
    });
    assert!(failed.is_err());
    assert_eq!(fs_err::read_dir(&data).unwrap().count(), 0);
    lease
        .fill_if_empty(|_| {
            fs_err::write(data.join("whole"), []).unwrap();
            Ok(())
        })
        .unwrap();
    lease.fill_if_empty(|_| panic!("it is not empty")).unwrap();
    assert_eq!(fs_err::read_dir(&data).unwrap().count(), 1);
    assert!(!lease.directory.join(FILLING).exists());
}

#[test]
fn a_volume_ends_with_its_session_unless_it_is_kept() {
    let (directory, volumes) = volumes();
    let sessions = directory.path().join("sessions");
    let session = crate::Session::create(&sessions, directory.path()).unwrap();
    let of_session = Volumes::open(&volumes.root, &session.dir).unwrap();
    create(&volumes, "mine");
    for name in ["passing", "kept", "used"] {
        let made = of_session.create_passing(name, BTreeMap::new(), BTreeMap::new());
        assert_eq!(made.unwrap().name, name);
    }
    of_session.lease("kept").unwrap().keep().unwrap();
    let used = volumes.lease("used").unwrap();
    let names = |volumes: &Volumes| {
        let list = volumes.list().unwrap().into_iter();
        list.map(|volume| volume.name).collect::<Vec<_>>()
    };
    // It lives.
    Volumes::open(&volumes.root, directory.path()).unwrap();
    assert_eq!(names(&volumes), ["kept", "mine", "passing", "used"]);
    // As a daemon leaves it that is killed: with the lock free.
    drop(session);
    Volumes::open(&volumes.root, directory.path()).unwrap();
    assert_eq!(names(&volumes), ["kept", "mine", "used"]);
    drop(used);
    volumes.end_session().unwrap();
    assert_eq!(names(&volumes), ["kept", "mine", "used"], "another's");
    of_session.end_session().unwrap();
    assert_eq!(names(&volumes), ["kept", "mine"]);
}

#[test]
fn an_unfinished_volume_goes_when_its_maker_has() {
    let (directory, volumes) = volumes();
    let info = VolumeInfo {
        name: "a".to_owned(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        created_ms: 0,
    };
    let living = make(&volumes.root.join(".new-1"), &info, None).unwrap();
    drop(make(&volumes.root.join(".new-2"), &info, None).unwrap());
    Volumes::open(&volumes.root, directory.path()).unwrap();
    assert_eq!(volumes.entries().unwrap(), [".new-1"]);
    drop(living);
    Volumes::open(&volumes.root, directory.path()).unwrap();
    assert_eq!(volumes.entries().unwrap(), [""; 0]);
}
