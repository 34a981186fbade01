//! Spawning, ending, exec, limits, listening: what the engine relies on.

mod world;

use std::time::Duration;

use berth_jail::{ExecFds, JailError, Limits, Mount, MountSource};
use world::{Reader, World, exec, process};

#[tokio::test]
async fn a_process_runs_as_the_container_s_root_and_ends_with_its_code() {
    let world = World::new().await;
    let text = world.probe(&["ids"]).await;
    assert_eq!(text, "0 0 0 0\npid 1 sid 1 umask 22\n");
    let image = world.image();
    let output = world.run(world.spec(&image, &["exit", "7"])).await.unwrap();
    assert_eq!((output.status.code, output.status.signal), (7, None));
    assert!(!output.status.oom_killed);
    world.finish().await;
}
