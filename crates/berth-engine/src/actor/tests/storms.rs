//! Calls of all kinds in any order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Move {
    Create,
    Start,
    Wait,
    Stop,
    Kill,
    Remove(bool),
    /// The caller of the latest request vanishes.
    Vanish,
    Pause,
    Unpause,
    Wake,
    /// Something uses the container for a moment.
    Use,
    ProcessExits,
    HoldLaunches(bool),
    FailLaunches(bool),
    LetTimePass,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => Just(Move::Create),
        4 => Just(Move::Start),
        3 => Just(Move::Wait),
        1 => Just(Move::Stop),
        1 => Just(Move::Kill),
        1 => Just(Move::Pause),
        1 => Just(Move::Unpause),
        2 => Just(Move::Wake),
        2 => Just(Move::Use),
        2 => any::<bool>().prop_map(Move::Remove),
        2 => Just(Move::Vanish),
        2 => Just(Move::ProcessExits),
        1 => any::<bool>().prop_map(Move::HoldLaunches),
        1 => any::<bool>().prop_map(Move::FailLaunches),
        4 => Just(Move::LetTimePass),
    ];
    prop::collection::vec(one, 0..40)
}

/// A wait on a container that exists has an answer, unless it came when all was over.
fn answered(result: Result<ExitStatus, EngineError>) {
    assert!(matches!(
        result,
        Ok(_) | Err(EngineError::NoSuchContainer(_))
    ));
}

/// Any storm of calls on one name: every call is answered, at most one process lives, and after a
/// last remove nothing is left.
async fn storm(moves: Vec<Move>) {
    let world = World::new();
    *world.sleep.lock().unwrap() = Some(SleepPolicy {
        freeze_after: Duration::from_millis(2),
        quiet_connection_after: None,
        checkpoint_after: Some(Duration::from_millis(2)),
    });
    let mut calls = tokio::task::JoinSet::new();
    let mut aborts = Vec::new();
    for step in moves {
        let handle = world.table.find("c");
        match step {
            Move::Create => match (world.create("c").await, handle) {
                (Ok(_), _) | (Err(EngineError::NameInUse(_)), Some(_)) => {}
                (result, before) => panic!("{result:?} with {before:?}"),
            },
            Move::Use => {
                if let Some(handle) = handle {
                    drop(handle.shared().activity.begin());
                }
            }
            Move::Start
            | Move::Wait
            | Move::Stop
            | Move::Kill
            | Move::Pause
            | Move::Unpause
            | Move::Wake
            | Move::Remove(_) => {
                let Some(handle) = handle else { continue };
                aborts.push(calls.spawn(async move {
                    match step {
                        Move::Start => drop(handle.start().await),
                        Move::Wait => answered(handle.wait().await),
                        Move::Stop => drop(handle.stop(Duration::from_millis(5)).await),
                        Move::Kill => drop(handle.kill(9, false).await),
                        Move::Pause => drop(handle.pause().await),
                        Move::Unpause => drop(handle.unpause().await),
                        Move::Wake => drop(handle.wake().await),
                        Move::Remove(force) => drop(handle.remove(force).await),
                        _ => {}
                    }
                }));
            }
            Move::Vanish => {
                if let Some(caller) = aborts.pop() {
                    caller.abort();
                }
            }
            Move::ProcessExits => {
                let last = world.jail.launched.lock().unwrap().last().cloned();
                if let Some(process) = last {
                    process.exit(3, None, b"bye");
                }
            }
            Move::HoldLaunches(held) => drop(world.jail.held.send_replace(held)),
            Move::FailLaunches(fails) => world.jail.fails.store(fails, Ordering::Relaxed),
            Move::LetTimePass => settle().await,
        }
        assert!(world.jail.living() <= 1);
    }
    world.jail.held.send_replace(false);
    if let Some(handle) = world.table.find("c") {
        handle.remove(true).await.unwrap();
    }
    while let Some(result) = calls.join_next().await {
        // Only callers that were made to vanish have no answer.
        assert!(result.is_ok() || result.is_err_and(|error| error.is_cancelled()));
    }
    world.nothing_is_left().await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_storm_of_calls_ends_with_every_call_answered_and_nothing_left(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), storm(moves)).await.unwrap();
        });
    }
}
