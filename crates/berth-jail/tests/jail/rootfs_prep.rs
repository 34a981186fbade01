//! What a hostile image, or another container that shares a volume, cannot make the jail do to the
//! host while a root file system is prepared.
//!
//! A canary lies on the host where each link points; it must stay as it is.

use std::path::PathBuf;

use crate::world::{Image, World, process, replace_with_link};
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

/// Where a path of an image may lead. `Inside`: it is used or made below the image's root;
/// `Refused`: an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    Inside,
    Refused,
}

/// A place on the host that nothing may touch.
struct Canary {
    directory: PathBuf,
}

impl Canary {
    fn new(world: &World) -> Self {
        let directory = world.directory.path().join("canary");
        std::fs::create_dir_all(directory.join("empty")).unwrap();
        std::fs::write(directory.join("file"), "untouched").unwrap();
        Self { directory }
    }

    /// Links to a file of the host, to a directory, and to what is not there: by an absolute path,
    /// by a relative one with more `..` than any root is deep, and both over a second link.
    fn links(&self, to: &str) -> Vec<PathBuf> {
        let absolute = self.directory.join(to);
        let mut upwards = PathBuf::from("../".repeat(20));
        upwards.push(absolute.strip_prefix("/").unwrap());
        vec![absolute, upwards]
    }

    fn assert_untouched(&self, context: &str) {
        let mut names: Vec<_> = std::fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["empty", "file"], "{context}");
        let inner = std::fs::read_dir(self.directory.join("empty")).unwrap();
        assert_eq!(inner.count(), 0, "{context}");
        let text = std::fs::read_to_string(self.directory.join("file")).unwrap();
        assert_eq!(text, "untouched", "{context}");
    }
}

/// CVE-2024-45310, CVE-2025-31133: every path of the image that the jail looks up, as a link to a
/// file of the host, to a directory, and dangling; absolute, upwards, and over a second link.
#[tokio::test]
async fn cve_2024_45310_a_link_at_any_place_leaves_the_host_alone() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    for to in ["file", "empty", "missing", "empty/missing"] {
        for link in canary.links(to) {
            for over in [false, true] {
                for place in ["file", "mount", "workdir", "etc"] {
                    let image = world.image();
                    if over {
                        replace_with_link(&image, "place", &PathBuf::from("second/../second"));
                        replace_with_link(&image, "second", &link);
                    } else {
                        replace_with_link(&image, "place", &link);
                    }
                    let context = format!("{place} at {} (over {over})", link.display());
                    let leads = prepare(&world, &image, place, &context).await;
                    // Inside the image none of the host's directories exists: what is missing is
                    // made, but for a way through a link that does not lead to a directory.
                    if place != "workdir" && !over {
                        assert_eq!(leads, Leads::Inside, "{context}");
                    }
                    canary.assert_untouched(&context);
                }
            }
        }
    }
    world.finish().await;
}

/// Runs a container of an image whose `/place` is a link, with the jail looking it up as `place`.
async fn prepare(world: &World, image: &Image, place: &str, context: &str) -> Leads {
    let mut spec = world.spec(image, &["cat", "/place"]);
    match place {
        "file" => drop(spec.files.insert("/place".to_owned(), "ours\n".to_owned())),
        "mount" => spec.mounts.push(Mount {
            target: "/place".to_owned(),
            source: MountSource::Tmpfs(1 << 20),
            read_only: false,
        }),
        "workdir" => spec.process.cwd = "/place".to_owned(),
        // The image's own: nobody follows it, nobody replaces it.
        _ => {
            let link = std::fs::read_link(image.layer.join("place")).unwrap();
            for name in ["mtab", "hosts", "resolv.conf", "hostname"] {
                replace_with_link(image, &format!("etc/{name}"), &link);
            }
            let inside = world.run(spec.clone()).await.unwrap();
            assert!(!inside.stdout.contains("untouched"), "{context}");
            spec.files.clear();
            for name in ["hosts", "resolv.conf", "hostname"] {
                let path = format!("/etc/{name}");
                // All are one and the same file; the last one mounted is seen.
                spec.files.insert(path, "ours\n".to_owned());
            }
            spec.process = process(&["cat", "/etc/mtab"]);
        }
    }
    match world.run(spec).await {
        Ok(output) => {
            assert_eq!(output.status.code, 0, "{context}: {output:?}");
            assert!(!output.stdout.contains("untouched"), "{context}");
            if place == "file" {
                assert_eq!(output.stdout, "ours\n", "{context}");
            }
            Leads::Inside
        }
        Err(error) => {
            let refused = matches!(
                error,
                JailError::UnsafePath { .. } | JailError::WorkingDirectory { .. }
            );
            assert!(refused, "{context}: {error:?}");
            Leads::Refused
        }
    }
}

/// CVE-2023-27561, CVE-2025-52881: a mount target that an image's link leads into /proc or /sys
/// would cover what the masks rest on.
#[tokio::test]
async fn cve_2023_27561_nothing_is_mounted_on_the_kernel_s_file_systems() {
    let world = World::new().await;
    for target in [
        "/proc",
        "/proc/sys",
        "/proc/self/attr",
        "/proc/1",
        "/proc/sys/kernel/core_pattern",
        "/proc/uptime",
        "/sys",
        "/sys/kernel",
        "/proc/self/fd/1",
        "/proc/self/root/etc",
        "/proc/self/cwd",
    ] {
        for kind in ["directory", "file"] {
            let image = world.image();
            replace_with_link(&image, "place", &PathBuf::from(target));
            let mut spec = world.spec(&image, &["ids"]);
            if kind == "file" {
                spec.files.insert("/place".to_owned(), String::new());
            } else {
                spec.mounts.push(Mount {
                    target: "/place".to_owned(),
                    source: MountSource::Tmpfs(1 << 20),
                    read_only: false,
                });
            }
            let error = world.run(spec).await.unwrap_err();
            assert!(
                matches!(error, JailError::UnsafePath { .. }),
                "{kind} at {target}: {error:?}"
            );
        }
    }
    world.finish().await;
}

/// CVE-2025-31133, CVE-2025-52565: what the image had at /dev is hidden, and ours are devices.
#[tokio::test]
async fn cve_2025_52565_the_devices_are_those_of_the_jail() {
    let world = World::new().await;
    let image = world.image();
    std::fs::create_dir_all(image.layer.join("dev/pts")).unwrap();
    let canary = Canary::new(&world);
    for name in [
        "null", "zero", "console", "ptmx", "tty", "shm", "mqueue", "pts/0",
    ] {
        replace_with_link(
            &image,
            &format!("dev/{name}"),
            &canary.directory.join("file"),
        );
    }
    for (name, expected) in [
        ("null", "20000 1:3"),
        ("zero", "20000 1:5"),
        ("full", "20000 1:7"),
        ("random", "20000 1:8"),
        ("urandom", "20000 1:9"),
        ("tty", "20000 5:0"),
        ("ptmx", "20000 5:2"),
        ("shm", "40000 0:0"),
    ] {
        let path = format!("/dev/{name}");
        let output = world.run(world.spec(&image, &["rdev", &path])).await;
        assert_eq!(output.unwrap().stdout, format!("{expected}\n"), "{path}");
    }
    let output = world
        .run(world.spec(&image, &["rdev", "/dev/console"]))
        .await;
    assert_eq!(output.unwrap().stdout, format!("stat {}\n", libc::ENOENT));
    canary.assert_untouched("dev");
    world.finish().await;
}

/// What is not a file or a directory is no list of users and delays nobody.
#[tokio::test]
async fn an_image_s_fifos_and_loops_delay_nobody() {
    let world = World::new().await;
    let image = world.image();
    for name in ["etc/passwd", "etc/group"] {
        std::fs::remove_file(image.layer.join(name)).unwrap();
    }
    let status = std::process::Command::new("mkfifo")
        .arg(image.layer.join("etc/passwd"))
        .status()
        .unwrap();
    assert!(status.success());
    replace_with_link(&image, "etc/group", &PathBuf::from("group"));
    let output = world.run(world.spec(&image, &["ids"])).await.unwrap();
    assert!(output.stdout.starts_with("0 0 0 0 0\n"), "{output:?}");
    let mut spec = world.spec(&image, &["ids"]);
    spec.files.insert("/etc/group/x".to_owned(), String::new());
    let error = world.run(spec).await.unwrap_err();
    assert!(matches!(error, JailError::UnsafePath { .. }), "{error:?}");
    world.finish().await;
}
