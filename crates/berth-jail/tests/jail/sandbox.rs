//! Spawning, ending, exec, limits, listening: what the engine relies on.

use std::time::{Duration, Instant};

use crate::world::{Reader, World, exec, host_netns, pipe, process};
use berth_jail::{ExecFds, JailError, Mount, MountSource};

#[tokio::test]
async fn a_process_runs_as_the_container_s_root_and_ends_with_its_code() {
    let world = World::new().await;
    let text = world.probe(&["ids"]).await;
    assert_eq!(text, "0 0 0 0 0\npid 1 sid 1 umask 22\n");
    let image = world.image();
    let output = world.run(world.spec(&image, &["exit", "7"])).await.unwrap();
    assert_eq!((output.status.code, output.status.signal), (7, None));
    assert!(!output.status.oom_killed);
    world.finish().await;
}

#[tokio::test]
async fn signals_reach_the_first_process_and_become_its_status() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["term"])).await.unwrap();
    let (line, _stdout) = stdout.line().await;
    assert_eq!(line, "up");
    assert!(sandbox.kill(libc::SIGTERM).unwrap());
    assert_eq!(sandbox.wait().await.code, 42);
    assert!(!sandbox.kill(libc::SIGTERM).unwrap());

    let (sandbox, _, _) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    assert!(sandbox.kill(libc::SIGKILL).unwrap());
    let status = sandbox.wait().await;
    assert_eq!((status.code, status.signal), (137, Some(libc::SIGKILL)));
    assert!(!status.oom_killed);
    assert_eq!(sandbox.exit_status(), Some(status));
    world.finish().await;
}

#[tokio::test]
async fn kill_all_ends_every_process_even_frozen_ones() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["family"])).await.unwrap();
    let (line, stdout) = stdout.line().await;
    assert_eq!(line, "up");
    assert_eq!(sandbox.usage().unwrap().pids, 6);
    sandbox.freeze(true).await.unwrap();
    let refused = exec(&sandbox, process(&["exit", "0"])).await;
    assert!(matches!(refused, Err(JailError::Frozen)), "{refused:?}");
    sandbox.kill_all().await.unwrap();
    // The pipe ends when the last process has.
    assert_eq!(stdout.rest().await, "");
    assert!(matches!(sandbox.usage(), Err(JailError::Gone)));
    let refused = exec(&sandbox, process(&["exit", "0"])).await;
    assert!(matches!(refused, Err(JailError::Gone)), "{refused:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_frozen_sandbox_uses_no_cpu_and_goes_on_when_thawed() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["spin"])).await.unwrap();
    let (_, _stdout) = stdout.line().await;
    let cpu = || sandbox.usage().unwrap().cpu_ns;
    sandbox.freeze(true).await.unwrap();
    let frozen = cpu();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(cpu() - frozen < 1_000_000);
    sandbox.freeze(false).await.unwrap();
    let start = Instant::now();
    while cpu() - frozen < 1_000_000 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn exec_joins_the_sandbox() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let (_, _stdout) = stdout.line().await;
    let mut inside = process(&["ids"]);
    inside.user = "node".to_owned();
    let output = exec(&sandbox, inside).await.unwrap();
    assert_eq!(output.status.code, 0);
    assert!(
        output
            .stdout
            .starts_with("1000 1000 1000 1000 44 1000\npid "),
        "{output:?}"
    );
    assert!(!output.stdout.contains("pid 1 "), "{output:?}");
    let output = exec(&sandbox, process(&["cat", "/proc/sys/kernel/hostname"]))
        .await
        .unwrap();
    assert_eq!(output.stdout, "inside\n");
    let output = exec(&sandbox, process(&["exit", "9"])).await.unwrap();
    assert_eq!(output.status.code, 9);
    let output = exec(&sandbox, process(&["fds"])).await.unwrap();
    assert_eq!(output.stdout, "0\n1\n2\n");

    let fds = ExecFds::Pipes {
        stdin: None,
        stdout: None,
        stderr: None,
    };
    let (process, _) = sandbox.exec(process(&["sleep"]), fds).await.unwrap();
    assert!(process.pid() > 1);
    assert!(process.kill(libc::SIGTERM).unwrap());
    assert_eq!(process.wait().await.code, 128 + libc::SIGTERM);
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn exec_streams_are_connected() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let (_, _stdout) = stdout.line().await;
    let (stdin_read, stdin) = pipe();
    let (stdout, stdout_write) = pipe();
    let fds = ExecFds::Pipes {
        stdin: Some(stdin_read),
        stdout: Some(stdout_write),
        stderr: None,
    };
    let mut inside = process(&["stdin"]);
    inside.user = "1000".to_owned();
    let (process, _) = sandbox.exec(inside, fds).await.unwrap();
    std::io::Write::write_all(&mut std::fs::File::from(stdin), b"hello\n").unwrap();
    assert_eq!(Reader::new(stdout).rest().await, "hello\n");
    assert_eq!(process.wait().await.code, 0);
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn a_terminal_belongs_to_the_user_and_has_its_size_from_the_start() {
    let world = World::new().await;
    let image = world.image();
    let (sandbox, stdout, _) = world.start(world.spec(&image, &["sleep"])).await.unwrap();
    let (_, _stdout) = stdout.line().await;
    let mut inside = process(&["tty"]);
    inside.terminal = Some((33, 101).into());
    inside.user = "node".to_owned();
    let (process, master) = sandbox.exec(inside, ExecFds::Terminal).await.unwrap();
    let text = Reader::new(master.unwrap()).rest().await;
    assert_eq!(process.wait().await.code, 0);
    assert_eq!(
        text.replace('\r', ""),
        "isatty 1 1 1\nsize 33 101\ntty 0\nname /dev/pts/0 owner 1000\nsession 1\n"
    );
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn a_command_that_cannot_run_says_why() {
    let world = World::new().await;
    let image = world.image();
    std::fs::write(image.layer.join("bin/plain"), "not executable").unwrap();
    std::fs::write(image.layer.join("bin/script"), "#!/bin/nothing\n").unwrap();
    std::fs::write(image.layer.join("bin/garbage"), "garbage").unwrap();
    for name in ["script", "garbage"] {
        let path = image.layer.join("bin").join(name);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let failure = async |argv: &str| {
        let mut spec = world.spec(&image, &[]);
        spec.process.argv = vec![argv.to_owned()];
        world.run(spec).await.unwrap_err()
    };
    assert!(matches!(failure("nothing").await, JailError::NotFound(name) if name == "nothing"));
    assert!(matches!(
        failure("/bin/nothing").await,
        JailError::NotFound(_)
    ));
    assert!(matches!(
        failure("plain").await,
        JailError::NotExecutable(_)
    ));
    assert!(matches!(failure("/bin").await, JailError::NotExecutable(_)));
    assert!(matches!(
        failure("script").await,
        JailError::MissingInterpreter(_)
    ));
    assert!(matches!(
        failure("garbage").await,
        JailError::WrongFormat(_)
    ));
    assert!(matches!(failure("").await, JailError::Invalid(_)));
    let mut spec = world.spec(&image, &["ids"]);
    spec.process.user = "nobody:x:y".to_owned();
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::UnknownUser(_)), "{error:?}");
    world.finish().await;
}

#[tokio::test]
async fn path_home_and_working_directory_are_set_up() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &[]);
    spec.process.argv = ["probe", "env"].map(str::to_owned).to_vec();
    spec.process.user = "node".to_owned();
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.stdout, "PATH=/bin\nHOME=/home/node\n");
    let mut spec = world.spec(&image, &["cwd"]);
    spec.process.cwd = "/srv/app".to_owned();
    spec.process.user = "node".to_owned();
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.stdout, "/srv/app\nowner 1000 1000\n");
    // On disk the ids are the container's.
    let stat = std::fs::metadata(image.upper.join("srv/app")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&stat), 1000);
    world.finish().await;
}

#[tokio::test]
async fn standard_output_can_be_reopened_by_the_user() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &["reopen-stdout"]);
    spec.process.user = "node".to_owned();
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.stdout, "reopened\n");
    world.finish().await;
}

#[tokio::test]
async fn a_listening_port_is_announced_when_it_listens() {
    let world = World::new().await;
    let image = world.image();
    for command in ["listen", "listen-thread"] {
        let (stdout, write) = pipe();
        let fds = berth_jail::SandboxFds {
            netns: host_netns(),
            stdin: None,
            stdout: write.try_clone().unwrap(),
            stderr: write,
            disk: None,
        };
        let spec = world.spec(&image, &[command, "127.0.0.1"]);
        let sandbox = world.zygote.spawn(spec, fds).await.unwrap();
        let mut ports = sandbox.listening();
        let (line, stdout) = Reader::new(stdout).line().await;
        let port: u16 = line.strip_prefix("port ").unwrap().parse().unwrap();
        let heard = tokio::time::timeout(
            Duration::from_secs(10),
            ports.wait_for(|ports| ports.contains(&port)),
        );
        assert_eq!(heard.await.unwrap().unwrap().len(), 1);
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        let (line, _stdout) = stdout.line().await;
        assert_eq!(line, "listening");

        // An exec'ed process's ports are the sandbox's as well.
        let (stdout, write) = pipe();
        let fds = ExecFds::Pipes {
            stdin: None,
            stdout: Some(write),
            stderr: None,
        };
        let (_process, _) = sandbox
            .exec(process(&["listen", "0.0.0.0"]), fds)
            .await
            .unwrap();
        let (line, _stdout) = Reader::new(stdout).line().await;
        let second: u16 = line.strip_prefix("port ").unwrap().parse().unwrap();
        let heard = tokio::time::timeout(
            Duration::from_secs(10),
            ports.wait_for(|ports| ports.contains(&second)),
        );
        heard.await.unwrap().unwrap();
        sandbox.kill_all().await.unwrap();
    }
    let output = world
        .run(world.spec(&image, &["listen-bad"]))
        .await
        .unwrap();
    assert_eq!(
        output.stdout,
        format!(
            "stdin {}\nclosed {}\nudp {}\n",
            libc::ENOTSOCK,
            libc::EBADF,
            libc::EOPNOTSUPP
        )
    );
    world.finish().await;
}

#[tokio::test]
async fn a_short_queue_is_made_long_enough_for_a_crowd() {
    const CROWD: usize = 200;
    let world = World::new().await;
    let image = world.image();
    let (stdout, write) = pipe();
    let fds = berth_jail::SandboxFds {
        netns: host_netns(),
        stdin: None,
        stdout: write.try_clone().unwrap(),
        stderr: write,
        disk: None,
    };
    // It asks for a queue of 16 and never accepts.
    let spec = world.spec(&image, &["listen", "127.0.0.1"]);
    let sandbox = world.zygote.spawn(spec, fds).await.unwrap();
    let (line, stdout) = Reader::new(stdout).line().await;
    let port: u16 = line.strip_prefix("port ").unwrap().parse().unwrap();
    let (line, _stdout) = stdout.line().await;
    assert_eq!(line, "listening");
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let connected = tokio::time::timeout(
            Duration::from_secs(10),
            tokio::net::TcpStream::connect(("127.0.0.1", port)),
        );
        let connected = connected.await.unwrap_or_else(|_| panic!("{number} waits"));
        crowd.push(connected.unwrap());
    }
    // In `/proc/net/tcp` the receive queue of a listener is its queue of connections.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    let listener = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.get(1) == Some(&local.as_str()) && fields[3] == "0A")
        .unwrap();
    let (_, queued) = listener[4].split_once(':').unwrap();
    assert_eq!(usize::from_str_radix(queued, 16).unwrap(), CROWD);
    sandbox.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_sandboxes_start_at_once() {
    let world = std::sync::Arc::new(World::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let world = std::sync::Arc::clone(&world);
        tasks.spawn(async move {
            let image = world.image();
            let code = (number + 1).to_string();
            let mut spec = world.spec(&image, &["exit", &code]);
            spec.id_base += number * 65_536;
            let output = world.run(spec).await.unwrap();
            assert_eq!(output.status.code.to_string(), code);
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    std::sync::Arc::into_inner(world).unwrap().finish().await;
}

#[tokio::test]
async fn volumes_tmpfs_and_files_are_mounted() {
    let world = World::new().await;
    let image = world.image();
    let volume = world.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("kept"), "from the host\n").unwrap();
    let mut spec = world.spec(
        &image,
        &[
            "cat",
            "/etc/hosts",
            "/mnt/deep/volume/kept",
            "/mnt/deep/volume/inner",
        ],
    );
    spec.files
        .insert("/etc/hosts".to_owned(), "127.0.0.1 localhost\n".to_owned());
    spec.files
        .insert("/mnt/deep/volume/inner".to_owned(), "inner\n".to_owned());
    spec.mounts = vec![
        Mount {
            target: "/mnt/deep/volume".to_owned(),
            source: MountSource::Bind(volume.clone()),
            read_only: false,
        },
        Mount {
            target: "/mnt/deep".to_owned(),
            source: MountSource::Tmpfs(1 << 20),
            read_only: false,
        },
    ];
    let output = world.run(spec.clone()).await.unwrap();
    assert_eq!(output.stdout, "127.0.0.1 localhost\nfrom the host\ninner\n");

    spec.process = process(&["create", "/mnt/deep/volume/new"]);
    let output = world.run(spec.clone()).await.unwrap();
    assert_eq!(output.stdout, "create 0\n");
    let stat = std::fs::metadata(volume.join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&stat), 0);

    for mount in &mut spec.mounts {
        mount.read_only = true;
    }
    spec.mounts
        .retain(|mount| matches!(mount.source, MountSource::Bind(_)));
    spec.files.remove("/mnt/deep/volume/inner");
    spec.process = process(&["create", "/mnt/deep/volume/newer"]);
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.stdout, format!("create {}\n", libc::EROFS));
    world.finish().await;
}

#[tokio::test]
async fn the_same_upper_directory_can_be_used_again() {
    let world = World::new().await;
    let image = world.image();
    for expected in [0, libc::EEXIST] {
        let output = world
            .run(world.spec(&image, &["create", "/data/file"]))
            .await
            .unwrap();
        assert_eq!(output.stdout, format!("create {expected}\n"));
    }
    let mut spec = world.spec(&image, &["create", "/data/other"]);
    spec.rootfs.read_only = true;
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.stdout, format!("create {}\n", libc::EROFS));
    world.finish().await;
}

#[tokio::test]
async fn a_hundred_and_twenty_layers_are_one_file_system() {
    let world = World::new().await;
    let image = world.image();
    let mut spec = world.spec(&image, &["cat", "/layer-0", "/layer-119", "/same"]);
    for number in 0..120 {
        let layer = world.directory.path().join(format!("layer-{number}"));
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join(format!("layer-{number}")), format!("{number}\n")).unwrap();
        std::fs::write(layer.join("same"), format!("{number}\n")).unwrap();
        spec.rootfs.lower.insert(0, layer);
    }
    let output = world.run(spec).await.unwrap();
    assert_eq!(output.stdout, "0\n119\n119\n");
    world.finish().await;
}

#[tokio::test]
#[ignore = "prints a measurement; run it in a release build"]
async fn spawn_latency() {
    let world = World::new().await;
    let image = world.image();
    let mut times = Vec::new();
    for _ in 0..50 {
        let spec = world.spec(&image, &["exit", "0"]);
        let (_stdout, write) = pipe();
        let fds = berth_jail::SandboxFds {
            netns: crate::world::netns(),
            stdin: None,
            stdout: write.try_clone().unwrap(),
            stderr: write,
            disk: None,
        };
        let start = Instant::now();
        let sandbox = world.zygote.spawn(spec, fds).await.unwrap();
        times.push(start.elapsed());
        sandbox.wait().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    times.sort();
    println!(
        "spawn to exec: median {:?}, fastest {:?}, slowest {:?}",
        times[25], times[0], times[49]
    );
    world.finish().await;
}
