//! Limits that hold, on the real jail: disk, pids, open files.

use std::path::Path;
use std::sync::Arc;

use berth_engine::Status;
use berth_jail::Limits;
use libtest_mimic::Trial;

use crate::harness;
use crate::world::World;

const MIB: u64 = 1 << 20;

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            a_full_disk_is_enospc_inside_and_nothing_outside,
            a_disk_survives_a_second_start,
            much_more_can_be_written_than_memory_holds,
        ]
    )
}

fn disk(bytes: u64) -> Option<Limits> {
    Some(Limits {
        disk_bytes: Some(bytes),
        ..Limits::default()
    })
}

/// Loop devices that show a file of this world.
fn loop_devices(world: &World) -> usize {
    let backing = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()
    };
    std::fs::read_dir("/sys/block")
        .unwrap()
        .flatten()
        .filter_map(backing)
        .filter(|file| file.starts_with(world.temp.path().to_str().unwrap()))
        .count()
}

async fn a_full_disk_is_enospc_inside_and_nothing_outside(world: World) -> World {
    for name in ["full", "neighbour"] {
        let mut spec = world.spec(name, &["fill", "/file", "0"]).await;
        if name == "neighbour" {
            spec.command = Some(["write", "/file"].map(str::to_owned).to_vec());
        }
        spec.limits = disk(16 * MIB);
        world.engine.create(spec).await.unwrap();
    }
    world.engine.start("full").await.unwrap();
    assert_eq!(world.engine.wait("full").await.unwrap().code, 28, "ENOSPC");
    let said = world.output("full", false).await;
    let written: u64 = said[0].parse().unwrap();
    assert!((12 * MIB..16 * MIB).contains(&written), "{written} bytes");
    world.engine.start("neighbour").await.unwrap();
    assert_eq!(world.engine.wait("neighbour").await.unwrap().code, 0);
    world.engine.remove("full", false).await.unwrap();
    world.engine.remove("neighbour", false).await.unwrap();
    world.engine.shutdown().await;
    // The kernel finishes a container's mount namespace after the container's end.
    let gone = async {
        while loop_devices(&world) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(std::time::Duration::from_secs(5), gone).await;
    gone.expect("a loop device is left");
    world
}

async fn a_disk_survives_a_second_start(world: World) -> World {
    let mut spec = world.spec("c", &["write", "/kept"]).await;
    spec.limits = disk(16 * MIB);
    world.engine.create(spec).await.unwrap();
    for code in [0, 17] {
        world.engine.start("c").await.unwrap();
        assert_eq!(world.engine.wait("c").await.unwrap().code, code);
        assert_eq!(world.engine.inspect("c").unwrap().status, Status::Exited);
    }
    world
}

/// Pages of files count as memory of the container, on either side of the loop device; they can be
/// written back at any time.
async fn much_more_can_be_written_than_memory_holds(world: World) -> World {
    let mut spec = world.spec("c", &["fill", "/file", "100"]).await;
    spec.limits = Some(Limits {
        memory_bytes: Some(16 * MIB),
        disk_bytes: Some(200 * MIB),
        ..Limits::default()
    });
    world.engine.create(spec).await.unwrap();
    world.engine.start("c").await.unwrap();
    let status = world.engine.wait("c").await.unwrap();
    assert_eq!((status.code, status.oom_killed), (0, false));
    world
}
