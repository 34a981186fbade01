//! `RUN --mount` and everything else that a step is given: sources, targets and what is left of them.

use std::os::unix::fs::symlink;

use super::world;

/// Sources of bind mounts through links of the context, and out of it by name.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_9407_a_bind_mount_s_source_stays_in_the_context() {
    let (world, canary) = world();
    world.file("dir/x", "x");
    symlink(canary.path(), world.context().join("leak")).unwrap();
    symlink(canary.up(), world.context().join("dir/leak")).unwrap();
    symlink("/proc/self/root", world.context().join("magic")).unwrap();
    let up = canary.up();
    for source in [
        "leak",
        "leak/secret",
        "dir/leak",
        "dir/../leak",
        &up,
        &format!("magic{}", canary.text()),
        canary.text(),
        "..",
        "/..",
    ] {
        for options in ["", ",rw", ",ro"] {
            let dockerfile = format!(
                "FROM corpus/base\nRUN --mount=type=bind,source={source},target=/mnt{options} \
                 cp -r /mnt /taken; echo changed > /mnt/secret; echo new > /mnt/new; true\n"
            );
            let (built, _) = world.attempt(&world.request(&dockerfile)).await;
            // `..` ends at the context, which may be mounted.
            if source.ends_with("..") {
                canary.assert_built(&world, built);
            } else {
                canary.assert_refused(built, &format!("`{source}` is not in the build context"));
            }
        }
    }
    world.close().await;
}

/// buildah mounted the host's root where a stage's link led.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_1753_a_mount_from_a_stage_does_not_lead_to_the_host() {
    let (world, canary) = world();
    let (path, up) = (canary.text(), canary.up());
    for target in ["/", path, up.as_str(), "/proc/self/root", "/proc/1/cwd"] {
        for source in ["/link", "/link/", "link/.", &format!("/link{path}")] {
            let dockerfile = format!(
                "FROM corpus/base AS evil\nRUN ln -s {target} /link\n\
                 FROM corpus/base\n\
                 RUN --mount=type=bind,from=evil,source={source},target=/mnt,rw \
                 cp /mnt/secret /mnt{path}/secret /taken; echo changed > /mnt/secret; \
                 echo changed > /mnt{path}/secret; true\n"
            );
            let (built, _) = world.attempt(&world.request(&dockerfile)).await;
            // The stage has a root, but no such directory.
            if target == "/" && !source.ends_with(path) {
                canary.assert_built(&world, built);
            } else {
                let shown = source.trim_matches('/');
                canary.assert_refused(built, &format!("`{shown}` is not in `evil`"));
            }
        }
    }
    world.close().await;
}

/// What a step writes to a mount of the context stays out of the context.
#[tokio::test(flavor = "multi_thread")]
async fn a_writable_mount_does_not_change_the_context() {
    let (world, _canary) = world();
    world.file("file", "mine");
    world.file("dir/inner", "mine");
    for options in ["rw", "readwrite", "rw=true"] {
        let dockerfile = format!(
            "FROM corpus/base\n\
             RUN --mount=type=bind,target=/ctx,{options} echo theirs > /ctx/file && rm -r /ctx/dir && echo x > /ctx/new\n\
             RUN --mount=type=bind,target=/ctx cat /ctx/file /ctx/dir/inner && ls /ctx\n"
        );
        let (built, _) = world.attempt(&world.request(&dockerfile)).await;
        built.unwrap();
        let read = |name: &str| std::fs::read_to_string(world.context().join(name)).unwrap();
        assert_eq!(read("file") + &read("dir/inner"), "minemine");
        assert!(!world.context().join("new").exists());
    }
    world.close().await;
}

/// One step exchanges a directory of a cache with a link to the host while another mounts it.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_23651_a_race_over_a_cache_mount_does_not_lead_out() {
    let (world, canary) = world();
    let path = canary.text();
    for round in 0..6 {
        let mut dockerfile = format!(
            "FROM corpus/base AS swap\n\
             RUN --mount=type=cache,id=shared,target=/cache mkdir -p /cache/sub /cache/other; \
             ln -sfn {path} /cache/link; i=0; \
             while [ $i -lt 300 ]; do mv /cache/sub /cache/aside; mv /cache/link /cache/sub; \
             mv /cache/sub /cache/link; mv /cache/aside /cache/sub; i=$((i+1)); done; echo {round} > /done\n"
        );
        for number in 0..4 {
            dockerfile += &format!(
                "FROM corpus/base AS use{number}\n\
                 RUN --mount=type=cache,id=shared,source=sub,target=/mnt \
                 cp /mnt/secret /taken 2>/dev/null; echo changed > /mnt/secret; echo {round} > /done\n"
            );
        }
        dockerfile += "FROM corpus/base\nCOPY --from=swap /done /swap\n";
        for number in 0..4 {
            dockerfile += &format!("COPY --from=use{number} /done /taken* /{number}/\n");
        }
        canary.assert_built(&world, world.attempt(&world.request(&dockerfile)).await.0);
    }
    world.close().await;
}

/// A cache whose files are links to the host, and the paths that one could make of its name.
#[tokio::test(flavor = "multi_thread")]
async fn caches_are_known_by_name_and_hold_no_way_out() {
    let (world, canary) = world();
    let path = canary.text();
    let up = canary.up();
    for id in [path, &up, "../../..", "/", ".", "a/../../b", "\u{1}"] {
        let dockerfile = format!(
            "FROM corpus/base\n\
             RUN --mount=type=cache,id={id},target=/cache ls -A /cache > /list; echo x > /cache/secret; \
             echo x > /cache/new; ln -s {path} /cache/out; true\n\
             RUN --mount=type=cache,id={id},target=/cache cat /cache/out/secret > /taken; \
             echo changed > /cache/out/secret; true\n\
             RUN --mount=type=cache,id={id},target=/cache/out echo x > /cache/out/secret; true\n"
        );
        let (built, _) = world.attempt(&world.request(&dockerfile)).await;
        let image = canary.assert_built(&world, built);
        assert_eq!(world.tree(&image).read("list"), "", "{id}");
    }
    world.close().await;
}

/// `--from` is a stage or an image, never a path.
#[tokio::test(flavor = "multi_thread")]
async fn from_is_never_a_path() {
    let (world, canary) = world();
    let up = canary.up();
    for from in [
        canary.text(),
        &up,
        ".",
        "/",
        "oci-layout:/",
        "docker-archive:/x",
    ] {
        for line in [
            format!("COPY --from={from} secret /taken"),
            format!("RUN --mount=type=bind,from={from},target=/mnt cp /mnt/secret /taken"),
            format!("RUN --mount=type=cache,from={from},target=/mnt cp /mnt/secret /taken"),
        ] {
            let report = world.fail(&format!("FROM corpus/base\n{line}\n")).await;
            canary.assert_not_in(&report);
            assert!(report.contains("Dockerfile:2"), "{report}");
        }
    }
    for image in [canary.text(), &up, "."] {
        canary.assert_not_in(&world.fail(&format!("FROM {image}\n")).await);
    }
    world.close().await;
}

/// Empty files and directories that were made to mount on are removed after the step; a step that
/// has put a link in their way must not choose what is removed.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_23652_stubs_of_mounts_are_removed_in_the_layer_only() {
    let (world, canary) = world();
    let path = canary.text();
    for (target, attack) in [
        (
            "/a/b/hollow",
            format!("mv /a /gone; ln -s {path} /a; ls -d /gone/b"),
        ),
        ("/a/hollow", format!("mv /a /gone; ln -s {path} /a")),
        ("/a/stub", format!("mv /a /gone; ln -s {path} /a")),
        (
            "/a/b/c/hollow",
            format!(
                "mv /a/b /gone; ln -s {} /a/b; mkdir -p /gone/c",
                canary.up()
            ),
        ),
        (
            "/etc/deep/stub",
            format!("mv /etc /gone; ln -s {path} /etc; true"),
        ),
    ] {
        let dockerfile = format!(
            "FROM corpus/base\nRUN --mount=type=tmpfs,target={target} {attack}; true\n\
             RUN --mount=type=secret,id=s,target={target} {attack}; true\n"
        );
        let mut request = world.request(&dockerfile);
        request
            .secrets
            .insert("s".to_owned(), berth_build::Secret::Value(b"x".to_vec()));
        canary.assert_built(&world, world.attempt(&request).await.0);
    }
    world.close().await;
}

/// A step leaves links where the next one is given files.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_cannot_choose_where_the_next_one_s_files_go() {
    let (world, canary) = world();
    let path = canary.text();
    let bundle = world.directory.path().join("ca.pem");
    std::fs::write(&bundle, "PEM\n").unwrap();
    for attack in [
        format!("rm -rf /run; ln -s {path} /run"),
        format!("rm -rf /run; mkdir /run; ln -s {path} /run/.berth"),
        format!("mkdir -p /run/.berth; ln -s {path}/secret /run/.berth/script"),
        format!("ln -sf {path}/secret /etc/hosts; ln -sf {path}/new /etc/resolv.conf; true"),
        format!("rm -rf /etc; ln -s {path} /etc"),
        format!("rm -rf /proc /dev /sys; ln -s {path} /proc; ln -s {path} /dev; true"),
        format!("ln -s {path} /mnt; ln -s {path}/secret /run/secrets; true"),
    ] {
        let dockerfile = format!(
            "FROM corpus/base\nRUN {attack}\n\
             RUN --mount=type=cache,target=/mnt/hollow --mount=type=secret,id=s <<EOF\n\
             cat {path}/secret > /taken; echo changed > {path}/secret; true\n\
             EOF\n\
             WORKDIR /mnt/new\n\
             COPY <<EOF /run/secrets\ntext\nEOF\n\
             COPY --chown=root:root <<EOF /etc/x\ntext\nEOF\n"
        );
        let mut request = world.request(&dockerfile);
        request.ca_bundle = Some(bundle.clone());
        request
            .secrets
            .insert("s".to_owned(), berth_build::Secret::Value(b"x".to_vec()));
        let (built, _) = world.attempt(&request).await;
        if attack.starts_with("rm -rf /etc;") {
            // What `--chown=root` means was in there.
            canary.assert_refused(built, "there is no user `root` in the image's /etc/passwd");
        } else {
            canary.assert_built(&world, built);
        }
    }
    world.close().await;
}

/// Destinations through links of the image lead to places in the image.
#[tokio::test(flavor = "multi_thread")]
async fn destinations_through_links_stay_in_the_image() {
    let (world, canary) = world();
    world.file("secret", "mine");
    world.file("dir/secret", "mine");
    let path = canary.text();
    let up = canary.up();
    for target in [path, &up, "/proc/self/root", "/proc/self/cwd"] {
        let inner = if target.starts_with("/proc") {
            path
        } else {
            ""
        };
        let dockerfile = format!(
            "FROM corpus/base\nRUN ln -s {target} /out\n\
                 COPY secret /out{inner}/\nCOPY dir /out{inner}\nADD secret /out{inner}/new\n\
                 COPY --chmod=777 --chown=1:1 secret /out{inner}/secret\n\
                 WORKDIR /out{inner}/made\nWORKDIR ../../out{inner}\nCOPY secret hollow/\n\
                 COPY <<EOF ./heredoc\ntext\nEOF\n"
        );
        let (built, _) = world.attempt(&world.request(&dockerfile)).await;
        canary.assert_built(&world, built);
    }
    world.close().await;
}
