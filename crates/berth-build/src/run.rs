//! `RUN`: a command in a sandbox on top of the layers so far.
//!
//! Everything it needs from outside (resolver, hosts, certificates, the script of a here-document) is
//! mounted for the time of the command; what the sandbox had to create in the image to mount on is
//! removed afterwards, so that the layer holds what the command did and nothing else.

mod output;
pub(crate) mod proxies;
mod script;
mod stubs;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use berth_image::{ImageStore, Layer};
use berth_jail::{
    DEFAULT_CAPABILITIES, ExitStatus, ExtraFile, IdAllocator, Mount, ProcessSpec, Rootfs, Sandbox,
    SandboxExtras, SandboxFds, SandboxSpec, Zygote,
};
use berth_net::{DnsPolicy, Egress, Network, NetworkOptions, RESOLVER_ADDRESS, Upstream};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Bounds;
use crate::error::StepError;
use crate::view::{Writable, lower};
use proxies::Proxies;
pub(crate) use script::argv;
use stubs::{Stubs, Target};

/// User ids of steps, for all builds of this process.
static IDS: LazyLock<IdAllocator> = LazyLock::new(IdAllocator::builds);
/// `/dev/shm`, as Docker's default: 64 MiB.
const SHM_BYTES: u64 = 64 << 20;
/// The host name of every step, BuildKit's too, so that what writes it down writes the same.
const HOSTNAME: &str = "buildkitsandbox";
/// Where [`RunPlan::ca_bundle`] is during the step.
const CA_PATH: &str = "/run/.berth/ca-bundle.pem";
/// Variables by which programs are told about [`CA_PATH`]; an image's or user's own value wins.
const CA_VARIABLES: [&str; 10] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "NPM_CONFIG_CAFILE",
    "DENO_CERT",
];

/// A `RUN` whose surroundings are known.
#[derive(Clone, Debug)]
pub(crate) struct RunPlan {
    pub(crate) argv: Vec<String>,
    /// `KEY=value`.
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) mounts: Vec<PlannedMount>,
    /// Secrets, and the script of a here-document.
    pub(crate) files: Vec<ExtraFile>,
    pub(crate) offline: bool,
    /// Lines for `/etc/hosts`: (name, address).
    pub(crate) hosts: Vec<(String, String)>,
    pub(crate) proxies: Proxies,
    /// PEM text.
    pub(crate) ca_bundle: Option<String>,
    pub(crate) bounds: Bounds,
    /// When the build's time is over.
    pub(crate) deadline: Option<Instant>,
}

impl RunPlan {
    /// Ends with the error when there is no time or disk left.
    async fn used_up(&self, store: &ImageStore) -> StepError {
        let time = async {
            match (self.deadline, self.bounds.time) {
                (Some(deadline), Some(limit)) => {
                    tokio::time::sleep_until(deadline).await;
                    StepError::OutOfTime { limit }
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            error = time => error,
            error = self.bounds.disk_is_used_up(store) => error,
        }
    }
}

/// A `RUN --mount` whose host side is there.
#[derive(Clone, Debug)]
pub(crate) struct PlannedMount {
    pub(crate) mount: Mount,
    /// Rather than a file.
    pub(crate) is_directory: bool,
}

/// How a command ended, and the end of what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) last_lines: Vec<String>,
}

/// Runs the command; what it changed is in `writable` afterwards. When the build is cancelled, the
/// command is killed.
pub(crate) async fn run(
    store: &ImageStore,
    zygote: &Zygote,
    layers: &[Layer],
    writable: &Writable,
    plan: &RunPlan,
    line: &(dyn Fn(String) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Ended, StepError> {
    let egress = Egress {
        upstream: Upstream::Direct,
        internet: !plan.offline,
        dns: DnsPolicy::default(),
    };
    let options = NetworkOptions {
        forwards: plan.proxies.forwards.iter().copied().collect(),
        ..NetworkOptions::default()
    };
    plan.bounds.disk_left(store)?;
    let ids = IDS.take().ok_or(StepError::NoIdRange)?;
    let network = Network::create_with(egress, options).await?;
    let spec = specification(store, layers, writable, plan, ids.base());
    let stubs = Stubs::make(store, layers, writable, &targets(&spec, plan))?;
    let (output, write_end) = output::pipe()?;
    let fds = SandboxFds {
        netns: network.namespace_owned()?,
        stdin: None,
        stdout: write_end.try_clone()?,
        stderr: write_end,
        disk: None,
    };
    let sandbox = KillOnDrop(zygote.spawn(spec, fds).await?);
    let (status, last_lines) = tokio::join!(
        ended(&sandbox.0, plan.used_up(store), cancel),
        output::read(output, plan.bounds.output, line),
    );
    network.close();
    stubs.remove(&writable.upper())?;
    Ok(Ended {
        status: status?,
        last_lines: last_lines?,
    })
}

/// Waits for the command's end, or ends it when time or disk is used up or the build cancelled.
async fn ended(
    sandbox: &Sandbox,
    used_up: impl Future<Output = StepError>,
    cancel: &CancellationToken,
) -> Result<ExitStatus, StepError> {
    let mut short = None;
    let status = tokio::select! {
        status = sandbox.wait() => Some(status),
        error = used_up => {
            short = Some(error);
            None
        }
        () = cancel.cancelled() => None,
    };
    // What the command left running would hold the output open and go on writing.
    sandbox.kill_all().await?;
    let status = match status {
        Some(status) => status,
        None => sandbox.wait().await,
    };
    short.map_or(Ok(status), Err)
}

/// A dropped build leaves no process: the first process's end is that of all of its sandbox.
struct KillOnDrop(Sandbox);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Fails if it has ended, which is what is wanted.
        let _ = self.0.kill(rustix::process::Signal::KILL.as_raw());
    }
}

fn specification(
    store: &ImageStore,
    layers: &[Layer],
    writable: &Writable,
    plan: &RunPlan,
    id_base: u32,
) -> SandboxSpec {
    let mut env = plan.env.clone();
    let mut files = BTreeMap::from([
        (
            "/etc/resolv.conf".to_owned(),
            format!("nameserver {RESOLVER_ADDRESS}\n"),
        ),
        ("/etc/hosts".to_owned(), hosts(&plan.hosts)),
    ]);
    if let Some(bundle) = &plan.ca_bundle {
        files.insert(CA_PATH.to_owned(), bundle.clone());
        for name in CA_VARIABLES {
            if !env.iter().any(|variable| is_named(variable, name)) {
                env.push(format!("{name}={CA_PATH}"));
            }
        }
    }
    SandboxSpec {
        id: format!("build-{}", uuid::Uuid::new_v4().simple()),
        hostname: HOSTNAME.to_owned(),
        rootfs: Rootfs {
            lower: lower(store, layers),
            upper: writable.upper(),
            work: writable.work(),
            read_only: false,
        },
        mounts: plan
            .mounts
            .iter()
            .map(|planned| planned.mount.clone())
            .collect(),
        files,
        process: ProcessSpec {
            argv: plan.argv.clone(),
            env,
            cwd: plan.cwd.clone(),
            user: plan.user.clone(),
            terminal: None,
        },
        limits: plan.bounds.limits(),
        id_base,
        capabilities: DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
        // Package managers use set-user-id programs.
        no_new_privs: false,
        shm_bytes: SHM_BYTES,
        extras: SandboxExtras {
            files: plan.files.clone(),
            ..SandboxExtras::default()
        },
    }
}

fn is_named(variable: &str, name: &str) -> bool {
    variable
        .split_once('=')
        .is_some_and(|(known, _)| known == name)
}

/// Everything that the jail mounts something on, outer targets before inner ones.
fn targets(spec: &SandboxSpec, plan: &RunPlan) -> Vec<Target> {
    let target = |path: &str, is_directory| Target {
        path: path.to_owned(),
        is_directory,
    };
    let own = ["/dev", "/proc", "/sys"].map(|path| target(path, true));
    let files = spec.files.keys().map(|path| target(path, false));
    let mounts = plan.mounts.iter();
    let mounts = mounts.map(|planned| target(&planned.mount.target, planned.is_directory));
    let more = spec
        .extras
        .files
        .iter()
        .map(|file| target(&file.path, false));
    let mut targets: Vec<_> = own
        .into_iter()
        .chain(files)
        .chain(mounts)
        .chain(more)
        .collect();
    targets.sort_by_key(|target| target.path.matches('/').count());
    targets
}

/// `/etc/hosts` during a step, as BuildKit writes it.
fn hosts(more: &[(String, String)]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in more {
        text += &format!("{address}\t{name}\n");
    }
    text
}

/// Reads the bundle that is given to programs in `RUN` steps.
pub(crate) fn read_ca_bundle(path: &Path) -> std::io::Result<String> {
    fs_err::read_to_string(path)
}
