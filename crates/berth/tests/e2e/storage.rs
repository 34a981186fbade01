//! The machine's own storage fails: layers that are gone or damaged, a disk without room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use berth_test::{EngineSession, Project, compile_static};

use crate::images::SERVER;
use crate::world;

const IMAGE: &str = "storage-test:1";

/// What a caller may have to wait for an answer.
const SOON: Duration = Duration::from_secs(10);

fn dockerfile() -> &'static str {
    "FROM scratch\nCOPY tiny-server /bin/tiny-server\nCMD [\"/bin/tiny-server\", \"8080\"]\n"
}

async fn build(engine: &EngineSession) {
    let context = Project::empty();
    context.copy(&compile_static(&world(), SERVER), "tiny-server");
    let path = context.path().to_str().unwrap();
    let build = ["build", "--tag", IMAGE, "--file", "-", path];
    engine.docker_ok(build, dockerfile()).await;
}

/// The same program as an image that comes from elsewhere: its layer has a blob.
fn import(data: &Path) {
    let tree = Project::empty();
    tree.copy(&compile_static(&world(), SERVER), "bin/tiny-server");
    let archive = tempfile::tempdir().unwrap();
    let tar = archive.path().join("rootfs.tar");
    run(
        "tar",
        &["--mtime=@0", "-C"],
        &[tree.path(), Path::new("-cf"), &tar, Path::new(".")],
    );
    let mut command = world().command();
    command
        .arg("--data-dir")
        .arg(data)
        .args(["images", "import"]);
    let output = command.arg(&tar).arg(IMAGE).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

const RUN: [&str; 7] = [
    "run",
    "--detach",
    "--name",
    "app",
    IMAGE,
    "/bin/tiny-server",
    "8080",
];

/// Runs a container, which must fail soon, and leave nothing; what was said.
async fn fails(engine: &EngineSession) -> String {
    let began = Instant::now();
    let output = engine.docker(RUN, "").await;
    assert!(!output.status.success(), "{output:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let all = ["ps", "--all", "--format", "{{.Names}} {{.State}}"];
    let left = engine.docker_ok(all, "").await;
    assert!(!left.contains("app running"), "{left}");
    engine.docker(["rm", "--force", "app"], "").await;
    String::from_utf8(output.stderr).unwrap()
}

async fn runs(engine: &EngineSession) {
    engine.docker_ok(RUN, "").await;
    let state = ["ps", "--format", "{{.Names}} {{.State}}"];
    let listed = engine.docker_ok(state, "").await;
    assert!(listed.contains("app running"), "{listed}");
    engine.docker_ok(["rm", "--force", "app"], "").await;
}

/// The only entry of a directory.
/// The tree of the one layer that is whole. What was damaged before may still be beside it: a layer that
/// is built again has other times in it, and so another name, when the clock has moved on.
fn whole_tree(layers: &Path) -> PathBuf {
    let entries = std::fs::read_dir(layers).unwrap();
    let mut trees = entries.map(|entry| entry.unwrap().path().join("fs"));
    trees.find(|tree| tree.is_dir()).unwrap()
}

/// Damages the blobs that `which` picks by their content's length: the layer is the largest.
fn damage_blobs(data: &Path, layer: bool) {
    let blobs = std::fs::read_dir(data.join("blobs/sha256")).unwrap();
    let mut blobs: Vec<PathBuf> = blobs.map(|blob| blob.unwrap().path()).collect();
    blobs.sort_by_key(|blob| std::fs::metadata(blob).unwrap().len());
    let largest = blobs.pop().unwrap();
    let chosen = if layer { vec![largest] } else { blobs };
    for blob in chosen {
        let mut bytes = std::fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        std::fs::write(&blob, bytes).unwrap();
    }
}

/// What has become of a layer or of an image's documents: `None` if it is mended without a word, else
/// a part of what is said.
const DAMAGES: [(&str, Option<&str>); 4] = [
    ("the tree is gone", None),
    ("the tree is a file", None),
    ("the configuration is another", Some("sha256:")),
    ("the tree is gone and the blob is another", Some("sha256:")),
];

async fn damaged(engine: &EngineSession, data: &Path, damage: &str, expected: Option<&str>) {
    runs(engine).await;
    let tree = whole_tree(&data.join("layers"));
    if damage.starts_with("the tree") {
        std::fs::remove_dir_all(&tree).unwrap();
    }
    match damage {
        "the tree is a file" => std::fs::write(&tree, "").unwrap(),
        "the tree is gone and the blob is another" => damage_blobs(data, true),
        "the configuration is another" => damage_blobs(data, false),
        _ => {}
    }
    match expected {
        None => runs(engine).await,
        Some(part) => {
            let said = fails(engine).await;
            assert!(said.contains(part), "{damage}: {said}");
        }
    }
}

#[tokio::test]
async fn a_damaged_layer_is_mended_from_its_blob_or_named() {
    let data = tempfile::tempdir().unwrap();
    let points = tempfile::tempdir().unwrap();
    let engine = world().engine_in(data.path(), points.path()).await;
    for (damage, expected) in DAMAGES {
        import(data.path());
        damaged(&engine, data.path(), damage, expected).await;
    }
    engine.stop().await;
}

/// What was built here has nothing but its tree until it is pushed; building again mends it.
#[tokio::test]
async fn a_build_mends_what_builds_made() {
    let data = tempfile::tempdir().unwrap();
    let points = tempfile::tempdir().unwrap();
    let engine = world().engine_in(data.path(), points.path()).await;
    for damage in ["the tree is gone", "the tree is a file"] {
        build(&engine).await;
        damaged(&engine, data.path(), damage, Some("sha256:")).await;
    }
    build(&engine).await;
    runs(&engine).await;
    engine.stop().await;
}

/// A file system of its own, of few MiB.
struct Small {
    directory: tempfile::TempDir,
}

impl Small {
    fn new(megabytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(megabytes << 20).unwrap();
        let small = Self { directory };
        run("mkfs.ext4", &["-q", "-m", "0"], &[&image]);
        std::fs::create_dir(small.data()).unwrap();
        run("mount", &["-o", "loop"], &[&image, &small.data()]);
        small
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Takes the room that is left.
    fn fill(&self) {
        let file = std::fs::File::create(self.data().join("fill")).unwrap();
        for length in [1 << 20, 1 << 12] {
            let piece = vec![1; length];
            let mut writer = &file;
            while std::io::Write::write_all(&mut writer, &piece).is_ok() {}
        }
        file.sync_all().ok();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.data().join("fill")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.data()).status();
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) {
    let status = Command::new(program).args(options).args(paths).status();
    assert!(status.unwrap().success(), "{program}");
}

#[tokio::test]
async fn a_full_machine_is_said_and_nothing_is_half_made() {
    let small = Small::new(96);
    let points = tempfile::tempdir().unwrap();
    let engine = world().engine_in(&small.data(), points.path()).await;
    build(&engine).await;
    runs(&engine).await;
    // One that runs goes on.
    let neighbour = ["run", "--detach", "--name", "neighbour", IMAGE];
    engine.docker_ok(neighbour, "").await;
    small.fill();
    let said = fails(&engine).await;
    println!("run: {said}");
    assert!(said.to_lowercase().contains("no space left"), "{said}");
    let context = Project::empty();
    context.write("big", vec![7; 8 << 20]);
    let path = context.path().to_str().unwrap();
    let more = ["build", "--tag", "big:1", "--file", "-", path];
    let output = engine.docker(more, "FROM scratch\nCOPY big /big\n").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("build: {said}");
    assert!(
        !output.status.success() && said.to_lowercase().contains("no space left"),
        "{said}"
    );
    let state = ["ps", "--format", "{{.Names}} {{.State}}"];
    assert_eq!(engine.docker_ok(state, "").await, "neighbour running\n");
    small.make_room();
    runs(&engine).await;
    engine
        .docker_ok(more, "FROM scratch\nCOPY big /big\n")
        .await;
    engine.docker_ok(["rm", "--force", "neighbour"], "").await;
    engine.stop().await;
}
