//! Builds from Dockerfile to image, with `RUN` in real sandboxes. Needs root and gcc.

use std::os::unix::fs::MetadataExt as _;

use berth_build::Outcome;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn copy_and_metadata_make_an_image_from_scratch() {
    let world = World::new();
    world.file("app", "binary");
    world.file("static/index.html", "<html>");
    world.file("static/css/a.css", "a");
    let built = world
        .build(
            "FROM scratch\n\
             ARG PORT=8080\n\
             ENV PORT=$PORT NAME=\"a b\"\n\
             LABEL org.example=\"x y\"\n\
             WORKDIR /srv/app\n\
             COPY app ./\n\
             COPY --chmod=640 --chown=7:8 static /srv/static\n\
             USER 1000:1000\n\
             EXPOSE ${PORT} 53/udp\n\
             VOLUME /data\n\
             STOPSIGNAL SIGINT\n\
             HEALTHCHECK --interval=1m30s CMD [\"/app\", \"check\"]\n\
             ENTRYPOINT [\"/srv/app/app\"]\n\
             CMD [\"--port\", \"8080\"]\n",
        )
        .await;
    let image = &built.image;
    assert_eq!(image.entrypoint(), ["/srv/app/app"]);
    assert_eq!(image.cmd(), ["--port", "8080"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(image.env(), [path, "PORT=8080", "NAME=a b"]);
    assert_eq!(image.working_dir(), "/srv/app");
    assert_eq!(image.user(), "1000:1000");
    assert_eq!(image.exposed_ports(), ["53/udp", "8080/tcp"]);
    assert_eq!(image.labels()["org.example"], "x y");
    let config = world.store.config_json(image).unwrap();
    assert_eq!(
        config["config"]["Healthcheck"]["Interval"],
        90_000_000_000_u64
    );
    assert_eq!(config["config"]["StopSignal"], "SIGINT");
    let empty = config["history"].as_array().unwrap().iter();
    let layers = empty.filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(layers, image.layers.len(), "history matches the layers");

    let tree = world.tree(image);
    assert_eq!(tree.read("srv/app/app"), "binary");
    assert_eq!(tree.metadata("srv/app/app").uid(), 0);
    assert_eq!(tree.read("srv/static/css/a.css"), "a");
    let css = tree.metadata("srv/static/css");
    assert_eq!((css.uid(), css.gid(), css.mode() & 0o7777), (7, 8, 0o640));
    assert_eq!(world.store.resolve("built").unwrap().unwrap().id, image.id);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_changes_become_a_layer_and_nothing_else_does() {
    let world = World::new();
    let built = world
        .build(
            "FROM base\n\
             ENV GREETING=hello\n\
             ARG NAME=world\n\
             RUN echo one; err two; write /out text; mkdir /made; rm /etc/group\n\
             RUN save-env GREETING /greeting; save-env NAME /name; exists /etc/resolv.conf; exists /etc/hosts\n\
             USER app\n\
             WORKDIR /made\n\
             RUN id; pwd; env PATH; env HOME\n",
        )
        .await;
    assert_eq!(
        built.output(),
        [
            "one",
            "two",
            "1000:1001",
            "/made",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/",
        ]
    );
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("out"), "text");
    assert_eq!(tree.read("greeting"), "hello");
    assert_eq!(tree.read("name"), "world");
    assert_eq!(tree.metadata("out").uid(), 0, "ids as in the image");
    assert!(tree.path("etc/group").is_none(), "deleted");
    assert!(
        !built
            .image
            .env()
            .iter()
            .any(|variable| variable.starts_with("NAME="))
    );
    for stub in ["etc/resolv.conf", "etc/hosts", "dev/shm", "proc/1", "run"] {
        assert!(tree.path(stub).is_none(), "{stub} must not be in the image");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_of_the_same_again_is_cached_and_the_same() {
    let world = World::new();
    world.file("a", "1");
    let dockerfile = "FROM base\nRUN append /log x\nCOPY a /a\nRUN append /log y\nCMD [\"/a\"]\n";
    let first = world.build(dockerfile).await;
    assert_eq!(first.cached(), [true, false, false, false]);
    let second = world.build(dockerfile).await;
    assert_eq!(second.cached(), [true; 4]);
    assert_eq!(first.image.id, second.image.id);

    // A changed file invalidates its own step and the ones above it.
    world.file("a", "2");
    let third = world.build(dockerfile).await;
    assert_eq!(third.cached(), [true, true, false, false]);
    assert_eq!(world.tree(&third.image).read("a"), "2");
    // Back again: known.
    world.file("a", "1");
    let fourth = world.build(dockerfile).await;
    assert_eq!(fourth.cached(), [true; 4]);
    assert_eq!(fourth.image.id, first.image.id);

    let changed = dockerfile.replace("append /log y", "append /log z");
    assert_eq!(
        world.build(&changed).await.cached(),
        [true, true, true, false]
    );
    let mut request = world.request(dockerfile);
    request.no_cache = true;
    assert_eq!(
        world.run(&request).await.unwrap().cached(),
        [true, false, false, false]
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_part_of_the_cache_where_they_are_in_scope() {
    let world = World::new();
    let dockerfile = "FROM base\nRUN append /a 1\nARG VERSION\nRUN save-env VERSION /version\n";
    let mut request = world.request(dockerfile);
    request.args.insert("VERSION".to_owned(), "1".to_owned());
    let one = world.run(&request).await.unwrap();
    request.args.insert("VERSION".to_owned(), "2".to_owned());
    let two = world.run(&request).await.unwrap();
    assert_eq!(two.cached(), [true, true, false]);
    assert_eq!(world.tree(&one.image).read("version"), "1");
    assert_eq!(world.tree(&two.image).read("version"), "2");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_needed_stages_are_built() {
    let world = World::new();
    world.file("src", "source");
    let dockerfile = "\
        ARG BASE=base\n\
        FROM ${BASE} AS build\n\
        COPY src /src\n\
        RUN write /out built; chown 1000 /out\n\
        FROM base AS broken\n\
        RUN exit 1\n\
        FROM build AS test\n\
        RUN exists /out; write /tested yes\n\
        FROM scratch AS final\n\
        COPY --from=build /out /app/\n\
        COPY --from=0 /src /app/src\n\
        COPY --from=base /etc/passwd /etc/passwd\n";
    let built = world.build(dockerfile).await;
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("app/out"), "built");
    assert_eq!(
        tree.metadata("app/out").uid(),
        1000,
        "owners come along from a stage"
    );
    assert_eq!(tree.read("app/src"), "source");
    assert!(tree.read("etc/passwd").contains("app:x:1000"));
    assert_eq!(built.cached().len(), 3 + 4, "two of four stages");
    assert!(built.outcome_of("exit 1").is_none());

    let mut request = world.request(dockerfile);
    request.target = Some("TEST".to_owned());
    let test = world.run(&request).await.unwrap();
    assert_eq!(world.tree(&test.image).read("tested"), "yes");

    // A stage that is rebuilt with the same result invalidates nothing above it.
    let changed = dockerfile.replace("write /out built;", "write /out built; echo again;");
    let built = world.build(&changed).await;
    for (step, expected) in [
        ("COPY src", Outcome::Cached),
        ("echo again", Outcome::Done),
        ("COPY --from=build", Outcome::Cached),
        ("COPY --from=0", Outcome::Cached),
    ] {
        assert_eq!(built.outcome_of(step), Some(&expected), "{step}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_follows_links_in_the_image_but_never_out_of_it() {
    let world = World::new();
    let canary = world.directory.path().join("canary");
    std::fs::write(&canary, "host secret").unwrap();
    std::os::unix::fs::symlink(&canary, world.context().join("leak")).unwrap();
    std::os::unix::fs::symlink("real", world.context().join("link")).unwrap();
    world.file("real", "text");
    world.file("dir/file", "x");
    std::os::unix::fs::symlink(&canary, world.context().join("dir/inner")).unwrap();
    let out = canary.parent().unwrap().to_str().unwrap();
    let built = world
        .build(&format!(
            "FROM base\n\
             COPY link /lib/\n\
             COPY link /copied\n\
             COPY dir /dir\n\
             RUN ln {out} /escape\n\
             COPY real /escape/canary\n"
        ))
        .await;
    let tree = world.tree(&built.image);
    assert_eq!(
        tree.read("usr/lib/link"),
        "text",
        "through the image's own link"
    );
    assert!(tree.metadata("lib").is_symlink(), "which is still there");
    assert_eq!(tree.read("copied"), "text");
    assert_eq!(
        std::fs::read_link(tree.path("dir/inner").unwrap()).unwrap(),
        canary
    );
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "host secret");
    assert_eq!(
        tree.read(&format!("{}/canary", out.trim_start_matches('/'))),
        "text"
    );

    let report = world.fail("FROM base\nCOPY leak /leaked\n").await;
    assert!(
        report.contains("`leak` is not in the build context"),
        "{report}"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_files_do_not_come_along() {
    let world = World::new();
    for name in [
        "a.js",
        "b.js",
        "b.test.js",
        "node_modules/x/i.js",
        "sub/c.js",
        "sub/keep.md",
        "x.md",
    ] {
        world.file(name, name);
    }
    world.file(
        ".dockerignore",
        "node_modules\n**/*.md\n!**/keep.md\n*.test.js\n",
    );
    let built = world
        .build("FROM scratch\nCOPY . /all/\nCOPY *.js sub/*.js /js/\n")
        .await;
    let tree = world.tree(&built.image);
    assert_eq!(tree.top(), ["js", "js/a.js", "js/b.js", "js/c.js"]);
    for (name, there) in [
        ("all/sub/keep.md", true),
        ("all/x.md", false),
        ("all/node_modules", false),
        ("all/b.test.js", false),
        ("all/.dockerignore", true),
    ] {
        assert_eq!(tree.path(name).is_some(), there, "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heredocs_and_add() {
    let world = World::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o600);
    header.set_uid(5);
    header.set_gid(5);
    tar.append_data(&mut header, "in/file", &b"ok"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    std::fs::write(world.context().join("a.tar"), &tar).unwrap();
    let built = world
        .build(
            "FROM base\n\
             ENV WHO=you\n\
             COPY <<one <<\"two\" /docs/\n\
             hello $WHO\n\
             one\n\
             hello $WHO\n\
             two\n\
             RUN <<EOF\n\
             write /first 1\n\
             write /second 2\n\
             EOF\n\
             RUN <<EOF\n\
             #!/bin/sh\n\
             write /third 3\n\
             EOF\n\
             ADD a.tar /unpacked/\n\
             COPY a.tar /copied/\n",
        )
        .await;
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("docs/one"), "hello you\n");
    assert_eq!(tree.read("docs/two"), "hello $WHO\n");
    assert_eq!(
        tree.read("first") + &tree.read("second") + &tree.read("third"),
        "123"
    );
    assert!(tree.path("run/.berth").is_none());
    assert_eq!(tree.metadata("copied/a.tar").len(), tar.len() as u64);
    assert_eq!(tree.read("unpacked/in/file"), "ok");
    let file = tree.metadata("unpacked/in/file");
    assert_eq!((file.uid(), file.mode() & 0o7777), (5, 0o600));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_there_during_the_step_only() {
    let world = World::new();
    world.file("data/file", "from the context");
    let dockerfile = "FROM base\n\
         RUN --mount=type=cache,target=/cache append /cache/log x; cat /cache/log; echo\n\
         RUN --mount=type=tmpfs,target=/scratch write /scratch/a b\n\
         RUN --mount=type=bind,source=data,target=/ctx cat /ctx/file; echo\n\
         RUN missing /ctx; missing /scratch; missing /cache\n";
    let first = world.build(dockerfile).await;
    assert_eq!(first.output(), ["x", "from the context"]);
    assert_eq!(
        first.image.layers.len(),
        1,
        "the base's; no step changed anything"
    );
    let mut request = world.request(dockerfile);
    request.no_cache = true;
    let second = world.run(&request).await.unwrap();
    assert_eq!(
        second.output(),
        ["xx", "from the context"],
        "the cache was kept"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_there_during_the_step_only() {
    let world = World::new();
    let bundle = world.directory.path().join("ca.pem");
    std::fs::write(&bundle, "PEM\n").unwrap();
    let mut request = world.request(
        "FROM base\nENV PIP_CERT=/own\nRUN env SSL_CERT_FILE; cat /run/.berth/ca-bundle.pem; env PIP_CERT\n",
    );
    request.ca_bundle = Some(bundle);
    let built = world.run(&request).await.unwrap();
    assert_eq!(
        built.output(),
        [
            "SSL_CERT_FILE=/run/.berth/ca-bundle.pem",
            "PEM",
            "PIP_CERT=/own"
        ]
    );
    assert_eq!(built.image.env().len(), 2, "{:?}", built.image.env());
    assert!(world.tree(&built.image).path("run").is_none());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn onbuild_triggers_run_where_the_image_is_used() {
    let world = World::new();
    world.file("app", "x");
    let mut request =
        world.request("FROM base\nONBUILD COPY app /app\nONBUILD RUN write /ran yes\n");
    request.tags = vec!["trigger".to_owned()];
    let base = world.run(&request).await.unwrap();
    assert!(world.tree(&base.image).path("app").is_none());
    let built = world.build("FROM trigger\n").await;
    let tree = world.tree(&built.image);
    assert_eq!(tree.read("app") + &tree.read("ran"), "xyes");
    let config = world.store.config_json(&built.image).unwrap();
    assert!(config["config"]["OnBuild"].is_null());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrypoint_drops_the_command_of_the_base_only() {
    let world = World::new();
    let built = world.build("FROM base\nENTRYPOINT [\"/a\"]\n").await;
    assert!(built.image.cmd().is_empty());
    let built = world.build("FROM base\nCMD b\nENTRYPOINT [\"/a\"]\n").await;
    assert_eq!(built.image.cmd(), ["/bin/sh", "-c", "b"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_line() {
    let world = World::new();
    world.file("package.json", "{}");
    world.file("secret", "");
    world.file(".dockerignore", "secret\n");
    let cases = [
        "FROM base\nRUN echo first; err second; exit 3\n",
        "FROM base\nRUN crash\n",
        "FROM base\nRUN [\"/no/such/program\"]\n",
        "FROM base\nCOPY pakage.json /\n",
        "FROM base\nCOPY secret /\n",
        "FROM base\nCOPY ../x /\n",
        "FROM base\nCOPY package.json .dockerignore /one\n",
        "FROM base\nCOPY --chown=nobody package.json /\n",
        "FROM base\nCOPY package.json /bin\nCOPY . /bin/sh\n",
        "FROM nowhere:1\n",
        "FROM base\nCOPY --from=nowhere /a /a\n",
        "FROM base\nADD ftp://example.com/x /x\n",
        "FROM base\nUSER nobody\nRUN id\n",
    ];
    let mut all = String::new();
    for case in cases {
        all += &world.fail(case).await;
        all += "\n";
    }
    insta::assert_snapshot!(all);
    world.close().await;
}

/// A step that hangs is dropped with its build: no process, mount or file stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_build_leaves_nothing() {
    let world = World::new();
    let request = world.request("FROM base\nRUN write /a b; echo started; hang\n");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |event| drop(sender.send(event));
    let build = berth_build::build(&world.store, &world, &request, &progress);
    let started = async {
        while let Some(event) = receiver.recv().await {
            if matches!(&event, berth_build::BuildEvent::Output { line, .. } if line == "started") {
                return;
            }
        }
        panic!("the step did not start");
    };
    tokio::select! {
        result = build => panic!("{result:?}"),
        () = started => {}
    }
    world.assert_clean();
    world.close().await;
}

/// What a step leaves running ends with it, and does not hold the build.
#[tokio::test(flavor = "multi_thread")]
async fn background_processes_end_with_their_step() {
    let world = World::new();
    let built = world
        .build("FROM base\nRUN daemon; write /done yes\n")
        .await;
    assert_eq!(world.tree(&built.image).read("done"), "yes");
    world.close().await;
}
