//! Connections to a container: when it listens late, never, or no longer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_engine::{EngineError, Status};
use berth_jail::Limits;
use libtest_mimic::Trial;

use crate::harness;
use crate::world::{self, World, read_all};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            a_small_container_has_a_whole_cpu_only_while_it_starts,
            a_late_listener_is_reached_the_moment_it_listens,
            a_port_that_never_listens_is_refused_in_time,
            the_fallback_port_is_answered_at_once,
            a_closed_port_is_not_held,
            an_exit_ends_a_hold,
            connect_may_come_with_the_start,
            who_connects_meanwhile_reaches_the_next_container_of_the_name,
            nobody_waits_for_ever_for_the_next_container,
        ]
    )
}

async fn a_small_container_has_a_whole_cpu_only_while_it_starts(world: World) -> World {
    let mut spec = world::spec("small", &["listen", "8080", "0"]).await;
    spec.limits = Some(Limits {
        cpu_milli: Some(63),
        ..Limits::default()
    });
    world.engine.create(spec).await.unwrap();
    world.engine.start("small").await.unwrap();
    let pid = world.engine.inspect("small").unwrap().pid.unwrap();
    assert_eq!(world::cpu_milli(pid), 1000);
    let connected = world.engine.connect("small", 8080).await.unwrap();
    assert_eq!(read_all(connected.stream).await, "hello\n");
    // The kernel tells nobody that a limit has changed.
    let settled = async {
        while world::cpu_milli(pid) != 63 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
    settled.expect("its own limit never held");
    world
}

async fn a_late_listener_is_reached_the_moment_it_listens(world: World) -> World {
    world.run("c", &["listen", "8080", "300"]).await;
    let begin = Instant::now();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let engine = world.engine.clone();
            tokio::spawn(async move { engine.connect("c", 8080).await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_eq!(read_all(caller.await.unwrap().stream).await, "hello\n");
    }
    let took = begin.elapsed();
    let listened = world.first_listen("c").await;
    println!("first listen after {listened:?}, 50 answers after {took:?}");
    let late = took.saturating_sub(listened);
    // Not a claim about speed: far less than the 4 s after which a hold dials again by itself.
    assert!(late < Duration::from_secs(2), "{late:?} late");
    world
}

async fn a_port_that_never_listens_is_refused_in_time(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let begin = Instant::now();
    let error = world.engine.connect("c", 8080).await.unwrap_err();
    assert!(matches!(error, EngineError::NotListening { port: 8080 }));
    let took = begin.elapsed();
    // A hold, and an answer before workerd's callers give up (10 s).
    assert!((3900..10_000).contains(&took.as_millis()), "{took:?}");
    world
}

async fn the_fallback_port_is_answered_at_once(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let begin = Instant::now();
    let error = world.engine.connect("c", 33).await.unwrap_err();
    assert!(matches!(error, EngineError::NotListening { port: 33 }));
    assert!(begin.elapsed() < Duration::from_millis(500));
    world.create("never", &[]).await;
    assert!(matches!(
        world.engine.connect("never", 33).await,
        Err(EngineError::NotRunning(_))
    ));
    world
}

async fn a_closed_port_is_not_held(world: World) -> World {
    world.run("c", &["listen-and-close", "8080"]).await;
    world.line("c", |line| line.bytes == b"closed").await;
    let begin = Instant::now();
    let error = world.engine.connect("c", 8080).await.unwrap_err();
    assert!(matches!(error, EngineError::NotListening { .. }));
    assert!(begin.elapsed() < Duration::from_secs(1));
    world
}

async fn an_exit_ends_a_hold(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let engine = world.engine.clone();
    let held = tokio::spawn(async move { engine.connect("c", 8080).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!held.is_finished());
    let begin = Instant::now();
    world.engine.remove("c", true).await.unwrap();
    let error = held.await.unwrap().unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)));
    assert!(begin.elapsed() < Duration::from_secs(1));
    world
}

async fn connect_may_come_with_the_start(world: World) -> World {
    world.create("c", &["listen", "8080", "20"]).await;
    let engine = world.engine.clone();
    let start = tokio::spawn(async move { engine.start("c").await });
    while world.engine.inspect("c").unwrap().status == Status::Created {
        tokio::task::yield_now().await;
    }
    let stream = world.engine.connect("c", 8080).await.unwrap();
    assert_eq!(read_all(stream.stream).await, "hello\n");
    start.await.unwrap().unwrap();
    world
}

async fn who_connects_meanwhile_reaches_the_next_container_of_the_name(world: World) -> World {
    // It takes connections for as long as it lives, and answers none.
    world.run("c", &["polite"]).await;
    world.line("c", |line| line.bytes == b"ready").await;
    let ended = world.engine.retire("c", Duration::from_secs(30)).await;
    assert_eq!(ended.unwrap().code, 3);
    let connect =
        |engine: berth_engine::Engine| tokio::spawn(async move { engine.connect("c", 8080).await });
    let before = connect(world.engine.clone());
    tokio::task::yield_now().await;
    world.engine.remove("c", true).await.unwrap();
    let without = connect(world.engine.clone());
    tokio::task::yield_now().await;
    assert!(!before.is_finished() && !without.is_finished());
    world.run("c", &["listen", "8080", "20"]).await;
    for held in [before, without] {
        let tunnel = held.await.unwrap().unwrap();
        assert_eq!(read_all(tunnel.stream).await, "hello\n");
    }
    world
}

async fn nobody_waits_for_ever_for_the_next_container(world: World) -> World {
    world.run("c", &["polite"]).await;
    world.line("c", |line| line.bytes == b"ready").await;
    world
        .engine
        .retire("c", Duration::from_secs(30))
        .await
        .unwrap();
    let error = world.engine.connect("c", 8080).await.unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)), "{error}");
    // One that is not told how to end goes on taking connections.
    world.engine.remove("c", true).await.unwrap();
    world.run("c", &["listen", "8080", "0"]).await;
    drop(world.engine.connect("c", 8080).await.unwrap());
    let engine = world.engine.clone();
    let retired = tokio::spawn(async move { engine.retire("c", Duration::from_secs(60)).await });
    let tunnel = loop {
        let tunnel = world.engine.connect("c", 8080).await.unwrap();
        if tunnel.traffic.gives_way() {
            break tunnel;
        }
    };
    assert_eq!(read_all(tunnel.stream).await, "hello\n");
    world.engine.remove("c", true).await.unwrap();
    retired.await.unwrap().unwrap();
    world
}
