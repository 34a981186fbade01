//! What a container on disk does when somebody wants something of it.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{Event, ExecIo, Rest};
use libtest_mimic::Trial;

use crate::harness;
use crate::sleeper::{ask, exec, info, rest, say, try_ask};
use crate::world::{World, read_all};
use crate::{POLICY, asleep, counter, images, on_disk};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            an_exec_restores_and_works,
            stop_reaches_the_program_of_a_container_on_disk,
            a_container_on_disk_can_be_killed_removed_and_started_again,
            a_crowd_restores_it_once,
            a_connection_while_it_is_written_is_answered,
            an_open_connection_keeps_it_in_memory,
            its_files_can_be_read_while_it_is_on_disk,
        ]
    )
}

pub(crate) async fn executed(world: &World, argv: &[&str]) -> i32 {
    let started = world.engine.exec("c", exec(argv)).await.unwrap();
    started.process.wait().await.code
}

async fn an_exec_restores_and_works(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    for _ in 0..2 {
        on_disk(&mut events).await;
        let started = world
            .engine
            .exec("c", exec(&["app", "about"]))
            .await
            .unwrap();
        let ExecIo::Pipes { stdin, stdout, .. } = started.io else {
            panic!("no pipes");
        };
        drop(stdin);
        let said = read_all(stdout).await;
        assert_eq!(started.process.wait().await.code, 0);
        assert!(
            said.contains("host=box") && said.contains("cwd=/srv"),
            "{said}"
        );
        assert_eq!(executed(&world, &["app", "write", "/tmp/new"]).await, 0);
        assert_eq!(executed(&world, &["app", "write", "/tmp/new"]).await, 17);
        assert_eq!(
            executed(&world, &["app", "show", "/proc/self/stat"]).await,
            0
        );
        let removed = executed(&world, &["app", "remove", "/tmp/new"]).await;
        assert_eq!(removed, 0);
    }
    assert_eq!(ask(&world).await, "2");
    world
}

async fn stop_reaches_the_program_of_a_container_on_disk(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let status = world.engine.stop("c", Duration::from_secs(30)).await;
    assert_eq!(status.unwrap().code, 3, "its handler of SIGTERM ran");
    assert_eq!(rest(&world), None);
    assert_eq!(images(&world), Vec::<PathBuf>::new());
    let mut events = world.engine.events();
    world.engine.start("c").await.unwrap();
    assert_eq!(ask(&world).await, "1");
    on_disk(&mut events).await;
    assert_eq!(ask(&world).await, "2");
    world
}

async fn a_container_on_disk_can_be_killed_removed_and_started_again(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    world.engine.kill("c", 9).await.unwrap();
    assert_eq!(world.engine.wait("c").await.unwrap().code, 137);
    let mut events = world.engine.events();
    world.engine.start("c").await.unwrap();
    assert_eq!(ask(&world).await, "1");
    on_disk(&mut events).await;
    // Nobody restores it for that.
    world.engine.remove("c", true).await.unwrap();
    assert!(world.engine.inspect("c").is_none());
    assert_eq!(world.processes(), Vec::<String>::new());
    // Left on disk for the end of the world, which looks for leftovers.
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    world
}

async fn a_crowd_restores_it_once(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let crowd = (0..40).map(|_| try_ask(&world));
    let answers = futures_util::future::join_all(crowd).await;
    let mut numbers: Vec<u32> = answers
        .into_iter()
        .map(|answer| answer.unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=41).collect::<Vec<_>>());
    let mut woken = 0;
    while let Ok(event) = events.try_recv() {
        woken += u32::from(matches!(event, Event::Awake(_)));
    }
    assert_eq!(woken, 1);
    world
}

async fn a_connection_while_it_is_written_is_answered(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["family", "8080", "64"]).await;
    let mut expected = 0;
    // Earlier and later while CRIU is at work.
    for delay in [0, 20, 60, 120, 250] {
        expected += 1;
        assert_eq!(ask(&world).await, expected.to_string());
        asleep(&mut events, Rest::Frozen).await;
        let later = POLICY.checkpoint_after.unwrap() + Duration::from_millis(delay);
        tokio::time::sleep(later).await;
    }
    expected += 1;
    assert_eq!(ask(&world).await, expected.to_string());
    world
}

async fn an_open_connection_keeps_it_in_memory(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    let mut tunnel = world.engine.connect("c", 8080).await.unwrap();
    assert_eq!(say(&mut tunnel, "a\n").await, "1");
    asleep(&mut events, Rest::Frozen).await;
    tokio::time::sleep(POLICY.checkpoint_after.unwrap() * 4).await;
    let info = info(&world);
    assert_eq!(info.rest.unwrap().0, Rest::Frozen);
    let reason = info.sleepless.clone().unwrap();
    assert!(reason.contains("a connection to it is open"), "{reason}");
    assert_eq!(say(&mut tunnel, "b\n").await, "2");
    drop(tunnel);
    on_disk(&mut events).await;
    assert_eq!(ask(&world).await, "3");
    world
}

async fn its_files_can_be_read_while_it_is_on_disk(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let mut archive = Vec::new();
    let read = world.engine.read_archive("c", "/bin/app").await;
    let (_, mut stream) = read.unwrap();
    while let Some(chunk) = stream.recv().await {
        archive.extend_from_slice(&chunk.unwrap());
    }
    assert!(archive.len() > 100_000);
    assert_eq!(ask(&world).await, "2");
    world
}
