//! The test world: a zygote with a session of its own, root file systems with one static program.
//!
//! Everything is removed when a [`World`] is finished, and swept when it is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_jail::{
    DEFAULT_CAPABILITIES, ExecFds, ExitStatus, JailError, Limits, OnDisconnect, ProcessSpec,
    Rootfs, Sandbox, SandboxFds, SandboxSpec, Zygote, ZygoteConfig,
};

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// A zygote and a directory.
pub(crate) struct World {
    pub(crate) zygote: Zygote,
    pub(crate) config: ZygoteConfig,
    pub(crate) cgroup: String,
    pub(crate) directory: tempfile::TempDir,
    /// What its sandboxes are.
    pub(crate) checkpointable: bool,
    base: u32,
    sweep: Sweep,
}

/// Sweeps a session when it is dropped.
#[derive(Debug)]
struct Sweep(Option<String>);

/// A container's file system on disk.
pub(crate) struct Image {
    pub(crate) layer: PathBuf,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
}

/// What a finished process left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| OnDisconnect::KillAll).await
    }

    /// For sandboxes as they are, and for such as may be written to disk, whose mounts are their own.
    pub(crate) async fn of_each_kind() -> [Self; 2] {
        let mut other = Self::new().await;
        other.checkpointable = true;
        [Self::new().await, other]
    }

    /// With a zygote that outlives its daemon.
    pub(crate) async fn keeping() -> Self {
        Self::keeping_for(Duration::from_secs(300)).await
    }

    /// The same; it waits so long for the next one.
    pub(crate) async fn keeping_for(patience: Duration) -> Self {
        Self::with(|directory| OnDisconnect::Keep {
            socket: directory.join("zygote.sock"),
            patience,
        })
        .await
    }

    async fn with(on_disconnect: impl FnOnce(&Path) -> OnDisconnect) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("berth-test/{}-{number}", std::process::id());
        let directory = tempfile::Builder::new()
            .prefix("jail")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        // The container's users must get through on their way to the layers.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let config = ZygoteConfig {
            executable: PathBuf::from(env!("CARGO_BIN_EXE_berth-zygote")),
            cgroup: cgroup.clone(),
            on_disconnect: on_disconnect(directory.path()),
        };
        Self {
            zygote: Zygote::launch(config.clone()).await.unwrap(),
            config,
            checkpointable: false,
            sweep: Sweep(Some(cgroup.clone())),
            cgroup,
            directory,
            base: 1_000_000 + (std::process::id() % 100) * 6_553_600 + number * 65_536,
        }
    }

    /// Ends the zygote and checks that nothing is left.
    pub(crate) async fn finish(self) {
        self.zygote.shutdown().await;
        assert_eq!(groups_left(&self.cgroup), Vec::<PathBuf>::new());
    }

    /// Drops the zygote's handle; the directory stays until the returned value goes.
    pub(crate) fn let_go(self) -> tempfile::TempDir {
        let Self {
            directory,
            mut sweep,
            ..
        } = self;
        sweep.0 = None;
        directory
    }

    pub(crate) fn id_base(&self) -> u32 {
        self.base
    }

    /// A root file system with /bin/probe, users and /etc.
    pub(crate) fn image(&self) -> Image {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = self.directory.path().join(format!("image-{number}"));
        let image = Image {
            layer: root.join("layer"),
            upper: root.join("upper"),
            work: root.join("work"),
        };
        for directory in [
            "layer/bin",
            "layer/etc",
            "layer/tmp",
            "layer/data",
            "upper",
            "work",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::set_permissions(image.layer.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::hard_link(probe(), image.layer.join("bin/probe"))
            .or_else(|_| fs::copy(probe(), image.layer.join("bin/probe")).map(drop))
            .unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n";
        fs::write(image.layer.join("etc/passwd"), passwd).unwrap();
        let group = "root:x:0:\nnode:x:1000:\nvideo:x:44:node\n";
        fs::write(image.layer.join("etc/group"), group).unwrap();
        image
    }

    /// A specification that runs the probe with these arguments.
    pub(crate) fn spec(&self, image: &Image, arguments: &[&str]) -> SandboxSpec {
        SandboxSpec {
            id: format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
            hostname: "inside".to_owned(),
            rootfs: Rootfs {
                lower: vec![image.layer.clone()],
                upper: image.upper.clone(),
                work: image.work.clone(),
                read_only: false,
            },
            mounts: Vec::new(),
            files: BTreeMap::new(),
            process: process(arguments),
            limits: Limits::default(),
            id_base: self.base,
            capabilities: DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
            no_new_privs: true,
            shm_bytes: 64 << 20,
            extras: berth_jail::SandboxExtras {
                checkpointable: self.checkpointable,
                ..Default::default()
            },
        }
    }

    /// Starts it with pipes for output.
    pub(crate) async fn start(
        &self,
        spec: SandboxSpec,
    ) -> Result<(Sandbox, Reader, Reader), JailError> {
        self.start_in(spec, netns()).await
    }

    /// The same in this network namespace.
    pub(crate) async fn start_in(
        &self,
        spec: SandboxSpec,
        netns: OwnedFd,
    ) -> Result<(Sandbox, Reader, Reader), JailError> {
        let (stdout, stdout_write) = pipe();
        let (stderr, stderr_write) = pipe();
        let fds = SandboxFds {
            netns,
            stdin: None,
            stdout: stdout_write,
            stderr: stderr_write,
            disk: None,
        };
        let sandbox = self.zygote.spawn(spec, fds).await?;
        Ok((sandbox, Reader::new(stdout), Reader::new(stderr)))
    }

    /// Starts it and waits for its end.
    pub(crate) async fn run(&self, spec: SandboxSpec) -> Result<Output, JailError> {
        let (sandbox, stdout, stderr) = self.start(spec).await?;
        let (status, stdout, stderr) = tokio::join!(sandbox.wait(), stdout.rest(), stderr.rest());
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Runs the probe in a fresh image and returns what it printed.
    pub(crate) async fn probe(&self, arguments: &[&str]) -> String {
        let image = self.image();
        let output = self.run(self.spec(&image, arguments)).await.unwrap();
        assert_eq!(
            (output.status.code, output.stderr.as_str()),
            (0, ""),
            "{output:?}"
        );
        output.stdout
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        // Finds nothing after `finish`.
        if let Some(cgroup) = &self.0 {
            let _ = berth_jail::sweep_session(cgroup);
        }
    }
}

pub(crate) fn process(arguments: &[&str]) -> ProcessSpec {
    let mut argv = vec!["/bin/probe".to_owned()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    ProcessSpec {
        argv,
        env: vec!["PATH=/bin".to_owned()],
        cwd: String::new(),
        user: String::new(),
        terminal: None,
    }
}

/// Runs a process in a sandbox and waits for its end.
pub(crate) async fn exec(sandbox: &Sandbox, process: ProcessSpec) -> Result<Output, JailError> {
    let (stdout, stdout_write) = pipe();
    let (stderr, stderr_write) = pipe();
    let fds = ExecFds::Pipes {
        stdin: None,
        stdout: Some(stdout_write),
        stderr: Some(stderr_write),
    };
    let (process, terminal) = sandbox.exec(process, fds).await?;
    assert!(terminal.is_none());
    let (stdout, stderr) = (Reader::new(stdout).rest(), Reader::new(stderr).rest());
    let (status, stdout, stderr) = tokio::join!(process.wait(), stdout, stderr);
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

/// A sandbox whose first process has begun to sleep.
pub(crate) async fn started(world: &World, image: &Image) -> Sandbox {
    let (sandbox, stdout, _) = world.start(world.spec(image, &["sleep"])).await.unwrap();
    let (line, _) = stdout.line().await;
    assert_eq!(line, "up");
    sandbox
}

/// The reading end of a pipe.
#[derive(Debug)]
pub(crate) struct Reader(std::io::BufReader<fs::File>);

impl Reader {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(std::io::BufReader::new(fd.into()))
    }

    /// The next line, without its newline; and the reader.
    pub(crate) async fn line(mut self) -> (String, Self) {
        tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            (line.trim_end().to_owned(), self)
        })
        .await
        .unwrap()
    }

    pub(crate) async fn rest(mut self) -> String {
        tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            // A terminal whose last process is gone answers EIO.
            let _ = self.0.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .await
        .unwrap()
    }
}

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

/// One network namespace for all tests of the binary, with nothing in it.
pub(crate) fn netns() -> OwnedFd {
    static MADE: OnceLock<OwnedFd> = OnceLock::new();
    MADE.get_or_init(fresh_netns).try_clone().unwrap()
}

/// A network namespace of its own, with nothing in it.
pub(crate) fn fresh_netns() -> OwnedFd {
    {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo up; read _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let made = fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        writeln!(holder.stdin.take().unwrap()).unwrap();
        holder.wait().unwrap();
        made.into()
    }
}

/// The statically linked program of `probe.c` and `attack.c`, compiled once per test binary.
pub(crate) fn probe() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        compile(
            "probe",
            &["-O1", "-static", "-pthread"],
            &["probe", "attack"],
        )
    })
}

/// Compiles these files beside the tests into `name`.
pub(crate) fn compile(name: &str, options: &[&str], sources: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = directory.join(format!("{name}-{}", std::process::id()));
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jail");
    let status = Command::new("gcc")
        .args(options)
        .arg("-o")
        .arg(&output)
        .args(
            sources
                .iter()
                .map(|source| here.join(format!("{source}.c"))),
        )
        .status()
        .expect("the jail's tests need gcc");
    assert!(status.success(), "gcc failed");
    // One name for all runs; whoever still executes an older one keeps its inode.
    let program = directory.join(name);
    fs::rename(output, &program).unwrap();
    program
}

/// The session's control groups that still exist.
pub(crate) fn groups_left(cgroup: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|mount| Path::new(mount).join(cgroup))
        .filter(|path| path.exists())
        .collect()
}

/// Makes `path` in the layer a symbolic link to `target`, replacing what was there.
pub(crate) fn replace_with_link(image: &Image, path: &str, target: &Path) {
    let path = image.layer.join(path);
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    symlink(target, path).unwrap();
}

/// The host's network namespace, for tests that connect to what a sandbox listens on.
pub(crate) fn host_netns() -> OwnedFd {
    fs::File::open("/proc/self/ns/net").unwrap().into()
}
