//! What a greedy program cannot take from its neighbours.

use std::time::{Duration, Instant};

use crate::world::World;
use berth_jail::Limits;

#[tokio::test]
async fn running_out_of_memory_is_reported_and_hurts_nobody_else() {
    let world = World::new().await;
    let (neighbour_image, image) = (world.image(), world.image());
    let neighbour = world.spec(&neighbour_image, &["sleep"]);
    let (neighbour, _, _) = world.start(neighbour).await.unwrap();
    let mut spec = world.spec(&image, &["eat", "256"]);
    spec.limits.memory_bytes = Some(64 << 20);
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.status.code, 137, "{output:?}");
    assert!(output.status.oom_killed);
    assert_eq!(neighbour.exit_status(), None);
    neighbour.kill_all().await.unwrap();
    assert!(!neighbour.wait().await.oom_killed);
    let mut spec = world.spec(&image, &["eat", "16"]);
    spec.limits.memory_bytes = Some(64 << 20);
    let output = world.run(spec).await.unwrap();
    assert_eq!((output.status.code, output.stdout.as_str()), (0, "ate\n"));
    world.finish().await;
}

#[tokio::test]
async fn a_fork_bomb_stops_at_the_process_limit() {
    let world = World::new().await;
    let image = world.image();
    for (limit, forked) in [(Some(20), 19), (Some(0), 0)] {
        let mut spec = world.spec(&image, &["fork-bomb"]);
        spec.limits.pids = limit;
        let output = world.run(spec).await.unwrap();
        assert_eq!(output.stdout, format!("forked {forked}\n"));
    }
    world.finish().await;
}

#[tokio::test]
async fn cpu_time_is_limited() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &["spin"]);
    spec.limits = Limits {
        cpu_milli: Some(100),
        ..Limits::default()
    };
    let (sandbox, stdout, _) = world.start(spec).await.unwrap();
    let (_, _stdout) = stdout.line().await;
    let start = Instant::now();
    let before = sandbox.usage().unwrap().cpu_ns;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let used = Duration::from_nanos(sandbox.usage().unwrap().cpu_ns - before);
    // A tenth of a CPU; twice that leaves room for the period's granularity.
    assert!(used < start.elapsed() / 5, "{used:?}");
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}
