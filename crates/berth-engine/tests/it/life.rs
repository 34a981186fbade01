//! The life of a container: starts, exits, stops, removal, and what it says meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_engine::{EngineError, Event, Status};
use berth_jail::{JailError, Limits};
use libtest_mimic::Trial;

use crate::harness;
use crate::world::{World, read_all};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            exit_codes_before_and_after_the_exit,
            the_process_sees_image_and_request_merged,
            the_engines_files_are_there,
            what_was_written_survives_a_second_start_but_not_a_removal,
            a_missing_program_is_an_error_of_the_start,
            remove_answers_137_and_frees_the_name,
            stop_asks_then_kills,
            output_is_complete_and_in_order_when_wait_answers,
            an_orphan_that_holds_the_output_delays_nobody,
            a_flood_blocks_nobody,
            out_of_memory_is_said,
        ]
    )
}

async fn exit_codes_before_and_after_the_exit(world: World) -> World {
    world.run("seven", &["exit", "7"]).await;
    assert_eq!(world.engine.wait("seven").await.unwrap().code, 7);
    assert_eq!(world.engine.wait("seven").await.unwrap().code, 7);
    world.run("zero", &["exit", "0"]).await;
    assert_eq!(world.engine.wait("zero").await.unwrap().code, 0);

    world.run("killed", &["sleep"]).await;
    let engine = world.engine.clone();
    let early = tokio::spawn(async move { engine.wait("killed").await });
    world.engine.kill("killed", 9).await.unwrap();
    let status = early.await.unwrap().unwrap();
    assert_eq!((status.code, status.signal), (137, Some(9)));
    assert!(matches!(
        world.engine.kill("killed", 9).await,
        Err(EngineError::NotRunning(_))
    ));
    let info = world.engine.inspect("killed").unwrap();
    assert_eq!((info.status, info.pid), (Status::Exited, None));
    assert_eq!(world.engine.list().len(), 3);
    assert!(info.timings.prepare.is_some() && info.timings.spawn.is_some());
    world
}

async fn the_process_sees_image_and_request_merged(world: World) -> World {
    let mut spec = world.spec("c", &["about", "x y"]).await;
    spec.env = vec!["BOTH=request".to_owned(), "MORE=1".to_owned()];
    spec.user = Some("app".to_owned());
    world.engine.create(spec).await.unwrap();
    world.engine.start("c").await.unwrap();
    assert_eq!(world.engine.wait("c").await.unwrap().code, 0);
    let about = world.output("c", false).await;
    for line in [
        "cwd=/srv",
        "uid=1000",
        "gid=1000",
        "pid=1",
        "host=box",
        "arg=about",
        "arg=x y",
        "env=FROM_IMAGE=yes",
        "env=BOTH=request",
        "env=MORE=1",
        "env=HOSTNAME=box",
        "env=HOME=/home/app",
    ] {
        assert!(about.iter().any(|have| have == line), "{line} in {about:?}");
    }
    let paths = about.iter().filter(|line| line.starts_with("env=PATH=/"));
    assert_eq!(paths.count(), 1);
    assert!(!about.iter().any(|line| line.starts_with("env=TERM=")));
    world
}

async fn the_engines_files_are_there(world: World) -> World {
    let mut spec = world.spec("hosts", &["show", "/etc/hosts"]).await;
    spec.extra_hosts = vec![("db.internal".to_owned(), "10.9.8.7".to_owned())];
    world.engine.create(spec).await.unwrap();
    world.engine.start("hosts").await.unwrap();
    world.engine.wait("hosts").await.unwrap();
    let hosts = world.output("hosts", false).await;
    assert!(
        hosts.contains(&"10.9.8.7\tdb.internal".to_owned()),
        "{hosts:?}"
    );
    world.run("resolv", &["show", "/etc/resolv.conf"]).await;
    world.engine.wait("resolv").await.unwrap();
    let expected = format!("nameserver {}", berth_net::RESOLVER_ADDRESS);
    assert_eq!(world.output("resolv", false).await[0], expected);
    world.run("name", &["show", "/etc/hostname"]).await;
    world.engine.wait("name").await.unwrap();
    assert_eq!(world.output("name", false).await, ["box"]);

    let mut spec = world.spec("bad", &[]).await;
    spec.hostname = "a\n1.2.3.4 b".to_owned();
    assert!(matches!(
        world.engine.create(spec).await,
        Err(EngineError::InvalidHost(_))
    ));
    world
}

async fn what_was_written_survives_a_second_start_but_not_a_removal(world: World) -> World {
    for expected in [0, 17] {
        if expected == 0 {
            world.create("c", &["write", "/tmp/once"]).await;
        }
        world.engine.start("c").await.unwrap();
        assert_eq!(world.engine.wait("c").await.unwrap().code, expected);
    }
    world.engine.remove("c", false).await.unwrap();
    world.run("c", &["write", "/tmp/once"]).await;
    assert_eq!(world.engine.wait("c").await.unwrap().code, 0);
    world
}

async fn a_missing_program_is_an_error_of_the_start(world: World) -> World {
    let mut spec = world.spec("c", &[]).await;
    spec.entrypoint = Some(vec!["/bin/nope".to_owned()]);
    world.engine.create(spec).await.unwrap();
    assert!(matches!(
        world.engine.start("c").await,
        Err(EngineError::Start {
            source: JailError::NotFound(_),
            ..
        })
    ));
    assert_eq!(world.engine.wait("c").await.unwrap().code, 127);
    let said = world.output("c", true).await;
    assert!(
        said[0].starts_with("berth: cannot start container `c`: "),
        "{said:?}"
    );
    world.engine.remove("c", true).await.unwrap();

    let mut events = world.engine.events();
    let mut spec = world.spec("c", &[]).await;
    spec.image = "nothing:here".to_owned();
    assert!(matches!(
        world.engine.create(spec).await,
        Err(EngineError::NoSuchImage(_))
    ));
    assert!(world.engine.inspect("c").is_none());
    assert!(matches!(
        events.try_recv(),
        Ok(Event::CreateFailed { reason, .. }) if reason == "no such image: nothing:here"
    ));
    world
}

async fn remove_answers_137_and_frees_the_name(world: World) -> World {
    for _ in 0..10 {
        world.run("c", &["sleep"]).await;
        let engine = world.engine.clone();
        let wait = tokio::spawn(async move { engine.wait("c").await });
        tokio::task::yield_now().await;
        let removed = world.engine.wait_removed("c");
        let (one, two, three) = tokio::join!(
            world.engine.remove("c", true),
            world.engine.remove("c", true),
            removed
        );
        one.unwrap();
        assert!(matches!(two, Ok(()) | Err(EngineError::NoSuchContainer(_))));
        three.unwrap();
        let spec = world.spec("c", &["exit", "0"]).await;
        world.engine.create(spec).await.unwrap();
        assert_eq!(wait.await.unwrap().unwrap().code, 137);
        world.engine.remove("c", false).await.unwrap();
    }
    assert!(matches!(
        world.engine.wait_removed("c").await,
        Err(EngineError::NoSuchContainer(_))
    ));
    world
}

async fn stop_asks_then_kills(world: World) -> World {
    world.run("polite", &["polite"]).await;
    world.line("polite", |line| line.bytes == b"ready").await;
    let begin = Instant::now();
    let status = world.engine.stop("polite", Duration::from_secs(30)).await;
    assert_eq!(status.unwrap().code, 3);
    assert!(begin.elapsed() < Duration::from_secs(10));

    // SIGTERM with its default disposition does nothing to the first process of a pid namespace.
    world.run("rude", &["sleep"]).await;
    let status = world.engine.stop("rude", Duration::from_millis(50)).await;
    assert_eq!(status.unwrap().code, 137);
    world
}

async fn output_is_complete_and_in_order_when_wait_answers(world: World) -> World {
    let mut events = world.engine.events();
    world.run("c", &["print", "3000"]).await;
    world.engine.wait("c").await.unwrap();
    let lines = world.output("c", false).await;
    let expected: Vec<String> = (0..3000).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, expected);
    assert_eq!(world.output("c", true).await, ["no newline"]);
    let mut told = 0;
    loop {
        match events.try_recv().unwrap() {
            Event::Log { .. } => told += 1,
            Event::Exited(info) => {
                assert_eq!(info.name, "c");
                break;
            }
            _ => {}
        }
    }
    assert!(told > 0);
    world
}

async fn an_orphan_that_holds_the_output_delays_nobody(world: World) -> World {
    world.run("c", &["orphan"]).await;
    let begin = Instant::now();
    assert_eq!(world.engine.wait("c").await.unwrap().code, 0);
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(world.output("c", false).await, ["parent"]);
    world
}

async fn a_flood_blocks_nobody(world: World) -> World {
    let _lagging = world.engine.events();
    for name in ["flood1", "flood2"] {
        world.run(name, &["flood"]).await;
    }
    world.run("quiet", &["listen", "8080", "0"]).await;
    for _ in 0..20 {
        let stream = world.engine.connect("quiet", 8080).await.unwrap();
        assert_eq!(read_all(stream.stream).await, "hello\n");
    }
    for name in ["flood1", "flood2"] {
        world.line(name, |line| line.bytes.len() == 70).await;
        let id = world.engine.inspect(name).unwrap().id;
        let dir = world.temp.path().join("state/containers").join(id);
        let kept: u64 = std::fs::read_dir(dir)
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("log."))
            .map(|entry| entry.metadata().unwrap().len())
            .sum();
        assert!(kept <= (1 << 20) + (64 << 10), "{kept} bytes");
        world.engine.remove(name, true).await.unwrap();
    }
    world
}

async fn out_of_memory_is_said(world: World) -> World {
    let mut spec = world.spec("c", &["hog"]).await;
    spec.limits = Some(Limits {
        memory_bytes: Some(32 << 20),
        ..Limits::default()
    });
    world.engine.create(spec).await.unwrap();
    world.run("neighbour", &["sleep"]).await;
    world.engine.start("c").await.unwrap();
    let status = world.engine.wait("c").await.unwrap();
    assert!(status.oom_killed, "{status:?}");
    assert_eq!(status.code, 137);
    let said = world.output("c", true).await;
    assert_eq!(
        said,
        ["berth: killed: out of memory (limit 32 MiB)"],
        "{said:?}"
    );
    let neighbour = world.engine.inspect("neighbour").unwrap();
    assert_eq!(neighbour.status, Status::Running);
    world
}
