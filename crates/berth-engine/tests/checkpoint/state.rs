//! What a container on disk has kept when it is back, and who may read what is kept.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::Status;
use libtest_mimic::Trial;

use crate::harness;
use crate::sleeper::{ask, info};
use crate::waking::executed;
use crate::world::World;
use crate::{SECRET, counter, images, on_disk, status};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            a_long_sleep_is_on_disk_and_a_connection_restores_it_with_its_memory,
            processes_threads_pipes_and_output_survive_and_memory_is_freed_meanwhile,
            no_wait_is_interrupted,
            what_is_restored_is_confined_as_before,
            images_are_for_root_only,
        ]
    )
}

async fn a_long_sleep_is_on_disk_and_a_connection_restores_it_with_its_memory(
    world: World,
) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    let mut waiter = tokio::spawn({
        let engine = world.engine.clone();
        async move { engine.wait("c").await }
    });
    for round in 1..=3 {
        assert_eq!(ask(&world).await, round.to_string());
        let info = on_disk(&mut events).await;
        assert_eq!((info.status, info.pid), (Status::Running, None));
        assert_eq!(world.processes(), Vec::<String>::new(), "it lives");
        assert_eq!(images(&world).len(), 1);
        assert_eq!(info.sleepless, None);
    }
    let before = world.engine.metered("c").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = world.engine.metered("c").unwrap();
    assert!(after.stored >= before.stored + Duration::from_millis(100));
    assert_eq!((before.running, before.cpu), (after.running, after.cpu));
    assert_eq!(before.memory_byte_ms, after.memory_byte_ms);
    assert_eq!(after.pids, 0);
    assert_eq!(ask(&world).await, "4");
    let info = info(&world);
    assert_eq!((info.rest, info.restart_count), (None, 0));
    assert!(info.pid.is_some());
    assert_eq!(images(&world), Vec::<PathBuf>::new());
    let early = tokio::time::timeout(Duration::from_millis(10), &mut waiter).await;
    assert!(early.is_err(), "an exit was told");
    world.engine.kill("c", 9).await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap().code, 137);
    world
}

async fn processes_threads_pipes_and_output_survive_and_memory_is_freed_meanwhile(
    world: World,
) -> World {
    let mut events = world.engine.events();
    counter(&world, &["family", "8080", "64"]).await;
    assert_eq!(ask(&world).await, "1");
    let awake = world.engine.metered("c").unwrap();
    assert!(awake.memory_bytes > 64 << 20, "{awake:?}");
    for round in 2..=3 {
        on_disk(&mut events).await;
        let stored = world.engine.metered("c").unwrap();
        assert!(stored.memory_bytes < 8 << 20, "{stored:?}");
        assert_eq!(ask(&world).await, round.to_string());
    }
    assert_eq!(world.engine.metered("c").unwrap().pids, 3);
    world.line("c", |line| line.bytes == b"answered 3").await;
    let lines = world.output("c", false).await;
    assert_eq!(lines, ["answered 1", "answered 2", "answered 3"]);
    world
}

/// Asleep or on disk, no system call of the program's fails for it, as if it had waited all along.
async fn no_wait_is_interrupted(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count-strictly", "8080"]).await;
    for round in 1..=3 {
        assert_eq!(ask(&world).await, round.to_string());
        if round == 2 {
            // What goes on after a pause is another system call for the kernel.
            world.engine.pause("c").await.unwrap();
            world.engine.unpause("c").await.unwrap();
        }
        on_disk(&mut events).await;
    }
    assert_eq!(ask(&world).await, "4");
    assert_eq!(info(&world).restart_count, 0);
    assert_eq!(world.output("c", false).await, Vec::<String>::new());
    world
}

async fn what_is_restored_is_confined_as_before(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["count", "8080"]).await;
    ask(&world).await;
    let keys = [
        "Uid:",
        "Gid:",
        "Groups:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Seccomp_filters:",
        "Umask:",
        "SigIgn:",
        "SigBlk:",
        "NSpid:",
    ];
    let facts = |pid: u32| {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        let mounts = read("mountinfo");
        let mut mounts: Vec<String> = mounts
            .lines()
            // Place, flags and kind; numbers, and the instance of /proc, are new.
            .map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "))
            .collect();
        // Covered by the queues: nobody can see it.
        mounts.retain(|mount| !mount.starts_with("/ /dev/mqueue") || !mount.contains("tmpfs"));
        mounts.sort();
        mounts.dedup();
        let keys = keys.map(|key| {
            let value = status(pid, key);
            // The pid inside: the last one.
            value
                .split_whitespace()
                .next_back()
                .unwrap_or_default()
                .to_owned()
        });
        (
            keys,
            (
                read("uid_map"),
                read("gid_map"),
                read("cgroup"),
                read("oom_score_adj"),
            ),
            (
                read("limits"),
                read("cmdline"),
                read("environ"),
                link("cwd"),
                link("exe"),
            ),
            ["net", "ipc", "uts", "cgroup"].map(|name| link(&format!("ns/{name}"))),
            mounts,
        )
    };
    let before = facts(info(&world).pid.unwrap());
    on_disk(&mut events).await;
    ask(&world).await;
    let pid = info(&world).pid.unwrap();
    let after = facts(pid);
    assert_eq!(before.0, after.0);
    assert_eq!(before.1, after.1);
    assert_eq!(before.2, after.2);
    assert_eq!(before.3, after.3);
    assert_eq!(before.4, after.4);
    let own = std::process::id();
    for name in ["mnt", "pid", "user", "net", "ipc", "uts", "cgroup"] {
        let link = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_ne!(link(pid), link(own), "{name}");
    }
    // `listen` was answered by the zygote before; now the kernel does.
    assert_eq!(executed(&world, &["app", "listens", "8081"]).await, 0);
    world
}

async fn images_are_for_root_only(world: World) -> World {
    let mut events = world.engine.events();
    counter(&world, &["family", "8080", "1"]).await;
    ask(&world).await;
    on_disk(&mut events).await;
    let [dir] = images(&world).try_into().unwrap();
    let metadata = std::fs::metadata(&dir).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, 0));
    let mut found = false;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.uid(), 0, "{}", path.display());
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        found |= bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
    }
    assert!(found, "the program's memory is not there");
    world
}
