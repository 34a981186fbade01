//! One container's life, step by step.

use super::*;

#[tokio::test]
async fn wait_before_and_after_an_exit_and_a_second_start() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    assert!(matches!(
        handle.start().await,
        Err(EngineError::AlreadyRunning(_))
    ));
    let info = handle.info().unwrap();
    assert_eq!((info.status, info.pid), (Status::Running, Some(4242)));
    let early = tokio::spawn({
        let handle = handle.clone();
        async move { handle.wait().await }
    });
    tokio::task::yield_now().await;
    world.jail.latest().exit(7, None, b"");
    assert_eq!(code(early.await.unwrap()), 7);
    assert_eq!(code(handle.wait().await), 7);
    assert_eq!(code(handle.stop(Duration::ZERO).await), 7);
    assert_eq!(handle.info().unwrap().status, Status::Exited);
    assert!(matches!(
        handle.kill(15, false).await,
        Err(EngineError::NotRunning(_))
    ));
    handle.start().await.unwrap();
    assert_eq!(handle.info().unwrap().exit, None);
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn the_last_words_are_in_the_log_before_the_exit_is_told() {
    let world = World::new();
    let mut events = world.events.subscribe();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    world.jail.latest().exit(1, None, b"last words");
    handle.wait().await.unwrap();
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(match event {
            Event::Created(_) => "created",
            Event::Started(_) => "started",
            Event::Adopted(_) => "adopted",
            Event::Log { line, .. } => {
                assert_eq!(line.bytes, b"last words");
                "log"
            }
            Event::Exited(_) => "exited",
            Event::StartFailed(_) => "start failed",
            Event::Asleep(_) => "asleep",
            Event::Awake(_) => "awake",
            Event::Removed(_) => "removed",
            Event::CreateFailed { .. } => "create failed",
        });
    }
    assert_eq!(seen, ["created", "started", "log", "exited"]);
}

#[tokio::test(start_paused = true)]
async fn remove_kills_answers_waits_with_137_and_frees_the_name_first() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    assert!(matches!(
        handle.remove(false).await,
        Err(EngineError::StillRunning(_))
    ));
    let (wait, gone) = (handle.clone(), handle.clone());
    let wait = tokio::spawn(async move { wait.wait().await });
    let gone = tokio::spawn(async move { gone.gone().await });
    settle().await;
    let (one, two) = tokio::join!(handle.remove(true), handle.remove(true));
    one.unwrap();
    two.unwrap();
    let again = world.create("c").await.unwrap();
    assert_eq!(code(wait.await.unwrap()), 137);
    gone.await.unwrap();
    assert!(matches!(
        handle.wait().await,
        Err(EngineError::NoSuchContainer(_))
    ));
    again.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn remove_during_a_start_waits_for_it_and_nothing_is_left() {
    for fails in [false, true] {
        let world = World::new();
        world.jail.held.send_replace(true);
        world.jail.fails.store(fails, Ordering::Relaxed);
        let handle = world.create("c").await.unwrap();
        let [start, wait, kill, remove] = [0, 1, 2, 3].map(|which| {
            let handle = handle.clone();
            tokio::spawn(async move {
                match which {
                    0 => handle.start().await.map(|()| 0),
                    1 => handle.wait().await.map(|status| status.code),
                    2 => handle.kill(15, false).await.map(|()| 0),
                    _ => handle.remove(true).await.map(|()| 0),
                }
            })
        });
        settle().await;
        assert_eq!(handle.info().unwrap().status, Status::Removing);
        assert!(!remove.is_finished());
        world.jail.held.send_replace(false);
        remove.await.unwrap().unwrap();
        start.await.unwrap().unwrap_err();
        assert!(matches!(
            kill.await.unwrap(),
            Err(EngineError::NotRunning(_))
        ));
        let expected = if fails { 127 } else { 137 };
        assert_eq!(wait.await.unwrap().unwrap(), expected);
        world.nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_vanishes_changes_nothing() {
    let world = World::new();
    world.jail.held.send_replace(true);
    let handle = world.create("c").await.unwrap();
    let caller = tokio::spawn({
        let handle = handle.clone();
        async move { handle.start().await }
    });
    settle().await;
    caller.abort();
    world.jail.held.send_replace(false);
    settle().await;
    assert_eq!(handle.info().unwrap().status, Status::Running);
    let remover = tokio::spawn({
        let handle = handle.clone();
        async move { handle.remove(true).await }
    });
    tokio::task::yield_now().await;
    remover.abort();
    handle.gone().await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_failed_start_is_told_logged_and_removable() {
    let world = World::new();
    world.jail.fails.store(true, Ordering::Relaxed);
    let handle = world.create("c").await.unwrap();
    assert!(matches!(
        handle.start().await,
        Err(EngineError::Start { .. })
    ));
    let info = handle.info().unwrap();
    assert_eq!(info.status, Status::Exited);
    assert!(info.error.unwrap().contains("`/nope` not found"));
    assert_eq!(code(handle.wait().await), 127);
    world.jail.fails.store(false, Ordering::Relaxed);
    handle.start().await.unwrap();
    assert_eq!(handle.info().unwrap().error, None);
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn stop_terminates_then_kills_after_the_grace() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    let begin = Instant::now();
    assert_eq!(code(handle.stop(Duration::from_secs(10)).await), 137);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    assert_eq!(*world.jail.latest().signals.lock().unwrap(), [15, 9]);

    handle.start().await.unwrap();
    let polite = world.jail.latest();
    polite.polite.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    assert_eq!(code(handle.stop(Duration::from_secs(10)).await), 143);
    assert!(begin.elapsed() < Duration::from_secs(1));
    settle().await;
    assert_eq!(*polite.signals.lock().unwrap(), [15]);
}

#[tokio::test(start_paused = true)]
async fn an_impatient_second_stop_shortens_the_first() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    let begin = Instant::now();
    let (one, two) = tokio::join!(
        handle.stop(Duration::from_secs(900)),
        handle.stop(Duration::from_secs(1)),
    );
    assert_eq!((code(one), code(two)), (137, 137));
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_first_listen_is_timed_and_liveness_follows_the_process() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    let liveness = handle.shared().liveness.subscribe();
    assert!(matches!(*liveness.borrow(), Liveness::Down));
    handle.start().await.unwrap();
    assert!(matches!(*liveness.borrow(), Liveness::Up(_)));
    tokio::time::sleep(Duration::from_millis(30)).await;
    world.jail.latest().ports.send_replace(BTreeSet::from([80]));
    settle().await;
    let first = handle.info().unwrap().timings.first_listen.unwrap();
    assert!((30..40).contains(&first.as_millis()), "{first:?}");
    world.jail.latest().exit(0, None, b"");
    handle.wait().await.unwrap();
    assert!(matches!(*liveness.borrow(), Liveness::Down));
}

#[tokio::test]
async fn an_exec_of_a_missing_program_names_it() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    let spec = crate::ExecSpec {
        argv: vec!["/missing".to_owned()],
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: true,
    };
    assert!(matches!(
        handle.exec(spec.clone()).await,
        Err(EngineError::NotRunning(_))
    ));
    handle.start().await.unwrap();
    let error = handle.exec(spec).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot execute `/missing` in container `c`"
    );
}

#[tokio::test]
async fn a_container_whose_engine_is_dropped_removes_itself() {
    let world = World::new();
    let handle = world.create("c").await.unwrap();
    handle.start().await.unwrap();
    let mut events = world.events.subscribe();
    drop(handle);
    // The table held the last way to the actor; without it nobody can ask for anything any more.
    let table = Arc::downgrade(&world.table);
    let World {
        table: owner, jail, ..
    } = world;
    drop(owner);
    assert!(table.upgrade().is_none());
    while !matches!(events.recv().await.unwrap(), Event::Removed(_)) {}
    assert_eq!(jail.living(), 0);
}

#[tokio::test]
async fn a_failed_preparation_frees_the_name() {
    let world = World::new();
    let (handle, mailbox) = Handle::new("00".to_owned(), "c".to_owned());
    let lease = world.table.claim("c", &handle).unwrap();
    let (created, answer) = oneshot::channel();
    let fails = async { Err::<Prepared<FakeJail>, _>(EngineError::NoIdRange) };
    let shared = Arc::clone(handle.shared());
    run(shared, mailbox, lease, world.events.clone(), fails, created).await;
    assert!(matches!(answer.await.unwrap(), Err(EngineError::NoIdRange)));
    assert!(matches!(
        handle.start().await,
        Err(EngineError::NoSuchContainer(_))
    ));
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}
