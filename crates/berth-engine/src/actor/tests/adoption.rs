//! Containers that a daemon before has started.

use super::*;

impl World {
    /// A container whose process a daemon before has started; what that had to say to the log is in its pipe.
    async fn adopt(&self, name: &str, change: impl FnOnce(&mut Adopted<FakeGuest>)) -> Handle {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:064x}");
        let (handle, mailbox) = Handle::new(id.clone(), name.to_owned());
        let lease = self.table.claim(name, &handle).unwrap();
        let mut prepared = self.prepared(&id, name);
        prepared.info.started_ms = Some(now_ms());
        prepared.info.restart_count = 4;
        let (capture, output, _) = Capture::start(prepared.sink.clone()).unwrap();
        let guest = self.jail.launch(1, output).await.unwrap();
        let mut adopted = Adopted {
            guest,
            capture,
            launches: 3,
            past: Past::default(),
            kill_at_ms: None,
        };
        change(&mut adopted);
        let place = (
            Arc::clone(handle.shared()),
            mailbox,
            lease,
            self.events.clone(),
        );
        let (created, answer) = oneshot::channel();
        tokio::spawn(adopt(place, prepared, adopted, created));
        answer.await.unwrap().unwrap();
        handle
    }
}

#[tokio::test]
async fn a_container_that_is_taken_over_runs_and_its_end_is_told_once() {
    let world = World::new();
    let mut events = world.events.subscribe();
    let limited = |policy: &mut crate::Policy| {
        policy.instances = Some(crate::InstanceLimit {
            application: "app".to_owned(),
            max: 0,
        });
    };
    limited(&mut world.policy.lock().unwrap());
    let handle = world.adopt("c", |_| {}).await;
    let info = handle.info().unwrap();
    assert_eq!(info.status, Status::Running);
    assert_eq!((info.pid.is_some(), info.restart_count), (true, 4));
    assert!(matches!(
        handle.start().await,
        Err(EngineError::AlreadyRunning(_))
    ));
    let limit = info.policy.instances.clone().unwrap();
    let two = crate::InstanceLimit { max: 1, ..limit };
    assert!(world.slots.check(&two, &info.limits).is_err(), "it has one");
    world.jail.latest().exit(7, None, b"last words\n");
    assert_eq!(code(handle.wait().await), 7);
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(match event {
            Event::Adopted(_) => "adopted",
            Event::Exited(_) => "exited",
            Event::Log { .. } => "log",
            _ => "something else",
        });
    }
    assert_eq!(seen, ["adopted", "log", "exited"]);
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_has_ended_meanwhile_is_told_as_ended() {
    let world = World::new();
    let ended = |adopted: &mut Adopted<FakeGuest>| {
        adopted.guest.0.exit(9, None, b"");
    };
    let handle = world.adopt("c", ended).await;
    assert_eq!(code(handle.wait().await), 9);
    assert_eq!(handle.info().unwrap().status, Status::Exited);
    // It can be started again.
    handle.start().await.unwrap();
    handle.remove(true).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn who_was_asked_to_end_before_is_killed_when_the_grace_is_over() {
    let world = World::new();
    let late = |adopted: &mut Adopted<FakeGuest>| {
        adopted.kill_at_ms = Some(now_ms());
    };
    let handle = world.adopt("c", late).await;
    assert_eq!(code(handle.wait().await), 137);
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}
