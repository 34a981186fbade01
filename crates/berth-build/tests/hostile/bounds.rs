//! Builds that want all of the machine: processes, memory, disk.

use crate::world::World;

/// A reserve that leaves this many bytes of the store's disk to a build.
pub(crate) fn all_but(world: &World, bytes: u64) -> u64 {
    let disk = rustix::fs::statvfs(world.store.root()).unwrap();
    (disk.f_bavail * disk.f_frsize).saturating_sub(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_the_process_limit() {
    let (world, canary) = super::world();
    let mut request = world.request(
        "FROM corpus/base\n\
         RUN i=0; while [ $i -lt 200 ]; do (sleep 100 &) 2>/dev/null || break; i=$((i+1)); done; \
         ls /proc | grep -cE '^[0-9]+$'\n",
    );
    request.bounds.pids = 50;
    let (built, events) = world.attempt(&request).await;
    // The shell gives up when it cannot fork; it never had more than it may.
    if built.is_ok() {
        let most = events.iter().find_map(|event| match event {
            berth_build::BuildEvent::Output { line, .. } => line.parse::<u32>().ok(),
            _ => None,
        });
        assert!(most.unwrap() <= 50, "{events:?}");
    }
    world.assert_clean();
    canary.assert_untouched();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_eats_memory_is_ended_and_says_so() {
    let (world, _canary) = super::world();
    let mut request =
        world.request("FROM corpus/base\nRUN tail /dev/zero; echo survived > /x; exit 1\n");
    request.bounds.memory = 64 << 20;
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("Dockerfile:2"), "{report}");
    assert!(report.contains("memory"), "{report}");
    world.assert_clean();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fills_the_disk_is_ended_and_says_so() {
    let (world, _canary) = super::world();
    let mut request = world.request(
        "FROM corpus/base\nRUN dd if=/dev/zero of=/full bs=1M count=100000 2>/dev/null; true\n",
    );
    request.bounds.disk_reserve = all_but(&world, 300 << 20);
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("Dockerfile:2"), "{report}");
    assert!(report.contains("disk"), "{report}");
    world.assert_clean();
    world.close().await;
}

/// A machine that is full already does not even begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_before_the_step_begins() {
    let (world, _canary) = super::world();
    let mut request = world.request("FROM corpus/base\nRUN true\n");
    request.bounds.disk_reserve = u64::MAX;
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("disk"), "{report}");
    world.close().await;
}

/// A log that never ends, and lines that never end, cost no memory.
#[tokio::test(flavor = "multi_thread")]
async fn endless_output_is_cut() {
    let (world, _canary) = super::world();
    let (built, events) = world
        .attempt(&world.request(
            "FROM corpus/base\nRUN head -c 50000000 /dev/zero | tr '\\0' x; echo; yes | head -n 200000; exit 3\n",
        ))
        .await;
    let report = berth_error::Report::from(built.unwrap_err()).render_plain();
    assert!(report.len() < 100_000, "{} bytes", report.len());
    let longest = events.iter().map(|event| match event {
        berth_build::BuildEvent::Output { line, .. } => line.len(),
        _ => 0,
    });
    assert!(longest.max().unwrap() < 2_000_000);
    world.close().await;
}
