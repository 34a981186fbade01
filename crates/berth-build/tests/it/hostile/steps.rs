//! What a `RUN` may be asked to be, see and leave behind.

use super::world;

/// Privileges are asked for by flags, by a base image's triggers, and in words that parse as others.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_23653_no_step_is_privileged() {
    let (world, canary) = world();
    for line in [
        "RUN --security=insecure true",
        "RUN --security=INSECURE true",
        "RUN --security insecure true",
        "RUN --device=/dev/kmsg true",
        "RUN --network=host --security=insecure true",
        "RUN --privileged true",
        "RUN --cap-add=all true",
    ] {
        let report = world.fail(&format!("FROM corpus/base\n{line}\n")).await;
        assert!(report.contains("Dockerfile:2"), "{report}");
        let trigger = format!("FROM corpus/base\nONBUILD {line}\n");
        let report = world.fail(&trigger).await;
        assert!(report.contains("Dockerfile:2"), "{report}");
    }
    canary.assert_untouched();
    world.close().await;
}

/// The class of BuildKit's `testRunSecuritySandbox`: a step cannot reach the host by what a
/// privileged one could use.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_sees_its_own_world_only() {
    let (world, canary) = world();
    let path = canary.text();
    let built = world
        .build(&format!(
            "FROM corpus/base\n\
             RUN ls {path} /proc/1/root{path} /proc/self/root{path} 2>/dev/null; \
             for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper \
             /sys/fs/cgroup/memory/memory.limit_in_bytes /proc/sys/vm/drop_caches; do \
             (echo 1 > $f) 2>/dev/null && echo \"$f is writable\"; done; \
             mount -t tmpfs x /tmp 2>/dev/null && echo mounted; \
             mknod /tmp/disk b 7 0 2>/dev/null && head -c1 /tmp/disk 2>/dev/null && echo opened; \
             ls /proc | grep -E '^[0-9]+$' | wc -l\n\
             RUN ls /proc/self/fd | tr '\\n' ' '\n\
             RUN ls -A /sys/class/net | tr '\\n' ' '\n\
             RUN find / -xdev -type s 2>/dev/null | head\n\
             RUN grep -c @ /proc/net/unix; true\n"
        ))
        .await;
    // Shell, `ls`, `grep`, `wc`; three streams and the directory itself; loopback and a dummy.
    let output = built.output().join("\n");
    assert!(!output.contains("writable"), "{output}");
    assert!(
        !output.contains("mounted") && !output.contains("opened"),
        "{output}"
    );
    assert!(!output.contains("secret"), "{output}");
    assert!(output.contains("0 1 2 3 \n"), "{output}");
    assert!(output.ends_with("\n0"), "no abstract sockets: {output}");
    canary.assert_unseen(&world, &built.image);
    world.close().await;
}

/// BuildKit's `testSSHFileDescriptorsClosed`, for everything: a step holds its streams only.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_holds_no_descriptor_of_the_builder() {
    let (world, _canary) = world();
    let held = std::fs::File::open("/").unwrap();
    let leaked = rustix::io::dup(&held).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    world.file("f", "f");
    let mut request = world.request(
        "FROM corpus/base\n\
         RUN --mount=type=secret,id=s --mount=type=cache,target=/c --mount=target=/ctx \
         ls /proc/self/fd | wc -l\n",
    );
    request
        .secrets
        .insert("s".to_owned(), berth_build::Secret::Value(b"x".to_vec()));
    let built = world.run(&request).await.unwrap();
    assert_eq!(built.output(), ["4"], "three streams and the directory");
    world.close().await;
}

/// BuildKit's `testSecret*`: nothing of a secret is in the image, its history or the next step.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_leave_nothing_behind() {
    let (world, _canary) = world();
    let secret = format!("secret {}", uuid::Uuid::new_v4());
    let mut request = world.request(
        "FROM corpus/base\n\
         RUN --mount=type=secret,id=s,required test -s /run/secrets/s && wc -c < /run/secrets/s > /size\n\
         RUN --mount=type=secret,id=s,env=TOKEN test -n \"$TOKEN\"\n\
         RUN --mount=type=secret,id=s,target=/etc/deep/s cat /etc/deep/s > /dev/null\n\
         RUN ls /run/secrets /etc/deep 2>/dev/null; echo \"${TOKEN-unset}\"; grep -c secret /proc/1/environ /proc/1/cmdline; true\n",
    );
    request.secrets.insert(
        "s".to_owned(),
        berth_build::Secret::Value(secret.clone().into_bytes()),
    );
    let built = world.run(&request).await.unwrap();
    assert_eq!(built.output()[0], "unset", "{:?}", built.output());
    let config = world.store.config_json(&built.image).unwrap().to_string();
    assert!(!config.contains(&secret), "{config}");
    let tree = world.tree(&built.image);
    for path in ["run/secrets", "etc/deep"] {
        assert!(tree.path(path).is_none(), "{path} stayed");
    }
    let found = std::process::Command::new("grep")
        .args(["-rlF", &secret])
        .arg(world.store.root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "on disk");
    world.close().await;
}

/// `WORKDIR` and an image's own working directory cannot be a descriptor of the host's.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_21626_a_working_directory_is_inside() {
    let (world, canary) = world();
    for number in 3..16 {
        for directory in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../../../../../.."),
        ] {
            let dockerfile = format!(
                "FROM corpus/base\nWORKDIR {directory}\n\
                 RUN cat ../../../../../../../../..{0}/secret > /taken; echo x > ../../../../../../../../..{0}/secret; true\n",
                canary.text()
            );
            let (built, _) = world.attempt(&world.request(&dockerfile)).await;
            // With `..` it is a directory of the image, by its name.
            if directory.ends_with("..") {
                canary.assert_built(&world, built);
            } else {
                canary.assert_refused(
                    built,
                    &format!("working directory `{directory}` cannot be used"),
                );
            }
        }
    }
    world.close().await;
}

/// What a command leaves running has ended before the step is over.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_after_its_step() {
    let (world, _canary) = world();
    let mark = format!("{}", std::process::id() + 1_000_000);
    let built = world
        .build(&format!(
            "FROM corpus/base\n\
             RUN (trap '' TERM HUP; sleep {mark}; echo x > /late) & \
             (setsid sh -c 'sleep {mark}' > /dev/null 2>&1 < /dev/null &) ; \
             nc -l -p 1234 > /dev/null 2>&1 & echo started\n\
             RUN ls /proc | grep -cE '^[0-9]+$'\n"
        ))
        .await;
    assert_eq!(built.output()[0], "started");
    let processes = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap();
    let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
    assert!(!processes.contains(&format!("sleep {mark}")), "{processes}");
    assert!(world.tree(&built.image).path("late").is_none());
    world.close().await;
}

/// No two steps that run at the same time are the same users of the host, nor is any a user that
/// exists.
#[tokio::test(flavor = "multi_thread")]
async fn steps_at_the_same_time_have_user_ids_of_their_own() {
    let (world, _canary) = world();
    let built = world
        .build(
            "FROM corpus/base AS one\n\
             RUN --mount=type=cache,id=meet,target=/m touch /m/one; \
             while [ ! -e /m/two ]; do sleep 0.05; done; tr -s ' ' < /proc/self/uid_map > /map\n\
             FROM corpus/base AS two\n\
             RUN --mount=type=cache,id=meet,target=/m touch /m/two; \
             while [ ! -e /m/one ]; do sleep 0.05; done; tr -s ' ' < /proc/self/uid_map > /map\n\
             FROM corpus/base\n\
             COPY --from=one /map /one\nCOPY --from=two /map /two\n",
        )
        .await;
    let tree = world.tree(&built.image);
    let map = |name: &str| -> Vec<u64> {
        let text = tree.read(name);
        text.split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect()
    };
    let (one, two) = (map("one"), map("two"));
    assert_eq!((one[0], one[2]), (0, 65_536));
    assert!(one[1] >= 1_000_000_000 && two[1] >= 1_000_000_000);
    assert!(one[1].abs_diff(two[1]) >= 65_536, "{one:?} {two:?}");
    world.close().await;
}

/// The configuration of a base image is as hostile as its files.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_image_s_settings_lead_nowhere() {
    let (world, canary) = world();
    let base = world.store.resolve("corpus/base").unwrap().unwrap();
    let path = canary.text();
    let settings = [
        // `Some`: refused, with this reason; `None`: it means nothing, and the image is built.
        (
            serde_json::json!({ "WorkingDir": format!("/../..{path}") }),
            None,
        ),
        (serde_json::json!({ "WorkingDir": canary.up() }), None),
        (
            serde_json::json!({ "WorkingDir": "/proc/self/fd/7" }),
            Some("it leads out of the image"),
        ),
        (
            serde_json::json!({ "User": "0:0:0" }),
            Some("no user or group `0:0:0`"),
        ),
        (
            serde_json::json!({ "User": "4294967295" }),
            Some("no user or group `4294967295`"),
        ),
        (
            serde_json::json!({ "User": "-1:-1" }),
            Some("no user or group `-1:-1`"),
        ),
        (
            serde_json::json!({ "Shell": [format!("{path}/secret")] }),
            Some("not found in the image"),
        ),
        (serde_json::json!({ "Shell": [1, null, {}] }), None),
        (
            serde_json::json!({ "OnBuild": ["RUN --security=insecure true"] }),
            Some("`--security=insecure` is not supported"),
        ),
        (
            serde_json::json!({ "OnBuild": ["FROM scratch", "COPY --from=/ / /"] }),
            Some("ONBUILD cannot hold FROM"),
        ),
        (serde_json::json!({ "OnBuild": [{}, 5] }), None),
    ];
    for (number, (config, refused)) in settings.into_iter().enumerate() {
        let image = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": config });
        let image = world
            .store
            .put_image_json(image, base.layers.clone())
            .unwrap();
        let name = format!("evil{number}");
        world.store.tag(&image, &name).unwrap();
        let dockerfile = format!(
            "FROM {name}\nRUN cat secret {path}/secret > /taken; echo changed > secret; true\n\
             WORKDIR sub\nCOPY <<EOF ./x\ny\nEOF\n"
        );
        let (built, _) = world.attempt(&world.request(&dockerfile)).await;
        match refused {
            Some(why) => canary.assert_refused(built, why),
            None => drop(canary.assert_built(&world, built)),
        }
    }
    // What is no configuration is no image.
    for config in [
        serde_json::json!({ "Env": [1, "=", "A", "LD_PRELOAD=/x", "PATH=/x\u{0}y"] }),
        serde_json::json!({ "Volumes": { format!("/../..{path}"): {} }, "Labels": 7 }),
        serde_json::json!([1, 2]),
    ] {
        let image = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": config });
        world
            .store
            .put_image_json(image, base.layers.clone())
            .unwrap_err();
    }
    world.close().await;
}
