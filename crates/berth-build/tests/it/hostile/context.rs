//! What a context may hold: links that lead out, special files, files that change while they are read.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode};

use super::world;

/// The class of BuildKit's `testCopyThroughSymlinkContext`, and of buildah's CVE-2024-9676.
#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_context_do_not_lead_out() {
    let (world, canary) = world();
    let context = world.context();
    symlink(canary.path(), context.join("absolute")).unwrap();
    symlink(canary.up(), context.join("relative")).unwrap();
    symlink(canary.join("secret"), context.join("file")).unwrap();
    symlink("/proc/self/root", context.join("magic")).unwrap();
    symlink("..", context.join("parent")).unwrap();
    world.file("dir/x", "x");
    symlink(canary.path(), context.join("dir/inner")).unwrap();
    for source in [
        "absolute/secret".to_owned(),
        "relative/secret".to_owned(),
        "file".to_owned(),
        format!("magic{}/secret", canary.text()),
        format!("parent/..{}/secret", canary.text()),
        "absolute/*".to_owned(),
        "dir/inner/secret".to_owned(),
        canary.up() + "/secret",
        "/proc/self/cwd/file".to_owned(),
    ] {
        for instruction in ["COPY", "ADD"] {
            let dockerfile = format!("FROM corpus/base\n{instruction} {source} /out/\n");
            let (built, _) = world.attempt(&world.request(&dockerfile)).await;
            canary.assert_refused(built, "is not in the build context");
        }
    }
    // Links that are found stay links.
    let built = world.build("FROM corpus/base\nCOPY . /all/\n").await;
    canary.assert_unseen(&world, &built.image);
    let tree = world.tree(&built.image);
    assert!(tree.metadata("all/dir/inner").is_symlink());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerignore_and_dockerfile_as_links_read_nothing_outside() {
    let (world, canary) = world();
    std::fs::write(canary.join("secret"), "[malformed\n").unwrap();
    world.file("a", "a");
    symlink(canary.join("secret"), world.context().join(".dockerignore")).unwrap();
    let (built, _) = world
        .attempt(&world.request("FROM corpus/base\nCOPY . /all/\n"))
        .await;
    // As if there were none.
    built.unwrap();
    std::fs::remove_file(world.context().join(".dockerignore")).unwrap();

    let link = world.context().join("Dockerfile");
    for target in [canary.join("secret"), canary.up().into()] {
        symlink(target, &link).unwrap();
        let mut request = world.request("");
        request.dockerfile.clone_from(&link);
        let error = world.run(&request).await.unwrap_err();
        let report = berth_error::Report::from(error).render_plain();
        assert!(!report.contains("malformed"), "{report}");
        std::fs::remove_file(&link).unwrap();
    }
    // One that stays inside is followed.
    world.file("docker/real", "FROM corpus/base\nCOPY a /a\n");
    symlink("docker/real", &link).unwrap();
    let mut request = world.request("");
    request.dockerfile = link;
    let built = world.run(&request).await.unwrap();
    assert_eq!(world.tree(&built.image).read("a"), "a");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn special_files_in_a_context_delay_nobody() {
    let (world, canary) = world();
    world.file("a", "a");
    let make = |name: &str, kind, device| {
        let path = world.context().join(name);
        rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device).unwrap();
    };
    make("fifo", FileType::Fifo, 0);
    make("socket", FileType::Socket, 0);
    make("zero", FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    make("disk", FileType::BlockDevice, rustix::fs::makedev(7, 0));
    // Named or found, they are never opened.
    for source in [".", "fifo", "zero", "disk", "socket", "*"] {
        for instruction in ["COPY", "ADD"] {
            let dockerfile = format!("FROM corpus/base\n{instruction} {source} /out/\n");
            let (built, _) = world.attempt(&world.request(&dockerfile)).await;
            if source == "socket" {
                canary.assert_refused(built, "`socket` is excluded from the build context");
            } else {
                canary.assert_built(&world, built);
            }
        }
    }
    // And they are no Dockerfile and no .dockerignore.
    for name in ["fifo", "socket", "zero"] {
        let mut request = world.request("");
        request.dockerfile = world.context().join(name);
        world.run(&request).await.unwrap_err();
    }
    std::fs::rename(
        world.context().join("fifo"),
        world.context().join(".dockerignore"),
    )
    .unwrap();
    let error = world.fail("FROM corpus/base\nCOPY a /a\n").await;
    assert!(error.contains(".dockerignore"), "{error}");
    world.close().await;
}

/// Files and directories are exchanged with links to the canary as fast as possible while they are
/// copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_changes_while_it_is_read_does_not_lead_out() {
    let (world, canary) = world();
    world.file("file", "inside");
    world.file("dir/secret", "inside");
    let context = world.context();
    symlink(canary.join("secret"), context.join("file.link")).unwrap();
    symlink(canary.path(), context.join("dir.link")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (stop, context) = (stop.clone(), context.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                for name in ["file", "dir"] {
                    exchange(&context, name, &format!("{name}.link"));
                }
            }
        }
    });
    for round in 0..40 {
        let mut request = world.request(
            "FROM corpus/base\nCOPY file /file\nCOPY dir /dir\nCOPY dir/secret /x\nADD . /all/\n\
             RUN --mount=target=/ctx cp -r /ctx /taken 2>/dev/null; true\n",
        );
        request.no_cache = true;
        request.tags = vec![format!("round{round}")];
        canary.assert_kept(&world, &request).await;
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    canary.assert_untouched();
    world.close().await;
}

fn exchange(directory: &Path, one: &str, other: &str) {
    rustix::fs::renameat_with(
        CWD,
        directory.join(one),
        CWD,
        directory.join(other),
        rustix::fs::RenameFlags::EXCHANGE,
    )
    .unwrap();
}

/// A file that shrinks or grows while it is copied gives an image of some content, or an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_its_size_breaks_nothing() {
    let (world, canary) = world();
    let path = world.context().join("file");
    std::fs::write(&path, vec![1; 100_000]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            let mut size = 0;
            while !stop.load(Ordering::Relaxed) {
                size = (size + 7_777) % 3_000_000;
                file.set_len(size).unwrap();
            }
        }
    });
    for _ in 0..20 {
        let mut request = world.request("FROM scratch\nCOPY file /file\n");
        request.no_cache = true;
        if let Ok(image) = world.attempt(&request).await.0 {
            canary.assert_unseen(&world, &image);
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    world.close().await;
}

/// Deep trees and patterns that match in many ways cost neither the stack nor for ever.
#[tokio::test(flavor = "multi_thread")]
async fn deep_trees_and_greedy_patterns_are_survived() {
    let (world, canary) = world();
    let mut directory = rustix::fs::open(
        world.context(),
        rustix::fs::OFlags::DIRECTORY,
        Mode::empty(),
    )
    .unwrap();
    for _ in 0..3_000 {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
        directory = rustix::fs::openat(
            &directory,
            "d",
            rustix::fs::OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
    }
    drop(directory);
    let copy = world.request("FROM scratch\nCOPY . /all/\n");
    let (built, _) = world.attempt(&copy).await;
    canary.assert_refused(built, "directories are nested more than 512 levels deep");
    let deep = world.context().join("d");
    let removed = std::process::Command::new("rm")
        .arg("-rf")
        .arg(deep)
        .status();
    assert!(removed.unwrap().success());

    world.file(&"a".repeat(200), "");
    world.file(&("a/".repeat(60) + "c"), "");
    let stars = "*a".repeat(40) + "b";
    let doubles = "**/a/".repeat(30) + "b";
    world.file(".dockerignore", &format!("{stars}\n{doubles}\n"));
    world.build("FROM scratch\nCOPY . /all/\n").await;
    world.close().await;
}
