//! What a hostile image, or another container that shares a volume, cannot make the jail do to the
//! host while a root file system is prepared.
//!
//! A canary lies on the host where each link points; it must stay as it is.

use std::path::PathBuf;

use crate::world::{World, replace_with_link};
use berth_jail::{JailError, Mount, MountSource};

/// Also CVE-2023-28642, and the image that ships `/dev` as a link: CVE-2026-41579, CVE-2026-47766.
#[tokio::test]
async fn cve_2019_19921_an_image_cannot_redirect_proc_sys_or_dev() {
    let world = World::new().await;
    let canary = world.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("null"), "untouched").unwrap();
    for directory in ["proc", "sys", "dev"] {
        for target in [
            canary.clone(),
            PathBuf::from("data"),
            PathBuf::from("/nowhere"),
        ] {
            let image = world.image();
            replace_with_link(&image, directory, &target);
            let error = world.run(world.spec(&image, &["ids"])).await.unwrap_err();
            assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
        }
        let image = world.image();
        std::fs::write(image.layer.join(directory), "a file").unwrap();
        let error = world.run(world.spec(&image, &["ids"])).await.unwrap_err();
        assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
    }
    assert_eq!(
        std::fs::read_to_string(canary.join("null")).unwrap(),
        "untouched"
    );
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    world.finish().await;
}

/// Also CVE-2025-52565 and CVE-2024-45310: links below /dev, at /etc/hosts, on a target's way.
#[tokio::test]
async fn cve_2025_31133_links_in_an_image_stay_inside_it() {
    let world = World::new().await;
    let canary = world.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("hosts"), "untouched").unwrap();
    let image = world.image();
    std::fs::create_dir(image.layer.join("dev")).unwrap();
    for name in ["null", "console", "pts", "shm", "ptmx"] {
        replace_with_link(&image, &format!("dev/{name}"), &canary.join("hosts"));
    }
    replace_with_link(&image, "etc/hosts", &canary.join("hosts"));
    replace_with_link(
        &image,
        "etc/resolv.conf",
        &PathBuf::from("../../../../run/made/resolv.conf"),
    );
    replace_with_link(&image, "volume", &canary);
    replace_with_link(
        &image,
        "magic",
        &PathBuf::from("/proc/self/root/etc/passwd"),
    );
    let mut spec = world.spec(&image, &["cat", "/etc/hosts", "/etc/resolv.conf"]);
    spec.files
        .insert("/etc/hosts".to_owned(), "hosts\n".to_owned());
    spec.files
        .insert("/etc/resolv.conf".to_owned(), "resolver\n".to_owned());
    spec.mounts.push(Mount {
        target: "/volume/inner".to_owned(),
        source: MountSource::Tmpfs(1 << 20),
        read_only: false,
    });
    let output = world.run(spec.clone()).await.unwrap();
    assert_eq!(output.stdout, "hosts\nresolver\n");
    assert_eq!(
        std::fs::read_to_string(canary.join("hosts")).unwrap(),
        "untouched"
    );
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    // What had to be made was made in the writable layer.
    assert!(image.upper.join("run/made/resolv.conf").exists());
    assert!(image.upper.join(canary.strip_prefix("/").unwrap()).exists());

    spec.files.insert("/magic".to_owned(), String::new());
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
    world.finish().await;
}

/// A second container exchanges a mount's target and a link while it is mounted.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_30465_a_race_over_a_shared_volume_does_not_reach_the_host() {
    let world = World::new().await;
    let canary = world.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let volume = world.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let shared = Mount {
        target: "/volume".to_owned(),
        source: MountSource::Bind(volume),
        read_only: false,
    };
    let canary_path = canary.to_str().unwrap();
    let attacker = world.image();
    let mut spec = world.spec(&attacker, &["swap", "/volume", canary_path]);
    spec.mounts.push(shared.clone());
    let (attacker, stdout, _) = world.start(spec).await.unwrap();
    let (line, _) = stdout.line().await;
    assert_eq!(line, "up");
    let victim = world.image();
    for _ in 0..40 {
        let mut spec = world.spec(&victim, &["ids"]);
        spec.mounts.push(shared.clone());
        spec.mounts.push(Mount {
            target: "/volume/target/inner".to_owned(),
            source: MountSource::Tmpfs(1 << 20),
            read_only: false,
        });
        spec.files
            .insert("/volume/target/file".to_owned(), "x".to_owned());
        spec.process.cwd = "/volume/target".to_owned();
        // It may lose the race and fail; it must not get out.
        let _ = world.run(spec).await;
    }
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    attacker.kill_all().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn an_image_s_device_nodes_are_not_devices() {
    let world = World::new().await;
    let image = world.image();
    let status = std::process::Command::new("mknod")
        .args(["-m", "0666"])
        .arg(image.layer.join("disk"))
        .args(["c", "1", "5"])
        .status()
        .unwrap();
    assert!(status.success());
    let output = world
        .run(world.spec(&image, &["open-device", "/disk"]))
        .await
        .unwrap();
    assert_eq!(output.stdout, format!("open {}\n", libc::EACCES));
    let output = world
        .run(world.spec(&image, &["open-device", "/dev/zero"]))
        .await
        .unwrap();
    assert_eq!(output.stdout, "open 0\n");
    world.finish().await;
}

#[tokio::test]
async fn injected_files_and_new_directories_belong_to_the_container() {
    let world = World::new().await;
    let image = world.image();
    for (path, mode) in [
        ("/etc/hosts", "100644"),
        ("/mnt", "40755"),
        ("/dev/null", "20666"),
    ] {
        let mut spec = world.spec(&image, &["stat", path]);
        spec.files.insert("/etc/hosts".to_owned(), String::new());
        spec.mounts.push(Mount {
            target: "/mnt/scratch".to_owned(),
            source: MountSource::Tmpfs(1 << 20),
            read_only: false,
        });
        let output = world.run(spec).await.unwrap();
        assert_eq!(output.stdout, format!("0 0 {mode}\n"), "{path}");
    }
    world.finish().await;
}
