//! Sleep that keeps memory, with real processes: what puts a container to sleep, what wakes it, and
//! what does neither.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{ContainerInfo, EngineError, Event, ExecIo, Rest, SleepPolicy, Status};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::broadcast::Receiver;

use crate::harness;
use crate::sleeper::{self, ask, exec, info, say};
use crate::world::{self, World, read_all};

const POLICY: SleepPolicy = SleepPolicy {
    freeze_after: Duration::from_millis(100),
    quiet_connection_after: Some(Duration::from_millis(100)),
    checkpoint_after: None,
};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            an_idle_container_freezes_and_a_connection_thaws_it_with_its_memory,
            a_byte_on_an_open_connection_thaws,
            a_frozen_container_uses_no_cpu_and_looking_does_not_wake_it,
            an_unanswered_request_is_not_frozen,
            every_open_connection_keeps_awake_if_so_set,
            an_exec_thaws_and_keeps_awake,
            stop_reaches_the_program_of_a_frozen_container,
            a_frozen_container_can_be_killed_and_removed,
            a_container_that_nobody_used_stays_awake,
            pause_and_unpause,
            what_cannot_be_written_to_disk_stays_frozen_and_says_why,
            what_an_ended_container_used_is_known,
        ]
    )
}

async fn counter(world: &World, program: &str, policy: SleepPolicy) {
    sleeper::counter(world, &[program, "8080"], &[], policy).await;
}

async fn asleep(events: &mut Receiver<Event>) -> ContainerInfo {
    loop {
        if let Event::Asleep(info) = events.recv().await.unwrap() {
            return info;
        }
    }
}

async fn awake(events: &mut Receiver<Event>) -> ContainerInfo {
    loop {
        match events.recv().await.unwrap() {
            Event::Awake(info) => return info,
            Event::Exited(info) => panic!("ended instead of waking up: {info:?}"),
            _ => {}
        }
    }
}

/// How a container that runs sleeps.
fn rest(world: &World) -> Option<Rest> {
    assert_eq!(info(world).status, Status::Running);
    sleeper::rest(world)
}

fn frozen(info: &ContainerInfo) -> bool {
    // State `D` or `S`, the kernel does not tell; the freezer does.
    let pid = info.pid.unwrap();
    world::is_frozen(pid)
}

async fn an_idle_container_freezes_and_a_connection_thaws_it_with_its_memory(
    world: World,
) -> World {
    let mut events = world.engine.events();
    counter(&world, "count", POLICY).await;
    for round in 1..=3 {
        assert_eq!(ask(&world).await, round.to_string());
        let info = asleep(&mut events).await;
        assert_eq!(info.rest.unwrap().0, Rest::Frozen);
        assert!(frozen(&info));
        assert_eq!(rest(&world), Some(Rest::Frozen));
    }
    assert_eq!(ask(&world).await, "4");
    assert_eq!(rest(&world), None);
    world
}

async fn a_byte_on_an_open_connection_thaws(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, "count", POLICY).await;
    let mut tunnel = world.engine.connect("c", 8080).await.unwrap();
    assert_eq!(say(&mut tunnel, "a\n").await, "1");
    asleep(&mut events).await;
    assert_eq!(say(&mut tunnel, "b\n").await, "2");
    awake(&mut events).await;
    asleep(&mut events).await;
    // Closing a connection is nothing that the program must know at once.
    drop(tunnel);
    assert_eq!(rest(&world), Some(Rest::Frozen));
    world
}

async fn a_frozen_container_uses_no_cpu_and_looking_does_not_wake_it(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, "count-and-spin", POLICY).await;
    ask(&world).await;
    asleep(&mut events).await;
    let before = world.engine.metered("c").unwrap();
    assert!(before.cpu > Duration::from_millis(10), "{before:?}");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.engine.inspect("c").unwrap();
        assert_eq!(world.engine.list().len(), 1);
        drop(world.engine.logs("c", false).await.unwrap());
        world.engine.metered("c").unwrap();
    }
    let after = world.engine.metered("c").unwrap();
    assert_eq!(rest(&world), Some(Rest::Frozen));
    assert_eq!(before.cpu, after.cpu, "a frozen container uses CPU");
    assert_eq!(before.running, after.running);
    assert!(after.frozen >= before.frozen + Duration::from_millis(200));
    let limit = u128::from(
        world
            .engine
            .inspect("c")
            .unwrap()
            .limits
            .memory_bytes
            .unwrap(),
    );
    assert_eq!(
        after.memory_byte_ms,
        limit * (after.running + after.frozen).as_millis()
    );
    assert!(after.memory_bytes > 0 && after.pids == 2);
    ask(&world).await;
    asleep(&mut events).await;
    assert!(world.engine.metered("c").unwrap().cpu > after.cpu);
    world
}

async fn an_unanswered_request_is_not_frozen(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, "count", POLICY).await;
    let mut tunnel = world.engine.connect("c", 8080).await.unwrap();
    // The answer takes five times as long as the idle time.
    assert_eq!(say(&mut tunnel, "slow\n").await, "1");
    while let Ok(event) = events.try_recv() {
        assert!(
            !matches!(event, Event::Asleep(_)),
            "frozen during a request"
        );
    }
    asleep(&mut events).await;
    world
}

async fn every_open_connection_keeps_awake_if_so_set(world: World) -> World {
    let mut events = world.engine.events();
    let policy = SleepPolicy {
        quiet_connection_after: None,
        ..POLICY
    };
    counter(&world, "count", policy).await;
    let mut tunnel = world.engine.connect("c", 8080).await.unwrap();
    assert_eq!(say(&mut tunnel, "a\n").await, "1");
    tokio::time::sleep(POLICY.freeze_after * 5).await;
    assert_eq!(rest(&world), None);
    drop(tunnel);
    asleep(&mut events).await;
    world
}

async fn an_exec_thaws_and_keeps_awake(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, "count", POLICY).await;
    ask(&world).await;
    asleep(&mut events).await;
    let started = world.engine.exec("c", exec(&["app", "cat"])).await.unwrap();
    awake(&mut events).await;
    tokio::time::sleep(POLICY.freeze_after * 5).await;
    assert_eq!(rest(&world), None, "frozen under a running exec");
    let ExecIo::Pipes { stdin, stdout, .. } = started.io else {
        panic!("no pipes");
    };
    drop(stdin);
    assert_eq!(read_all(stdout).await, "");
    assert_eq!(started.process.wait().await.code, 9);
    asleep(&mut events).await;
    world
}

async fn stop_reaches_the_program_of_a_frozen_container(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, "count", POLICY).await;
    ask(&world).await;
    asleep(&mut events).await;
    let status = world.engine.stop("c", Duration::from_secs(30)).await;
    assert_eq!(status.unwrap().code, 3, "its handler of SIGTERM ran");
    assert_eq!(world.engine.inspect("c").unwrap().rest, None);
    world.engine.start("c").await.unwrap();
    assert_eq!(ask(&world).await, "1");
    asleep(&mut events).await;
    world
}

async fn a_frozen_container_can_be_killed_and_removed(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, "count", POLICY).await;
    ask(&world).await;
    asleep(&mut events).await;
    world.engine.kill("c", 9).await.unwrap();
    assert_eq!(world.engine.wait("c").await.unwrap().code, 137);
    world.engine.remove("c", false).await.unwrap();
    counter(&world, "count", POLICY).await;
    ask(&world).await;
    asleep(&mut events).await;
    world.engine.remove("c", true).await.unwrap();
    // Another one is still asleep when the world ends.
    counter(&world, "count", POLICY).await;
    ask(&world).await;
    asleep(&mut events).await;
    world
}

async fn a_container_that_nobody_used_stays_awake(world: World) -> World {
    counter(&world, "count", POLICY).await;
    tokio::time::sleep(POLICY.freeze_after * 5).await;
    assert_eq!(rest(&world), None);
    world
}

async fn pause_and_unpause(world: World) -> World {
    let engine = &world.engine;
    let mut events = engine.events();
    counter(&world, "count", POLICY).await;
    assert_eq!(ask(&world).await, "1");
    engine.pause("c").await.unwrap();
    assert_eq!(rest(&world), Some(Rest::Paused));
    assert!(matches!(
        engine.pause("c").await,
        Err(EngineError::Paused(_))
    ));
    assert!(matches!(
        engine.exec("c", exec(&["app", "about"])).await,
        Err(EngineError::Paused(_))
    ));
    // A connection is made, and answered after the pause.
    let mut tunnel = engine.connect("c", 8080).await.unwrap();
    tunnel.traffic.inbound();
    tunnel.stream.write_all(b"x\n").await.unwrap();
    assert_eq!(rest(&world), Some(Rest::Paused));
    engine.unpause("c").await.unwrap();
    assert_eq!(rest(&world), None);
    let mut answer = [0; 2];
    tunnel.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"2\n");
    assert!(matches!(
        engine.unpause("c").await,
        Err(EngineError::NotPaused(_))
    ));
    tunnel.traffic.outbound(&answer);
    while asleep(&mut events).await.rest.unwrap().0 != Rest::Frozen {}
    // One that sleeps can be paused, and then no connection wakes it.
    engine.pause("c").await.unwrap();
    assert_eq!(rest(&world), Some(Rest::Paused));
    let stopped = engine.stop("c", Duration::from_secs(30)).await.unwrap();
    assert_eq!(stopped.code, 3);
    world
}

async fn what_cannot_be_written_to_disk_stays_frozen_and_says_why(world: World) -> World {
    let mut events = world.engine.events();
    let policy = SleepPolicy {
        checkpoint_after: Some(Duration::from_millis(50)),
        ..POLICY
    };
    counter(&world, "count", policy).await;
    assert_eq!(ask(&world).await, "1");
    asleep(&mut events).await;
    // The engine of these tests has no CRIU.
    world
        .line("c", |line| {
            String::from_utf8_lossy(&line.bytes).contains("stays frozen in memory")
        })
        .await;
    // The container's own task hears of it a moment later, and freezes it once more.
    while asleep(&mut events).await.sleepless.is_none() {}
    let info = world.engine.inspect("c").unwrap();
    let reason = info.sleepless.clone().unwrap();
    assert!(reason.contains("has no `criu`"), "{reason}");
    assert_eq!(rest(&world), Some(Rest::Frozen));
    assert!(frozen(&info));
    assert_eq!(ask(&world).await, "2", "its memory is kept");
    world
}

async fn what_an_ended_container_used_is_known(world: World) -> World {
    counter(&world, "count-and-spin", POLICY).await;
    ask(&world).await;
    let before = world.engine.metered("c").unwrap().cpu;
    world.engine.kill("c", 9).await.unwrap();
    world.engine.wait("c").await.unwrap();
    let after = world.engine.metered("c").unwrap();
    assert!(after.cpu >= before, "{before:?} {after:?}");
    assert!(after.cpu > Duration::ZERO);
    assert_eq!((after.memory_bytes, after.pids), (0, 0));
    assert_eq!(world.engine.metered("c").unwrap(), after, "no clock runs");
    world
}
