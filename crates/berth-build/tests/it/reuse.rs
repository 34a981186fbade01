//! A `COPY` of the context takes what is still the same from the layer that it made last time: the
//! layer must be the one that a build without a past makes, and the former layer must stay what it
//! was. Needs root and gcc.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use berth_build::BuildRequest;
use berth_image::{Image, Layer, LayerCompression};

use crate::world::World;

/// A directory with files in several others, of which none has changed for a while.
fn context(world: &World) {
    for number in 0..40 {
        world.file(
            &format!("src/{}/{number}", number % 4),
            &format!("file {number}"),
        );
    }
    world.file("src/tool", "#!/bin/sh");
    let tool = world.context().join("src/tool");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("tool", world.context().join("src/link")).unwrap();
    settle();
}

/// Nothing tells when a second has passed, but its passing: what was changed in the last one is never
/// believed to be the same.
fn settle() {
    std::thread::sleep(Duration::from_millis(1100));
}

fn top<'a>(world: &World, image: &'a Image) -> (&'a Layer, std::path::PathBuf) {
    let layer = image.layers.last().unwrap();
    (layer, world.store.layer_path(layer))
}

/// Everything about every file of a tree, but how many names it has.
fn listing(tree: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = vec![tree.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let text = if found.is_file() {
                fs::read_to_string(&path).unwrap()
            } else {
                String::new()
            };
            lines.push(format!(
                "{} {:o} {}:{} {} {} {} {text}",
                path.strip_prefix(tree).unwrap().display(),
                found.mode(),
                found.uid(),
                found.gid(),
                found.rdev(),
                found.mtime(),
                found.mtime_nsec(),
            ));
            if found.is_dir() {
                open.push(path);
            }
        }
    }
    lines.sort();
    lines
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Builds the same in a store that knows nothing.
async fn cold(request: &BuildRequest) -> Image {
    let other = World::new();
    let built = other.run(request).await.unwrap().image;
    other.close().await;
    built
}

/// One build after another, each with a change: always what a cold build makes, and nothing that was
/// made before is touched.
#[tokio::test(flavor = "multi_thread")]
async fn every_layer_is_that_of_a_cold_build() {
    let world = World::new();
    context(&world);
    let at = |name: &str| world.context().join(name);
    let request = world.request("FROM base\nCOPY src /src\n");
    let first = world.run(&request).await.unwrap().image;
    let (_, tree) = top(&world, &first);
    let before = listing(&tree);

    let changes: &[(&str, &dyn Fn())] = &[
        ("content", &|| world.file("src/1/1", "changed")),
        ("mode", &|| {
            fs::set_permissions(at("src/1/5"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("time", &|| {
            let file = fs::File::options().write(true).open(at("src/2/2")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("gone", &|| fs::remove_file(at("src/2/6")).unwrap()),
        ("new", &|| world.file("src/2/new", "new")),
        ("moved", &|| {
            fs::rename(at("src/3/3"), at("src/3/moved")).unwrap();
        }),
        ("replaced", &|| {
            fs::write(at("src/other"), "file 7").unwrap();
            fs::rename(at("src/other"), at("src/3/7")).unwrap();
        }),
        ("a link", &|| {
            fs::remove_file(at("src/3/11")).unwrap();
            std::os::unix::fs::symlink("7", at("src/3/11")).unwrap();
        }),
        ("a directory", &|| {
            fs::remove_file(at("src/3/15")).unwrap();
            world.file("src/3/15/inner", "inner");
        }),
        ("two names", &|| {
            fs::hard_link(at("src/0/0"), at("src/0/again")).unwrap();
        }),
        ("one name again", &|| {
            fs::remove_file(at("src/0/again")).unwrap();
        }),
        ("an owner", &|| {
            std::os::unix::fs::chown(at("src/0/4"), Some(7), Some(8)).unwrap();
        }),
        ("an attribute", &|| {
            // CAP_NET_BIND_SERVICE, as `setcap` writes it.
            let mut value = [0_u8; 20];
            value[0..4].copy_from_slice(&0x0200_0000_u32.to_le_bytes());
            value[4..8].copy_from_slice(&(1_u32 << 10).to_le_bytes());
            xattr::set(at("src/tool"), "security.capability", &value).unwrap();
        }),
    ];
    let mut former = tree.clone();
    for (what, change) in changes {
        change();
        // What is no part of the step's key makes no new layer alone.
        world.file("src/0/8", what);
        let warm = world.run(&request).await.unwrap().image;
        let (layer, now) = top(&world, &warm);
        let cold = cold(&request).await;
        assert_eq!(layer.diff_id, cold.layers.last().unwrap().diff_id, "{what}");
        assert_ne!(now, former, "{what} was noticed");
        let kept = ["1/9", "2/10"].map(|name| format!("src/{name}"));
        for name in kept {
            assert_eq!(inode(now.join(&name)), inode(former.join(&name)), "{what}");
        }
        assert_eq!(listing(&tree), before, "{what}");
        former = now;
    }
    // The last one is whole without those that it took files from: packing checks its digest.
    let last = world.run(&request).await.unwrap().image;
    let kept = top(&world, &last).1;
    for entry in fs::read_dir(world.store.root().join("layers")).unwrap() {
        let layer = entry.unwrap().path();
        let is_needed = last
            .layers
            .iter()
            .any(|needed| world.store.layer_path(needed).starts_with(&layer));
        if !is_needed {
            fs::remove_dir_all(layer).unwrap();
        }
    }
    assert!(!tree.exists() && kept == former);
    world.store.packed(&last, LayerCompression::Zstd).unwrap();
    world.close().await;
}

/// `touch -d` hides a change from the modification time, not from the kernel's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_same_size_and_time_is_noticed() {
    let world = World::new();
    context(&world);
    let request = world.request("FROM base\nCOPY src /src\n");
    let first = world.run(&request).await.unwrap().image;
    let path = world.context().join("src/1/1");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "FILE 1").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(time).unwrap();
    settle();
    let second = world.run(&request).await.unwrap().image;
    assert_eq!(world.tree(&first).read("src/1/1"), "file 1");
    assert_eq!(world.tree(&second).read("src/1/1"), "FILE 1");
    assert_eq!(
        second.layers.last().unwrap().diff_id,
        cold(&request).await.layers.last().unwrap().diff_id
    );
    world.close().await;
}

/// Steps see the shared files through an overlay: what they do to one is done to a copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_changes_no_layer_below_it() {
    let world = World::new();
    context(&world);
    let copy = "FROM base\nCOPY src /src\n";
    let first = world.build(copy).await.image;
    let (_, tree) = top(&world, &first);
    let before = listing(&tree);
    world.file("src/1/1", "changed");
    let change = "RUN append /src/0/0 more; chmod 777 /src/0/4; chown 12 /src/0/8; touch /src/0/12; rm /src/2/2";
    let second = world.build(&format!("{copy}{change}\n")).await.image;
    let middle = world
        .store
        .layer_path(&second.layers[second.layers.len() - 2]);
    assert_eq!(
        inode(middle.join("src/0/0")),
        inode(tree.join("src/0/0")),
        "shared"
    );
    assert_eq!(listing(&tree), before);
    let others = |lines: Vec<String>| {
        let lines = lines
            .into_iter()
            .filter(|line| !line.starts_with("src/1/1 "));
        lines.collect::<Vec<_>>()
    };
    // The changed file's directory has its time from the context, in which nothing came or went.
    assert_eq!(others(listing(&middle)), others(before));
    let result = world.tree(&second);
    assert_eq!(result.read("src/0/0"), "file 0more");
    assert_eq!(result.metadata("src/0/4").mode() & 0o7777, 0o777);
    assert_eq!(result.metadata("src/0/8").uid(), 12);
    assert!(result.path("src/2/2").is_none());
    world.close().await;
}

/// With `SOURCE_DATE_EPOCH` the times of a new layer are set back, but never those of a former one.
#[tokio::test(flavor = "multi_thread")]
async fn times_are_set_back_in_new_files_only() {
    let world = World::new();
    context(&world);
    let mut request = world.request("FROM base\nWORKDIR /app\nCOPY . .\n");
    let plain = world.run(&request).await.unwrap().image;
    let (_, plain) = top(&world, &plain);
    let before = listing(&plain);
    request
        .args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "1000000000".to_owned());
    let first = world.run(&request).await.unwrap().image;
    world.file("src/1/1", "changed");
    let second = world.run(&request).await.unwrap().image;
    let (layer, tree) = top(&world, &second);
    assert_eq!(
        layer.diff_id,
        cold(&request).await.layers.last().unwrap().diff_id
    );
    let (_, former) = top(&world, &first);
    assert_eq!(
        inode(tree.join("app/src/0/0")),
        inode(former.join("app/src/0/0"))
    );
    assert_ne!(
        inode(tree.join("app/src/0/0")),
        inode(plain.join("app/src/0/0"))
    );
    assert_eq!(listing(&plain), before);
    world.close().await;
}

/// The image has files, links and directories where the context's files come to.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_in_the_image_goes_as_in_a_cold_build() {
    let world = World::new();
    context(&world);
    let dockerfile = "FROM base\n\
                      ARG SOURCE_DATE_EPOCH\n\
                      RUN mkdir /usr/lib/0; write /usr/lib/0/0 old; write /usr/lib/0/other old; ln 0 /usr/lib/1\n\
                      COPY --chown=3:4 --chmod=640 src/0 /lib/1/\n";
    let mut request = world.request(dockerfile);
    request
        .args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "1000000000".to_owned());
    let first = world.run(&request).await.unwrap().image;
    world.file("src/0/4", "changed");
    let second = world.run(&request).await.unwrap().image;
    let (layer, tree) = top(&world, &second);
    assert_eq!(
        layer.diff_id,
        cold(&request).await.layers.last().unwrap().diff_id
    );
    let (_, former) = top(&world, &first);
    let shared = "usr/lib/0/0";
    assert_eq!(inode(tree.join(shared)), inode(former.join(shared)));
    assert_eq!(world.tree(&second).read(shared), "file 0");
    assert_eq!(world.tree(&second).read("usr/lib/0/other"), "old");

    // A directory in a file's place is an error, with or without a past.
    let dockerfile = dockerfile.replace("write /usr/lib/0/0 old", "mkdir /usr/lib/0/8");
    std::fs::write(&request.dockerfile, dockerfile).unwrap();
    let error = world.run(&request).await.unwrap_err();
    let report = berth_error::Report::from(error).render_plain();
    assert!(
        report.contains("a directory is in the way of `8`"),
        "{report}"
    );
    world.close().await;
}

/// Another owner, another mode, `--no-cache`, and a former layer that is gone: all is copied.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_taken_from_a_former_layer() {
    let world = World::new();
    context(&world);
    let request = world.request("FROM base\nCOPY src /src\n");
    let first = world.run(&request).await.unwrap().image;
    let (_, tree) = top(&world, &first);
    let mut shared = Vec::new();
    for dockerfile in [
        "FROM base\nCOPY --chown=7 src /src\n",
        "FROM base\nCOPY --chmod=600 src /src\n",
        "FROM base\nCOPY src /other\n",
    ] {
        let image = world.build(dockerfile).await.image;
        let (_, other) = top(&world, &image);
        let place = if other.join("src").exists() {
            "src"
        } else {
            "other"
        };
        shared.push(inode(other.join(place).join("0/0")) == inode(tree.join("src/0/0")));
    }
    world.file("src/1/1", "changed");
    let mut anew = world.request("FROM base\nCOPY src /src\n");
    anew.no_cache = true;
    let image = world.run(&anew).await.unwrap().image;
    let (_, other) = top(&world, &image);
    shared.push(inode(other.join("src/0/0")) == inode(tree.join("src/0/0")));
    assert_eq!(shared, [false; 4]);

    world.file("src/1/1", "changed again");
    let lost = world.store.layer_path(image.layers.last().unwrap());
    fs::remove_dir_all(lost.parent().unwrap()).unwrap();
    let image = world.run(&request).await.unwrap().image;
    let (layer, _) = top(&world, &image);
    assert_eq!(
        layer.diff_id,
        cold(&request).await.layers.last().unwrap().diff_id
    );
    world.close().await;
}
