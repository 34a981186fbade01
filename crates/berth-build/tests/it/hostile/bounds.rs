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
    let (built, _) = world.attempt(&request).await;
    // The shell itself cannot make the next process.
    canary.assert_refused(built, "can't fork: Resource temporarily unavailable");
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

/// A command that never ends ends with the build's time; its line is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_takes_too_long_is_ended_and_says_so() {
    let (world, _canary) = super::world();
    let mut request = world.request(
        "FROM corpus/base\nRUN trap '' TERM; (trap '' TERM; sleep 1000) & echo begun; sleep 1000\n",
    );
    request.bounds.time = Some(std::time::Duration::from_secs(3));
    let (built, events) = world.attempt(&request).await;
    let report = berth_error::Report::from(built.unwrap_err()).render_plain();
    assert!(report.contains("Dockerfile:2"), "{report}");
    assert!(report.contains("the build took longer than 3s"), "{report}");
    assert!(report.contains("--timeout"), "{report}");
    let begun = |event: &berth_build::BuildEvent| matches!(event, berth_build::BuildEvent::Output { line, .. } if line == "begun");
    assert!(events.iter().any(begun), "{events:?}");
    world.assert_clean();
    world.close().await;
}

/// What takes too long is not a command here: a Dockerfile that is a pipe to which nobody writes, and
/// a build that waits for another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_too_long_is_given_up() {
    let (world, _canary) = super::world();
    let dockerfile = "FROM corpus/base\nRUN sleep 1000\n";
    let mut first = world.request(dockerfile);
    first.bounds.time = Some(std::time::Duration::from_secs(8));
    let mut second = world.request(dockerfile);
    second.bounds.time = Some(std::time::Duration::from_secs(1));
    let (first, second) = tokio::join!(world.attempt(&first), async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        world.attempt(&second).await
    });
    for outcome in [first.0, second.0] {
        let report = berth_error::Report::from(outcome.unwrap_err()).render_plain();
        assert!(report.contains("the build took longer than"), "{report}");
    }
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

/// Output has a limit: then the command goes on unseen, and its error has the end of what it wrote.
#[tokio::test(flavor = "multi_thread")]
async fn output_is_shown_up_to_its_limit() {
    let (world, _canary) = super::world();
    let mut request = world.request(
        "FROM corpus/base\nRUN echo first; yes | head -n 20000; echo the end; touch /made\n\
         RUN echo second; test -e /made && exit 3\n",
    );
    request.bounds.output = 10_000;
    let (built, events) = world.attempt(&request).await;
    let report = berth_error::Report::from(built.unwrap_err()).render_plain();
    // The command of the first step came to its end, and the limit is each step's own.
    assert!(
        report.contains("Dockerfile:3") && report.contains("exit code 3"),
        "{report}"
    );
    let lines: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            berth_build::BuildEvent::Output { line, .. } => Some(line.as_str()),
            _ => None,
        })
        .collect();
    let cut = "[more than 10000 bytes: the rest is not shown]";
    let at = lines.iter().position(|line| *line == cut).unwrap();
    assert_eq!(lines[0], "first");
    // `first` and its end are 6 bytes, `y` and its end are 2.
    assert_eq!(lines[1..at], ["y"; 4997]);
    assert_eq!(lines[at + 1..], ["second"]);

    let mut request =
        world.request("FROM corpus/base\nRUN yes | head -n 20000; echo the end; exit 4\n");
    request.bounds.output = 10_000;
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("the end"), "{report}");
    world.close().await;
}
