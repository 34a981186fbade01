//! Stages side by side, steps made once, what is in a cache key, reproducible images.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use berth_build::{BuildError, BuildEvent, Outcome};

use crate::world::{World, outcome_of};

/// The steps meet in a directory that both see; one after the other they would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn stages_that_do_not_need_each_other_are_built_at_the_same_time() {
    let world = World::new();
    let dockerfile = "FROM base AS a\n\
         RUN --mount=type=cache,target=/m send /m/fifo; write /a a\n\
         FROM base AS b\n\
         RUN --mount=type=cache,target=/m receive /m/fifo; write /b b\n\
         FROM scratch\n\
         COPY --from=a /a /\n\
         COPY --from=b /b /\n";
    let built = tokio::time::timeout(Duration::from_secs(60), world.build(dockerfile))
        .await
        .expect("the stages wait for each other");
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("a") + &tree.read("b"), "ab");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_ends_the_other_stages_and_is_reported_once() {
    let world = World::new();
    let request = world.request(
        "FROM base AS a\n\
         RUN --mount=type=cache,target=/m send /m/fifo; hang\n\
         RUN write /never yes\n\
         FROM base AS b\n\
         RUN --mount=type=cache,target=/m receive /m/fifo; err oh; exit 3\n\
         FROM scratch\n\
         COPY --from=a /never /\n\
         COPY --from=b /etc/passwd /\n",
    );
    let (result, events) = tokio::time::timeout(Duration::from_secs(60), world.attempt(&request))
        .await
        .expect("the hanging step is ended");
    let error = result.unwrap_err();
    let BuildError::RunFailed {
        location,
        status,
        last_lines,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((location.line, status.as_str()), (5, "exit code 3"));
    assert_eq!(last_lines, &["oh"]);
    assert!(
        location.excerpt.contains("5 | >>> RUN --mount"),
        "{}",
        location.excerpt
    );
    assert_eq!(outcome_of(&events, "hang"), Some(&Outcome::Canceled));
    assert!(outcome_of(&events, "/never").is_none(), "{events:?}");
    let failed = events.iter().filter(|event| {
        matches!(
            event,
            BuildEvent::Finished {
                outcome: Outcome::Failed(_),
                ..
            }
        )
    });
    assert_eq!(failed.count(), 1, "{events:?}");
    world.assert_clean();
    world.close().await;
}

/// Counts by what the step leaves in a directory that is no part of the image.
#[tokio::test(flavor = "multi_thread")]
async fn what_several_stages_and_builds_want_is_made_once() {
    let world = World::new();
    let dockerfile = "FROM base AS a\n\
         RUN --mount=type=cache,target=/m append /m/log x; write /made yes\n\
         FROM base AS b\n\
         RUN --mount=type=cache,target=/m append /m/log x; write /made yes\n\
         FROM base\n\
         COPY --from=a /made /a\n\
         COPY --from=b /made /b\n\
         RUN --mount=type=cache,target=/m cat /m/log; echo\n";
    let request = world.request(dockerfile);
    let (one, two) = tokio::join!(world.run(&request), world.run(&request));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.image.id, two.image.id);
    let logs: Vec<_> = [one.output(), two.output()].concat();
    assert_eq!(
        logs.iter().filter(|line| **line == "x").count(),
        1,
        "{logs:?}"
    );
    assert!(!logs.contains(&"xx"), "{logs:?}");

    // Without the cache everything is made anew, and still once.
    let mut request = world.request(dockerfile);
    request.no_cache = true;
    let anew = world.run(&request).await.unwrap();
    assert!(anew.output().contains(&"xx"), "{:?}", anew.output());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_platform_is_refused_by_name() {
    let world = World::new();
    let mut request = world.request("FROM base\n");
    request.platform = Some("linux/s390x".to_owned());
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(report.contains("linux/s390x"), "{report}");
    world.close().await;
}

/// Two machines, different times of files and of building: the same image.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_source_date_the_same_image_comes_out_everywhere() {
    const EPOCH: i64 = 1_600_000_000;
    let mut ids = Vec::new();
    for round in 0..2 {
        let world = World::new();
        world.file("a", "1");
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
        world.file("old", "2");
        let file = std::fs::File::options()
            .write(true)
            .open(world.context().join("old"))
            .unwrap();
        file.set_modified(old).unwrap();
        let mut request = world.request(
            "FROM base AS first\n\
             RUN write /built 1; mkdir /dir; write /dir/x 1; rm /etc/group\n\
             FROM first\n\
             WORKDIR /srv/app\n\
             COPY a old ./\n\
             ENV A=b\n",
        );
        request
            .args
            .insert("SOURCE_DATE_EPOCH".to_owned(), EPOCH.to_string());
        let built = world.run(&request).await.unwrap();
        let tree = world.tree(&built.image);
        for name in ["built", "dir", "dir/x", "srv/app", "srv/app/a"] {
            assert_eq!(tree.metadata(name).mtime(), EPOCH, "{name}");
        }
        assert_eq!(tree.metadata("srv/app/old").mtime(), 1_500_000_000);
        let config = world.store.config_json(&built.image).unwrap();
        assert_eq!(config["created"], "2020-09-13T12:26:40Z");
        for entry in config["history"].as_array().unwrap() {
            assert_eq!(entry["created"], "2020-09-13T12:26:40Z", "{config:#}");
        }
        ids.push((built.image.id.clone(), built.image.layers.clone()));

        // Another date is another image; the steps of the first are not mistaken for it.
        request
            .args
            .insert("SOURCE_DATE_EPOCH".to_owned(), (EPOCH + 1).to_string());
        let later = world.run(&request).await.unwrap();
        assert_ne!(later.image.id, built.image.id);
        assert_eq!(
            world.tree(&later.image).metadata("built").mtime(),
            EPOCH + 1
        );
        world.close().await;
        if round == 0 {
            // The second build is at another second.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_date_that_is_none_is_refused() {
    let world = World::new();
    let mut request = world.request("FROM base\n");
    request
        .args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "yesterday".to_owned());
    let error = world.run(&request).await.unwrap_err();
    assert!(
        error.to_string().contains("SOURCE_DATE_EPOCH=yesterday"),
        "{error}"
    );
    world.close().await;
}

/// A directory has no time of its own, and an `ARG` before the first `FROM` is asked if nothing is given.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_date_may_come_from_the_file_and_not_from_a_directory() {
    let world = World::new();
    let dockerfile = "ARG SOURCE_DATE_EPOCH=1600000000
         FROM base
         ARG SOURCE_DATE_EPOCH
         RUN write /built 1; env SOURCE_DATE_EPOCH
";
    let built = world.build(dockerfile).await;
    assert_eq!(built.output(), ["SOURCE_DATE_EPOCH=1600000000"]);
    let modified = world.tree(&built.image).metadata("built").mtime();
    assert_eq!(modified, 1_600_000_000);
    for given in ["context", ""] {
        let mut request = world.request(dockerfile);
        let name = "SOURCE_DATE_EPOCH".to_owned();
        request.args.insert(name, given.to_owned());
        let built = world.run(&request).await.unwrap();
        let modified = world.tree(&built.image).metadata("built").mtime();
        assert!(modified > 1_600_000_000, "{given}: {modified}");
        if built.cached() == [true, false] {
            assert_eq!(built.output(), ["SOURCE_DATE_EPOCH=(unset)"], "{given}");
        }
    }
    world.close().await;
}

/// Collected while nobody builds: the next build makes every step again.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_cache_is_made_again() {
    let world = World::new();
    let dockerfile = "FROM base\nRUN write /made yes\nRUN exists /made\n";
    world.build(dockerfile).await;
    assert_eq!(world.build(dockerfile).await.cached(), [true, true, true]);
    world.store.remove("built").unwrap();
    let caches = berth_image::Policy {
        caches: true,
        ..berth_image::Policy::default()
    };
    let collected = world.store.collect(&caches).unwrap();
    assert_eq!(collected.layers, 1, "{collected:?}");
    assert_eq!(berth_build::sweep_records(&world.store), 1);
    let again = world.build(dockerfile).await;
    // Nothing is known of the first step; that the second one changed nothing still is, as soon as
    // the layer below is the same again.
    assert_eq!(again.cached()[..2], [true, false]);
    assert_eq!(world.tree(&again.image).read("made"), "yes");
    world.close().await;
}

/// Both hold the cache at the same moment: each waits in it for the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_cache_is_used_by_several_steps_and_builds_at_once() {
    let world = World::new();
    world
        .build(
            "FROM base AS one\n\
             RUN --mount=type=cache,id=meeting,target=/c send /c/first; receive /c/second; write /one 1\n\
             FROM base AS two\n\
             RUN --mount=type=cache,id=meeting,target=/c,sharing=shared receive /c/first; send /c/second; write /two 1\n\
             FROM base\n\
             COPY --from=one /one /\n\
             COPY --from=two /two /\n",
        )
        .await;
    let build = |verb: &str, other: &str| {
        let path = world.directory.path().join(format!("{verb}.Dockerfile"));
        let text = format!(
            "FROM base\nRUN --mount=type=cache,id=meeting,target=/c {verb} /c/third; {other} /c/fourth\n"
        );
        std::fs::write(&path, text).unwrap();
        let mut request = world.request("FROM base\n");
        request.dockerfile = path;
        request
    };
    let (first, second) = (build("send", "receive"), build("receive", "send"));
    let (first, second) = tokio::join!(world.run(&first), world.run(&second));
    first.unwrap();
    second.unwrap();
    world.close().await;
}

/// They run at the same moment (they meet in another cache) and do not see each other's files. Alone,
/// the next one finds the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_cache_is_another_one_for_whoever_comes_while_it_is_used() {
    let world = World::new();
    let step = |meet: &str, mine: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,target=/private,sharing=private --mount=type=cache,target=/meet \
             write /private/{mine} 1; {meet}; missing /private/{other}; rm /private/{mine}; write /{mine} 1\n"
        )
    };
    let one = step("send /meet/a; receive /meet/b", "one", "two");
    let two = step("receive /meet/a; send /meet/b", "two", "one");
    let dockerfile = format!(
        "FROM base AS first\n{one}FROM base AS second\n{two}\
         FROM base\nCOPY --from=first /one /\nCOPY --from=second /two /\n\
         RUN --mount=type=cache,target=/private,sharing=private append /private/log x; cat /private/log; echo\n"
    );
    let mut request = world.request(&dockerfile);
    let built = world.run(&request).await.unwrap();
    assert_eq!(built.output(), ["x"]);
    // None of three is lost, and none grows out of nothing: alone, it is always the first.
    request.no_cache = true;
    let again = world.run(&request).await.unwrap();
    assert_eq!(again.output(), ["xx"]);
    world.close().await;
}

/// Whoever has it is alone with it, and says so to those who wait; also between builds. The first of
/// three steps is held until the two others wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_cache_is_used_by_one_step_after_the_other() {
    const MINUTE: Duration = Duration::from_secs(60);
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (waits, waiting) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        for number in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            if number == 0 {
                waiting.recv_timeout(MINUTE).unwrap();
                waiting.recv_timeout(MINUTE).unwrap();
            }
            let mut hello = [0; 3];
            stream.read_exact(&mut hello).unwrap();
            stream.write_all(b"go").unwrap();
        }
    });
    let step = |name: &str| {
        format!(
            "RUN --mount=type=cache,target=/c,sharing=locked \
             missing /c/busy; write /c/busy 1; call HTTP_PROXY; rm /c/busy; append /c/log {name}; write /{name} 1\n"
        )
    };
    let mut first = world.request(&format!(
        "FROM base AS first\n{}FROM base AS second\n{}\
         FROM base\nCOPY --from=first /one /\nCOPY --from=second /two /\n",
        step("one"),
        step("two")
    ));
    first
        .proxies
        .insert("HTTP_PROXY".to_owned(), format!("http://{address}"));
    let third = world.directory.path().join("third.Dockerfile");
    std::fs::write(&third, format!("FROM base\n{}", step("three"))).unwrap();
    let mut second = first.clone();
    second.dockerfile = third;
    let waits = std::sync::Mutex::new(waits);
    let tell = |event| {
        if let BuildEvent::Output { line, .. } = event
            && line.contains("waiting for another step that uses the cache")
        {
            waits.lock().unwrap().send(()).unwrap();
        }
    };
    let (first, second) = tokio::join!(
        berth_build::build(&world.store, &world, &first, &tell),
        berth_build::build(&world.store, &world, &second, &tell),
    );
    first.unwrap();
    second.unwrap();
    server.join().unwrap();
    let log = world
        .build("FROM base\nRUN --mount=type=cache,target=/c cat /c/log; echo\n")
        .await;
    assert_eq!(log.output()[0].len(), "onetwothree".len());
    world.close().await;
}
