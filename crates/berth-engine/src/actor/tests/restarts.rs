//! What is started again by itself, what is not, and how many may run.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_started_again_with_growing_pauses() {
    let world = World::new();
    let handle = world
        .create_with("c", |policy| {
            policy.restart = RestartPolicy::OnFailure(None);
        })
        .await;
    handle.start().await.unwrap();
    for (round, pause) in [100, 200, 400].into_iter().enumerate() {
        let waiter = tokio::spawn({
            let handle = handle.clone();
            async move { handle.wait().await }
        });
        tokio::task::yield_now().await;
        world.jail.latest().exit(5, None, b"");
        assert_eq!(code(waiter.await.unwrap()), 5, "told at once");
        settle().await;
        let info = handle.info().unwrap();
        assert!(info.restarting && info.status == Status::Exited, "{info:?}");
        tokio::time::sleep(Duration::from_millis(pause - 10)).await;
        assert_eq!(world.jail.living(), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.jail.living(), 1);
        let info = handle.info().unwrap();
        assert_eq!(info.restart_count as usize, round + 1);
        assert_eq!((info.restarting, info.status), (false, Status::Running));
    }
    world.jail.latest().exit(0, None, b"");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.jail.living(), 0, "0 is no failure");
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn who_ends_a_container_ends_its_restarts() {
    let world = World::new();
    for pausing in [false, true] {
        let handle = world
            .create_with("c", |policy| {
                policy.restart = RestartPolicy::Always;
            })
            .await;
        handle.start().await.unwrap();
        if pausing {
            world.jail.latest().exit(1, None, b"");
            settle().await;
        }
        handle.kill(9, false).await.unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.jail.living(), 0);
        assert!(!handle.info().unwrap().restarting);
        // Somebody starts it again, and removes it while it waits for the next time.
        handle.start().await.unwrap();
        world.jail.latest().exit(1, None, b"");
        settle().await;
        handle.remove(false).await.unwrap();
    }
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn who_insists_is_obeyed_when_the_grace_is_over() {
    let world = World::new();
    let handle = world
        .create_with("c", |policy| {
            policy.stop_grace = Duration::from_secs(7);
        })
        .await;
    handle.start().await.unwrap();
    handle.kill(15, true).await.unwrap();
    // Asking again does not prolong it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    handle.kill(15, true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(world.jail.living(), 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.jail.living(), 0);
    assert_eq!(code(handle.wait().await), 137);
    assert_eq!(*world.jail.latest().signals.lock().unwrap(), [15, 15, 9]);
    handle.remove(false).await.unwrap();
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_instance_too_many_is_refused_until_another_has_ended() {
    let world = World::new();
    let limited = |policy: &mut crate::Policy| {
        policy.instances = Some(crate::InstanceLimit {
            application: "app".to_owned(),
            max: 1,
        });
    };
    let first = world.create_with("a", limited).await;
    let second = world.create_with("b", limited).await;
    first.start().await.unwrap();
    assert!(matches!(
        second.start().await,
        Err(EngineError::NoInstance { max: 1, .. })
    ));
    assert_eq!(second.info().unwrap().status, Status::Created);
    world.jail.latest().exit(0, None, b"");
    first.wait().await.unwrap();
    // A start that fails gives its place back.
    world.jail.fails.store(true, Ordering::Relaxed);
    assert!(matches!(
        second.start().await,
        Err(EngineError::Start { .. })
    ));
    world.jail.fails.store(false, Ordering::Relaxed);
    second.start().await.unwrap();
    assert!(first.start().await.is_err());
    second.remove(true).await.unwrap();
    first.start().await.unwrap();
    first.remove(true).await.unwrap();
    world.nothing_is_left().await;
}
