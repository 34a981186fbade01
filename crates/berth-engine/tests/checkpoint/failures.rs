//! What CRIU cannot write, and what it cannot restore.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{EngineError, Rest, Status};
use libtest_mimic::Trial;

use crate::harness;
use crate::sleeper::{ask, info, rest, try_ask};
use crate::world::{self, World};
use crate::{counter, images, on_disk};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            what_criu_cannot_write_stays_frozen_and_says_why,
            what_cannot_be_restored_has_exited_and_says_why,
        ]
    )
}

async fn what_criu_cannot_write_stays_frozen_and_says_why(world: World) -> World {
    counter(&world, &["count-with-ghost", "8080", "65"]).await;
    assert_eq!(ask(&world).await, "1");
    for round in 2..=3 {
        world
            .line("c", |line| {
                String::from_utf8_lossy(&line.bytes).contains("stays frozen in memory: cannot be")
            })
            .await;
        // Frozen again, once for all.
        while rest(&world) != Some(Rest::Frozen) || info(&world).sleepless.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let info = info(&world);
        let reason = info.sleepless.clone().unwrap();
        assert!(
            reason.contains("criu says: ") && reason.contains("ghost"),
            "{reason}"
        );
        let pid = info.pid.unwrap();
        while !world::is_frozen(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(images(&world), Vec::<PathBuf>::new());
        assert_eq!(ask(&world).await, round.to_string(), "its memory is kept");
        assert_eq!(info.pid, Some(pid));
    }
    world
}

/// Of the same length, but for memory itself, whose end is lost: CRIU would wait for it for ever.
fn spoil(image: &Path) {
    let file = std::fs::File::options().write(true).open(image).unwrap();
    if image.ends_with("pages-1.img") {
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    } else {
        std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 0).unwrap();
    }
}

async fn what_cannot_be_restored_has_exited_and_says_why(world: World) -> World {
    counter(&world, &["family", "8080", "1"]).await;
    let mut events = world.engine.events();
    for damage in [
        "pages-1.img",
        "core-1.img",
        "core-2.img",
        "seccomp.img",
        "pstree.img",
        "mm-1.img",
        "pagemap-2.img",
        "files.img",
        "fdinfo-2.img",
    ] {
        ask(&world).await;
        on_disk(&mut events).await;
        let [dir] = images(&world).try_into().unwrap();
        spoil(&dir.join(damage));
        let begin = std::time::Instant::now();
        let error = try_ask(&world).await.unwrap_err();
        assert!(
            matches!(error, EngineError::NotRunning(_)),
            "{damage}: {error:?}"
        );
        assert!(begin.elapsed() < Duration::from_secs(10), "{damage}");
        assert_eq!(world.engine.wait("c").await.unwrap().code, 137, "{damage}");
        let info = info(&world);
        assert_eq!(
            (info.status, info.rest, info.pid),
            (Status::Exited, None, None)
        );
        let reason = info.error.clone().unwrap();
        assert!(
            reason.contains("cannot be restored from disk: "),
            "{damage}: {reason}"
        );
        let logged = world.output("c", true).await;
        assert!(
            logged.iter().any(|line| line.contains(&reason)),
            "{damage}: {logged:?}"
        );
        assert_eq!(images(&world), Vec::<PathBuf>::new());
        while !world.processes().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        events = world.engine.events();
        world.engine.start("c").await.unwrap();
        assert_eq!(info.restart_count, 0);
    }
    assert_eq!(ask(&world).await, "1");
    world
}
