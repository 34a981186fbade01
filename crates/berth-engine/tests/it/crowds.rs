//! Many containers, many calls, and the end of all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_engine::{EngineError, Status};
use libtest_mimic::Trial;

use crate::harness;
use crate::world::{IMAGE, World, read_all};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            thirty_containers_at_once,
            storms_on_one_name_leave_nothing,
            shutdown_is_quick_and_final,
        ]
    )
}

async fn thirty_containers_at_once(world: World) -> World {
    let begin = Instant::now();
    let one = |number: usize| {
        let world = &world;
        async move {
            let name = format!("c{number}");
            world.run(&name, &["listen", "8080", "0"]).await;
            let stream = world.engine.connect(&name, 8080).await.unwrap();
            assert_eq!(read_all(stream.stream).await, "hello\n");
        }
    };
    futures_util::future::join_all((0..30).map(one)).await;
    println!("30 containers answered after {:?}", begin.elapsed());
    let list = world.engine.list();
    assert_eq!(list.len(), 30);
    assert!(list.iter().all(|info| info.status == Status::Running));
    for info in &list {
        world.first_listen(&info.name).await;
    }
    // Also shows that the check for leftovers sees what there is.
    assert_eq!(world.processes().len(), 30);
    let mut spawns: Vec<_> = list.iter().filter_map(|info| info.timings.spawn).collect();
    spawns.sort();
    println!("spawn: median {:?}, max {:?}", spawns[15], spawns[29]);
    world
}

async fn storms_on_one_name_leave_nothing(world: World) -> World {
    let storm = |seed: usize| {
        let engine = world.engine.clone();
        let world = &world;
        async move {
            for round in 0..6 {
                let spec = world.spec("c", &["exit", "0"]).await;
                let created = engine.create(spec).await;
                assert!(matches!(created, Ok(_) | Err(EngineError::NameInUse(_))));
                let start = tokio::spawn({
                    let engine = engine.clone();
                    async move { engine.start("c").await }
                });
                match (seed + round) % 3 {
                    0 => start.abort(),
                    1 => drop(start.await.unwrap()),
                    _ => {}
                }
                let removed = engine.remove("c", true).await;
                assert!(matches!(
                    removed,
                    Ok(()) | Err(EngineError::NoSuchContainer(_))
                ));
            }
        }
    };
    futures_util::future::join_all((0..8).map(storm)).await;
    let _ = world.engine.remove("c", true).await;
    assert!(world.engine.list().is_empty());
    world
}

async fn shutdown_is_quick_and_final(world: World) -> World {
    let names: Vec<String> = (0..30).map(|number| format!("c{number}")).collect();
    let run = |name| {
        let world = &world;
        async move { world.run(name, &["sleep"]).await }
    };
    futures_util::future::join_all(names.iter().map(|name| run(name))).await;
    let begin = Instant::now();
    world.engine.shutdown().await;
    let took = begin.elapsed();
    println!("30 containers gone after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let spec = world.spec("late", &[]).await;
    assert_eq!(spec.image, IMAGE);
    assert!(matches!(
        world.engine.create(spec).await,
        Err(EngineError::ShuttingDown)
    ));
    world
}
