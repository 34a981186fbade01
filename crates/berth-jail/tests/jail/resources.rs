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

/// From the smallest instance type to the largest, however many CPUs this machine has; what the
/// kernel makes of a quota is in [`cpu_time_is_limited`].
#[tokio::test]
async fn every_share_of_a_cpu_is_its_quota() {
    let world = World::new().await;
    let image = world.image();
    // Version 1 has the quota and the period in files of their own.
    let files = [
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
        "/sys/fs/cgroup/cpu.max",
    ];
    for milli in [63, 250, 500, 1000, 2000, 4000] {
        let mut spec = world.spec(&image, &["cat", files[0], files[1], files[2]]);
        spec.limits.cpu_milli = Some(milli);
        let output = world.run(spec).await.unwrap().stdout;
        // A file that is not there is said so.
        let numbers: Vec<u64> = output
            .lines()
            .filter(|line| !line.starts_with("open "))
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.parse().ok())
            .collect();
        let [quota, period] = numbers.as_slice() else {
            panic!("{output}");
        };
        assert_eq!(quota * 1000, period * u64::from(milli), "{output}");
    }
    world.finish().await;
}

/// 0 is the first process alone, none is no limit (−1 in Docker's terms).
#[tokio::test]
async fn no_process_limit_is_no_limit() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(
        &image,
        &[
            "cat",
            "/sys/fs/cgroup/pids/pids.max",
            "/sys/fs/cgroup/pids.max",
        ],
    );
    spec.limits.pids = None;
    let output = world.run(spec).await.unwrap();
    assert!(
        output.stdout.lines().any(|line| line == "max"),
        "{output:?}"
    );
    world.finish().await;
}

/// A fork bomb leaves its neighbour able to fork, and ends with its container.
#[tokio::test]
async fn a_fork_bomb_does_not_hinder_its_neighbour() {
    let world = World::new().await;
    let (image, neighbour_image) = (world.image(), world.image());
    let mut spec = world.spec(&neighbour_image, &["family"]);
    spec.limits.pids = Some(10);
    let mut bomb = world.spec(&image, &["fork-bomb-for-ever"]);
    bomb.limits.pids = Some(50);
    let (bomb, stdout, _) = world.start(bomb).await.unwrap();
    let (line, stdout) = stdout.line().await;
    assert_eq!(line, "full");
    let (neighbour, up, _) = world.start(spec).await.unwrap();
    let (line, _up) = up.line().await;
    assert_eq!(line, "up");
    assert_eq!(neighbour.usage().unwrap().pids, 6);
    assert_eq!(bomb.usage().unwrap().pids, 50);
    bomb.kill_all().await.unwrap();
    assert_eq!(stdout.rest().await, "");
    neighbour.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn memory_file_systems_are_bounded_and_count_as_memory() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &["fill", "/dev/shm/file"]);
    spec.shm_bytes = 4 << 20;
    let output = world.run(spec.clone()).await.unwrap();
    assert_eq!(output.stdout, format!("full at 4: {}\n", libc::ENOSPC));
    spec.process = crate::world::process(&["fill", "/dev/file"]);
    let output = world.run(spec.clone()).await.unwrap();
    assert!(
        output.stdout.ends_with(&format!(": {}\n", libc::ENOSPC)),
        "{output:?}"
    );
    // Beyond the container's memory it is the container that goes.
    let neighbour_image = world.image();
    let neighbour = crate::world::started(&world, &neighbour_image).await;
    spec.process = crate::world::process(&["fill", "/dev/shm/file"]);
    spec.shm_bytes = 256 << 20;
    spec.limits.memory_bytes = Some(32 << 20);
    let output = world.run(spec).await.unwrap();
    assert!(output.status.oom_killed, "{output:?}");
    assert_eq!(neighbour.exit_status(), None);
    neighbour.kill_all().await.unwrap();
    world.finish().await;
}

/// One container spins without a limit on as many threads as there are CPUs and more; its
/// neighbour, held to half a CPU, still gets work done.
#[tokio::test]
async fn a_spinner_s_neighbour_keeps_its_share() {
    let world = World::new().await;
    let (image, neighbour_image) = (world.image(), world.image());
    let mut spinner = world.spec(&image, &["spin"]);
    spinner.limits.cpu_milli = Some(200);
    let (spinner, _, _) = world.start(spinner).await.unwrap();
    let (worker, _, _) = world
        .start(world.spec(&neighbour_image, &["spin"]))
        .await
        .unwrap();
    let cpu = |sandbox: &berth_jail::Sandbox| sandbox.usage().unwrap().cpu_ns;
    let (spinner_before, worker_before) = (cpu(&spinner), cpu(&worker));
    // Until the worker has had 300 ms; the one that is held to a fifth has had no more than that
    // many periods allow.
    let start = Instant::now();
    while cpu(&worker) - worker_before < 300_000_000 {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let periods = start.elapsed().as_millis() / 100 + 2;
    let used = u128::from(cpu(&spinner) - spinner_before) / 1_000_000;
    assert!(used <= periods * 25, "{used} ms in {periods} periods");
    spinner.kill_all().await.unwrap();
    worker.kill_all().await.unwrap();
    world.finish().await;
}
