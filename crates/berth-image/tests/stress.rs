//! Processes that import, receive, build, pin and look at images while others collect, and all of
//! them are killed again and again, also at the points where it hurts most. Whoever holds an image
//! always finds all of it, and in the end nothing is left that nobody needs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use berth_image::{
    CRASH_POINTS, Digest, Image, ImageStore, IncomingLayer, Layer, LayerCompression, Policy,
};
use libtest_mimic::{Arguments, Failed, Trial};

/// Role of a worker; the store's directory is its argument.
const ROLE: &str = "BERTH_TEST_ROLE";
const ROLES: [&str; 6] = ["import", "receive", "build", "pin", "collect", "collect"];
/// How long they work.
const TIME: Duration = Duration::from_secs(8);
/// Different images.
const IMAGES: u64 = 6;
/// Files of an image's layer.
const FILES: u64 = 30;

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(ROLE) {
        let root = std::env::args_os().nth(1).unwrap();
        work(role.to_str().unwrap(), Path::new(&root));
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let trial = Trial::test("nothing_that_is_needed_is_collected", || {
        stress().map_err(Failed::from)
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// Until the file `stop` is there.
fn work(role: &str, root: &Path) {
    let store = ImageStore::open(&root.join("store")).unwrap();
    let mut random = Random::new();
    while !root.join("stop").exists() {
        let number = random.below(IMAGES);
        match role {
            "import" => import(&store, number, &mut random),
            "receive" => receive(&store, number, &mut random),
            "build" => build(&store, number),
            "pin" => pin(&store, number),
            _ => collect(&store, &mut random),
        }
    }
}

fn import(store: &ImageStore, number: u64, random: &mut Random) {
    let name = format!("import-{number}");
    let tar = tar(number);
    let image = store.import_rootfs(tar.as_slice(), &name).unwrap();
    verify(store, &image, number);
    if random.below(2) == 0 {
        store.remove(&name).unwrap();
        // It is still in our hands.
        verify(store, &image, number);
    }
    if let Some(image) = store.resolve(&format!("receive-{number}")).unwrap() {
        verify(store, &image, number);
    }
}

fn receive(store: &ImageStore, number: u64, random: &mut Random) {
    let tar = tar(number);
    let incoming = IncomingLayer {
        digest: Digest::of(&tar),
        diff_id: Digest::of(&tar),
    };
    let open = |offset: u64| Ok(&tar[usize::try_from(offset).unwrap()..]);
    let layer = store.ingest_layer(&incoming, open).unwrap();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
    })
    .to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": { "mediaType": "c", "digest": Digest::of(config.as_bytes()), "size": config.len() },
        "layers": [{ "mediaType": "l", "digest": layer.digest, "size": layer.size }],
    })
    .to_string();
    let name = format!("receive-{number}").parse().unwrap();
    let image = store
        .receive_image(manifest.as_bytes(), config.as_bytes(), &[], &name)
        .unwrap();
    drop(layer);
    verify(store, &image, number);
    if random.below(3) == 0 {
        store.remove(&format!("receive-{number}")).unwrap();
    }
}

/// A layer on top of an image, through a cache as the builder has one.
fn build(store: &ImageStore, number: u64) {
    let Some(base) = store.resolve(&format!("import-{number}")).unwrap() else {
        return;
    };
    let record = store.cache_dir().join(format!("record-{number}"));
    let cached = std::fs::read(&record)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Layer>(&bytes).ok())
        .and_then(|layer| store.claim_layer(&layer).unwrap());
    let layer = cached.unwrap_or_else(|| {
        let upper = tempfile::tempdir_in(store.scratch_dir()).unwrap();
        let tree = upper.path().join("upper");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("built"), format!("built {number}")).unwrap();
        let layer = store.add_layer(&tree).unwrap().unwrap();
        store.mark_cached(&layer).unwrap();
        let text = serde_json::to_vec(&layer).unwrap();
        let file = tempfile::NamedTempFile::new_in(store.scratch_dir()).unwrap();
        std::fs::write(file.path(), text).unwrap();
        file.persist(&record).unwrap();
        layer
    });
    let mut layers = base.layers.clone();
    drop(base);
    layers.push(layer);
    let config = serde_json::json!({ "config": { "Cmd": ["x"] } });
    let image = store.put_image_json(config, layers).unwrap();
    store.tag(&image, &format!("build-{number}")).unwrap();
    verify(store, &image, number);
    let built = store.layer_path(&image.layers[1]).join("built");
    let text = std::fs::read_to_string(built).unwrap();
    assert_eq!(text, format!("built {number}"));
}

/// Only a pin keeps the image.
fn pin(store: &ImageStore, number: u64) {
    let owner = format!("worker {}", std::process::id());
    let name = format!("pin-{}", std::process::id());
    let tar = tar(number);
    let image = store.import_rootfs(tar.as_slice(), &name).unwrap();
    store.pin(&owner, &image).unwrap();
    store.untag(&name).unwrap();
    let id = image.id.clone();
    drop(image);
    std::thread::sleep(Duration::from_millis(20));
    let image = store.resolve(id.as_str()).unwrap().unwrap();
    verify(store, &image, number);
    store.unpin(&owner).unwrap();
}

fn collect(store: &ImageStore, random: &mut Random) {
    let policy = match random.below(4) {
        0 => Policy::default(),
        1 => Policy {
            max_bytes: Some(random.below(40_000)),
            ..Policy::default()
        },
        2 => Policy {
            all: true,
            unused_for: Some(Duration::from_millis(100)),
            ..Policy::default()
        },
        _ => Policy {
            all: true,
            ..Policy::default()
        },
    };
    store.collect(&policy).unwrap();
    std::thread::sleep(Duration::from_millis(random.below(20)));
}

/// Every file of the first layer is there, and the documents.
fn verify(store: &ImageStore, image: &Image, number: u64) {
    let tree = store.layer_path(&image.layers[0]);
    for file in 0..FILES {
        let path = tree.join(format!("d/{file}"));
        let text = std::fs::read_to_string(&path);
        assert_eq!(text.unwrap(), content(number, file), "{}", path.display());
    }
    // Blobs are there, or can be made of the trees, which are then checked against their digests.
    // Whichever way others push it meanwhile.
    let ways = [LayerCompression::Gzip, LayerCompression::Zstd];
    let way = ways[std::process::id() as usize % 2];
    for layer in &store.packed(image, way).unwrap().layers {
        assert!(store.blob_path(&layer.digest).exists(), "{}", layer.digest);
    }
    store.config_json(image).unwrap();
}

fn content(number: u64, file: u64) -> String {
    format!("{number} {file} {}", "x".repeat(100))
}

fn tar(number: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in 0..FILES {
        let content = content(number, file);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("d/{file}"), content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

/// Numbers that are different in every process.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = u64::from(now.unwrap().subsec_nanos());
        Self(nanos << 32 | u64::from(std::process::id()) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// One worker and what it wrote.
struct Worker {
    role: &'static str,
    child: Child,
    log: PathBuf,
}

impl Worker {
    fn start(role: &'static str, root: &Path) -> Self {
        let log = root.join(format!("{role}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .arg(root)
            .env(ROLE, role)
            .env(berth_crash::VARIABLE, root.join("crash"))
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { role, child, log }
    }

    /// It ended by itself: it was killed, or nothing was wrong.
    fn check(&self, status: std::process::ExitStatus) -> Result<(), String> {
        use std::os::unix::process::ExitStatusExt as _;
        if status.success() || status.signal() == Some(9) {
            return Ok(());
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(format!("{}: {status}: {log}", self.role))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stress() -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let crash = root.join("crash");
    std::fs::create_dir(&crash).unwrap();
    let mut random = Random::new();
    let mut workers: Vec<Worker> = ROLES.iter().map(|role| Worker::start(role, root)).collect();
    let mut deaths = 0;
    let mut points: std::collections::BTreeMap<&str, usize> =
        CRASH_POINTS.iter().map(|point| (*point, 0)).collect();
    let begin = Instant::now();
    // Longer on a machine that is busy, until every point has been met.
    while begin.elapsed() < TIME
        || (points.values().any(|armed| *armed < 2) && begin.elapsed() < 10 * TIME)
    {
        std::thread::sleep(Duration::from_millis(20 + random.below(60)));
        for (point, armed) in &mut points {
            let file = crash.join(point);
            // Not at once, so that work gets done in between.
            if !file.exists() && random.below(4) == 0 {
                *armed += 1;
                std::fs::write(file, "").unwrap();
            }
        }
        if random.below(3) == 0 {
            let place = usize::try_from(random.below(ROLES.len() as u64)).unwrap();
            workers[place].child.kill().unwrap();
        }
        for worker in &mut workers {
            if let Some(status) = worker.child.try_wait().unwrap() {
                worker.check(status)?;
                deaths += 1;
                *worker = Worker::start(worker.role, root);
            }
        }
    }
    std::fs::remove_dir_all(&crash).unwrap();
    std::fs::write(root.join("stop"), "").unwrap();
    for worker in &mut workers {
        let status = worker.child.wait().unwrap();
        worker.check(status)?;
    }
    drop(workers);
    // A point is armed again only after it was met; the first arming is not a meeting.
    let unmet: Vec<_> = points.iter().filter(|(_, armed)| **armed < 2).collect();
    assert!(unmet.is_empty(), "never met: {unmet:?}");
    assert!(deaths > 20, "{deaths}");
    afterwards(&root.join("store"));
    Ok(())
}

/// Nothing is half there, and nothing is left over.
fn afterwards(root: &Path) {
    let store = ImageStore::open(root).unwrap();
    for summary in store.list().unwrap() {
        let image = store.resolve(&summary.name).unwrap().unwrap();
        let number = summary.name.split(['-', ':']).nth(1).unwrap();
        if !summary.name.starts_with("pin") {
            verify(&store, &image, number.parse().unwrap());
        }
    }
    for pin in store.pins().unwrap() {
        assert!(store.unpin(&pin.owner).unwrap());
    }
    let all = Policy {
        all: true,
        ..Policy::default()
    };
    store.collect(&all).unwrap();
    let usage = store.usage().unwrap();
    assert_eq!((usage.bytes, usage.images.len()), (0, 0));
    for (name, most) in [
        ("blobs/sha256", 0),
        ("layers", 0),
        ("partial", 0),
        ("pins", 0),
        ("trash", 0),
        ("leases", 1),
        ("scratch", 1),
    ] {
        let left = std::fs::read_dir(root.join(name)).unwrap().count();
        assert!(left <= most, "{name}: {left}");
    }
}
