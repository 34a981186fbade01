//! Sessions in temporary directories; a dead daemon is one whose lock was dropped.

use std::sync::Mutex;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Leaves the directory, as a killed daemon does.
fn die(session: Session) -> PathBuf {
    session.dir
}

#[test]
fn a_living_session_is_listed_and_not_swept() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("sessions");
    assert_eq!(sessions(&root).unwrap(), []);
    let session = Session::create(&root, Path::new("/srv/app")).unwrap();
    assert_eq!(sweep(&root).unwrap(), Vec::<String>::new());
    let listed = sessions(&root).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, session.id);
    assert_eq!(listed[0].pid, std::process::id());
    assert_eq!(listed[0].project, Path::new("/srv/app"));
    assert_eq!(listed[0].socket, session.socket);
    assert_eq!(names(&root), std::slice::from_ref(&session.id));
    session.remove().unwrap();
    assert!(names(&root).is_empty());
}

#[test]
fn a_socket_path_always_fits() {
    let short = Path::new("/run/berth/sessions/0123456789ab");
    assert_eq!(
        socket_path(short, "0123456789ab"),
        short.join("docker.sock")
    );
    let long = PathBuf::from(format!("/{}", "x".repeat(120)));
    let path = socket_path(&long, "0123456789ab");
    assert!(path.as_os_str().len() <= SOCKET_PATH_MAX);
}

#[test]
fn the_lock_excludes_others_until_it_is_dropped() {
    let temp = tempfile::tempdir().unwrap();
    let held = SessionLock::acquire(temp.path()).unwrap().unwrap();
    assert!(SessionLock::acquire(temp.path()).unwrap().is_none());
    drop(held);
    assert!(SessionLock::acquire(temp.path()).unwrap().is_some());
    assert!(SessionLock::acquire(&temp.path().join("none")).is_err());
}

#[test]
fn a_fresh_unfinished_directory_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let unfinished = temp.path().join(".new-00");
    std::fs::create_dir(&unfinished).unwrap();
    assert!(sweep(temp.path()).unwrap().is_empty());
    assert!(unfinished.exists());
    assert_eq!(sessions(temp.path()).unwrap(), []);
}

#[test]
fn a_dead_session_is_swept_once_by_many() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let dead: Vec<PathBuf> = (0..5)
        .map(|_| die(Session::create(root, Path::new("/p")).unwrap()))
        .collect();
    std::fs::create_dir_all(dead[0].join("containers/x/upper")).unwrap();
    let alive = Session::create(root, Path::new("/p")).unwrap();
    let killed = Mutex::new(Vec::new());
    let kill = |cgroup: &str| {
        killed.lock().unwrap().push(cgroup.to_owned());
        Ok(())
    };
    let sweeper = || sweep_with(root, &kill).unwrap();
    let mut swept: Vec<String> = std::thread::scope(|scope| {
        let sweepers: Vec<_> = (0..4).map(|_| scope.spawn(sweeper)).collect();
        sweepers
            .into_iter()
            .flat_map(|sweeper| sweeper.join().unwrap())
            .collect()
    });
    swept.sort();
    swept.dedup();
    let mut expected: Vec<String> = dead
        .iter()
        .map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    expected.sort();
    assert_eq!(swept, expected);
    let killed = killed.into_inner().unwrap();
    for id in expected {
        assert!(killed.contains(&format!("berth/{id}")));
    }
    assert!(!killed.contains(&alive.cgroup));
    assert_eq!(names(root), std::slice::from_ref(&alive.id));
    alive.remove().unwrap();
}

#[test]
fn a_session_that_cannot_be_swept_stays_for_the_next_time() {
    let temp = tempfile::tempdir().unwrap();
    let dir = die(Session::create(temp.path(), Path::new("/p")).unwrap());
    let fails = |_: &str| Err(JailError::NotFound("x".to_owned()));
    assert!(sweep_with(temp.path(), &fails).unwrap().is_empty());
    assert!(dir.join(RECORD).exists());
    let works = |_: &str| Ok(());
    assert_eq!(sweep_with(temp.path(), &works).unwrap().len(), 1);
    assert!(!dir.exists());
}

#[test]
fn a_deletion_that_was_interrupted_is_finished() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(temp.path().join(".dead-00/containers/x")).unwrap();
    std::fs::create_dir(temp.path().join("not-a-session")).unwrap();
    assert!(sweep(temp.path()).unwrap().is_empty());
    assert_eq!(names(temp.path()), ["not-a-session"]);
}

#[test]
fn a_kept_session_lives_as_long_as_somebody_has_its_lock_and_is_taken_over_by_it() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let other = Session::create(root, Path::new("/p")).unwrap();
    let session = Session::create_kept(root, Path::new("/p")).unwrap();
    let (id, cgroup) = (session.id.clone(), session.cgroup.clone());
    let lock = session.lock_descriptor().unwrap();
    let dir = die(session);
    for stale in ["docker.sock", "session.json~"] {
        std::fs::write(dir.join(stale), "").unwrap();
    }
    std::fs::create_dir_all(dir.join("disks/ahead")).unwrap();
    std::fs::create_dir_all(dir.join("containers/x")).unwrap();
    std::fs::write(dir.join("zygote.sock"), "").unwrap();
    let never = |_: &str| panic!("nothing is dead");
    assert!(sweep_with(root, &never).unwrap().is_empty());
    let kept = kept_sessions(root).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].id, id);
    assert_eq!(kept[0].zygote_socket(root), dir.join("zygote.sock"));

    // Only its own lock does.
    let wrong = other.lock_descriptor().unwrap();
    assert!(Session::adopt(root, kept[0].clone(), wrong).is_err());
    let adopted = Session::adopt(root, kept[0].clone(), lock).unwrap();
    assert_eq!((&adopted.id, &adopted.cgroup), (&id, &cgroup));
    let left = ["containers", "lock", "session.json", "zygote.sock"];
    assert_eq!(names(&dir), left);
    assert_eq!(names(&dir.join("containers")), ["x"]);
    assert!(sweep_with(root, &never).unwrap().is_empty());
    assert_eq!(kept_sessions(root).unwrap().len(), 1);

    // Nobody has it any more.
    drop(adopted);
    assert!(kept_sessions(root).unwrap().is_empty());
    assert_eq!(sweep_with(root, &|_: &str| Ok(())).unwrap(), [id]);
    other.remove().unwrap();
}
