//! A real engine on a synthetic image: zygote, networks, image store, all in a temporary directory.
//!
//! The test binary itself is the zygote when it is started as one; call [`zygote_or_tests`] first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "helpers of tests; not every test binary uses all of them"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{ContainerSpec, Engine, EngineConfig, LogLine};
use berth_image::ImageStore;
use berth_jail::{Limits, OnDisconnect, ZYGOTE_ARG, Zygote, ZygoteConfig};
use berth_net::{DnsPolicy, Egress, Network, Upstream};
use oci_spec::image::{Arch, Os, RootFsBuilder};
use oci_spec::image::{Config, ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder};
use tokio::io::AsyncReadExt as _;

/// The image with the program; `ENTRYPOINT ["/bin/app"]`, `CMD ["sleep"]`.
pub(crate) const IMAGE: &str = "app:latest";

/// The CRIU that engines use from then on; none if it is not set.
pub(crate) static CRIU: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

/// A CRIU that works here, unpacked once for all test runs; the machine stays as it is.
pub(crate) fn criu() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/criu.sh");
    let output = Command::new(script)
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("criu"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tools/criu.sh: {said}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Becomes the zygote if this process was started as one; otherwise runs `tests`.
pub(crate) fn zygote_or_tests(tests: impl FnOnce() -> ExitCode) -> ExitCode {
    if std::env::args().nth(1).is_some_and(|arg| arg == ZYGOTE_ARG) {
        return berth_jail::zygote_main();
    }
    tests()
}

/// Compiles the program once per test binary.
pub(crate) fn compile(into: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/app.c");
    let status = Command::new("gcc")
        .args(["-static", "-pthread", "-O1", "-Wall", "-o"])
        .arg(into)
        .arg(source)
        .status()
        .expect("gcc is needed");
    assert!(status.success(), "gcc: {status}");
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) zygote: Zygote,
    pub(crate) cgroup: String,
    pub(crate) temp: tempfile::TempDir,
}

impl World {
    /// `program` is what [`compile`] made.
    pub(crate) async fn new(program: &Path) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let cgroup = format!("berth-engine-test/{:x}", rand::random::<u64>());
        let (engine, zygote) = open(temp.path(), &cgroup, program).await;
        Self {
            engine,
            zygote,
            cgroup,
            temp,
        }
    }

    pub(crate) async fn spec(&self, name: &str, arguments: &[&str]) -> ContainerSpec {
        spec(name, arguments).await
    }

    pub(crate) async fn create(&self, name: &str, arguments: &[&str]) {
        let spec = self.spec(name, arguments).await;
        self.engine.create(spec).await.unwrap();
    }

    pub(crate) async fn run(&self, name: &str, arguments: &[&str]) {
        self.create(name, arguments).await;
        self.engine.start(name).await.unwrap();
    }

    /// The kept output of one stream, as text.
    pub(crate) async fn output(&self, name: &str, stderr: bool) -> Vec<String> {
        let mut lines = self.engine.logs(name, false).await.unwrap();
        let mut text = Vec::new();
        while let Some(line) = lines.recv().await {
            if line.stderr == stderr {
                text.push(String::from_utf8_lossy(&line.bytes).into_owned());
            }
        }
        text
    }

    /// Follows the log until a line of the program's comes that satisfies `wanted`.
    pub(crate) async fn line(&self, name: &str, wanted: impl Fn(&LogLine) -> bool) {
        let mut lines = self.engine.logs(name, true).await.unwrap();
        while let Some(line) = lines.recv().await {
            if wanted(&line) {
                return;
            }
        }
        panic!("the log of {name} ended without the line");
    }

    /// When the program called `listen` first, after its start. A connection may be answered a moment
    /// before the container's own task has noted that.
    pub(crate) async fn first_listen(&self, name: &str) -> Duration {
        loop {
            let timings = self.engine.inspect(name).unwrap().timings;
            if let Some(after) = timings.first_listen {
                return after;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends everything and checks that nothing is left.
    pub(crate) async fn end(self) {
        self.engine.shutdown().await;
        let left = count(&self.temp.path().join("state/containers"))
            + count(&self.temp.path().join("state/trash"));
        assert_eq!(left, 0, "directories of containers are left");
        assert_eq!(self.processes(), Vec::<String>::new());
        self.zygote.shutdown().await;
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
    }

    /// Processes in the session's cgroups, the zygote's own group apart.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in self.cgroups() {
            for child in std::fs::read_dir(dir).unwrap().flatten() {
                let procs = child.path().join("cgroup.procs");
                found.extend(std::fs::read_to_string(procs).iter().flat_map(|text| {
                    text.lines()
                        .filter(|pid| !is_jails_own(pid))
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                }));
            }
        }
        // One process is in every hierarchy.
        found.sort();
        found.dedup();
        found
    }

    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        cgroups(&self.cgroup)
    }
}

/// The directories of a session in every mounted cgroup hierarchy.
pub(crate) fn cgroups(session: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|mount| Path::new(mount).join(session))
        .filter(|dir| dir.exists())
        .collect()
}

/// An engine with its images in `dir/images` and its state in `dir/state`.
pub(crate) async fn open(dir: &Path, cgroup: &str, program: &Path) -> (Engine, Zygote) {
    let images = ImageStore::open(&dir.join("images")).unwrap();
    add_image(&images, program);
    let zygote = Zygote::launch(ZygoteConfig {
        executable: PathBuf::from("/proc/self/exe"),
        cgroup: cgroup.to_owned(),
        on_disconnect: OnDisconnect::KillAll,
    })
    .await
    .unwrap();
    let config = EngineConfig {
        state_dir: dir.join("state"),
        startup_cpu_milli: Some(1000),
        default_limits: Limits {
            cpu_milli: None,
            memory_bytes: Some(256 << 20),
            pids: Some(64),
            disk_bytes: None,
        },
        criu: CRIU.get().cloned(),
        log_bytes: 1 << 20,
    };
    let engine = Engine::open(config, images, zygote.clone()).await.unwrap();
    (engine, zygote)
}

/// A container of [`IMAGE`] whose program gets these arguments.
pub(crate) async fn spec(name: &str, arguments: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        entrypoint: None,
        command: Some(arguments.iter().map(|arg| (*arg).to_owned()).collect()),
        env: Vec::new(),
        user: None,
        working_dir: None,
        labels: BTreeMap::new(),
        hostname: "box".to_owned(),
        extra_hosts: Vec::new(),
        mounts: Vec::new(),
        network: network().await,
        sleep: None,
        limits: None,
        display_name: name.to_owned(),
        policy: berth_engine::Policy::default(),
        companion: serde_json::Value::Null,
    }
}

async fn network() -> Arc<Network> {
    Network::create(Egress {
        upstream: Upstream::Direct,
        internet: false,
        dns: DnsPolicy::default(),
    })
    .await
    .unwrap()
}

/// The zygote and the children it keeps ready.
fn is_jails_own(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|cmdline| cmdline.split('\0').nth(1) == Some(ZYGOTE_ARG))
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Everything that a peer sends until it closes.
pub(crate) async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn add_image(images: &ImageStore, program: &Path) {
    let upper = tempfile::tempdir_in(images.scratch_dir()).unwrap();
    let root = upper.path().join("root");
    for dir in ["bin", "etc", "tmp", "srv"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    set_mode(&root, 0o755);
    set_mode(&root.join("tmp"), 0o1777);
    std::fs::copy(program, root.join("bin/app")).unwrap();
    set_mode(&root.join("bin/app"), 0o755);
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), passwd).unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\n").unwrap();
    let layer = images.add_layer(&root).unwrap().unwrap();
    let config = configuration(layer.diff_id.as_str());
    let image = images.put_image(config, vec![layer]).unwrap();
    images.tag(&image, IMAGE).unwrap();
}

fn configuration(diff_id: &str) -> ImageConfiguration {
    let text = |text: &str| text.to_owned();
    let config: Config = ConfigBuilder::default()
        .entrypoint(vec![text("/bin/app")])
        .cmd(vec![text("sleep")])
        .env(vec![text("FROM_IMAGE=yes"), text("BOTH=image")])
        .working_dir(text("/srv"))
        .build()
        .unwrap();
    let rootfs = RootFsBuilder::default()
        .typ(text("layers"))
        .diff_ids(vec![text(diff_id)])
        .build()
        .unwrap();
    ImageConfigurationBuilder::default()
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(config)
        .rootfs(rootfs)
        .history(Vec::new())
        .build()
        .unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Longer than anything here should take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test in a world of its own and cleans up whatever happens to it.
pub(crate) fn in_world<F: Future<Output = World>>(
    program: &Path,
    test: impl FnOnce(World) -> F,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut cgroup = None;
    let body = std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let world = World::new(program).await;
            cgroup = Some(world.cgroup.clone());
            let world = tokio::time::timeout(PATIENCE, test(world))
                .await
                .expect("the test hangs");
            tokio::time::timeout(PATIENCE, world.end())
                .await
                .expect("the end hangs");
        });
    });
    let outcome = std::panic::catch_unwind(body);
    // Drops the connection to the zygote, which then kills everything of this world.
    runtime.shutdown_timeout(Duration::from_secs(5));
    if let Some(cgroup) = cgroup {
        berth_jail::sweep_session(&cgroup).map_err(|error| error.to_string())?;
    }
    outcome.map_err(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "panicked".to_owned())
    })
}

/// The CPU limit of a process in thousandths of a CPU, as the kernel has it.
#[allow(dead_code, reason = "not every test binary looks at limits")]
pub(crate) fn cpu_milli(pid: u32) -> u64 {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let group = |wanted: &str| {
        let mut lines = groups.lines().map(|line| line.splitn(3, ':'));
        lines.find_map(|mut line| {
            let controllers = line.nth(1)?;
            controllers
                .split(',')
                .any(|name| name == wanted)
                .then(|| line.next())
                .flatten()
        })
    };
    let mount = |options: &str| {
        let line = mounts.lines().find(|line| {
            line.contains(" - cgroup")
                && line.rsplit(' ').next().is_some_and(|last| {
                    options.is_empty() || last.split(',').any(|option| option == options)
                })
        });
        PathBuf::from(line.unwrap().split(' ').nth(4).unwrap())
    };
    let (quota, period) = match group("cpu") {
        Some(group) => {
            let dir = mount("cpu").join(group.trim_start_matches('/'));
            let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
            (read("cpu.cfs_quota_us"), read("cpu.cfs_period_us"))
        }
        None => {
            let dir = mount("").join(group("").unwrap().trim_start_matches('/'));
            let max = std::fs::read_to_string(dir.join("cpu.max")).unwrap();
            let (quota, period) = max.trim().split_once(' ').unwrap();
            (quota.to_owned(), period.to_owned())
        }
    };
    let number = |text: String| text.trim().parse::<u64>().unwrap();
    number(quota) * 1000 / number(period)
}

/// Whether the freezer has stopped a process.
pub(crate) fn is_frozen(pid: u32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = |wanted: &dyn Fn(&str) -> bool| {
        let line = mounts.lines().find(|line| {
            line.split_once(" - ")
                .is_some_and(|(_, after)| wanted(after))
        });
        line.map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()))
    };
    let path = |controller: &str| {
        let line = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            fields.next()?.split(',').find(|name| *name == controller)?;
            fields.next()
        });
        line.unwrap().trim_start_matches('/').to_owned()
    };
    if let Some(unified) = mount(&|after| after.starts_with("cgroup2 ")) {
        let events = unified.join(path("")).join("cgroup.events");
        return std::fs::read_to_string(events)
            .unwrap()
            .lines()
            .any(|line| line == "frozen 1");
    }
    let freezer = mount(&|after| after.starts_with("cgroup ") && after.contains("freezer"));
    let state = freezer.unwrap().join(path("freezer")).join("freezer.state");
    std::fs::read_to_string(state).unwrap().trim() == "FROZEN"
}
