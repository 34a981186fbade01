//! What a forked child does between the fork and its `execve`.
//!
//! Owner: the child itself; nothing here runs in the zygote. Order and invariants:
//! 1. groups, limits, namespaces and every mount, with all privileges but already creating files as
//!    the container's root (file-system ids); the host's file system is left by `pivot_root` before
//!    the first path of the image is looked up;
//! 2. the user namespace is entered **last**, so that every other namespace belongs to the host's;
//! 3. seccomp, capabilities, user, working directory, `execve`.
//!
//! The functions never return to the zygote's code: a failure is reported and the child leaves.

pub(crate) mod criu;
mod dev;
mod enter;
pub(crate) mod identity;
mod init;
mod limits;
mod modes;
pub(crate) mod mounts;
pub(crate) mod overlay;
mod program;
mod pseudo;
pub(crate) mod root;
mod stdio;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use crate::cgroup::SandboxGroup;
use crate::error::{Failure, Step as _};
use crate::packet;
use crate::protocol::{Order, Report};
use crate::seccomp::Filter;
use crate::spec::{Limits, ProcessSpec, SandboxSpec, SpawnTimings};
use crate::sys;
use crate::sys::clock::Stopwatch;
use enter::Entry;
use root::Root;
pub(crate) use stdio::Stdio;

/// Runs a blank: joins its groups, waits for an order, becomes that sandbox.
pub(crate) fn become_sandbox(filter: &Filter, group: &SandboxGroup, report: OwnedFd) -> ! {
    let outcome = prepare_blank(group, &report).and_then(|()| {
        let prepared = sys::clock::now();
        let message = packet::receive(&report).step(|| "receive an order".to_owned())?;
        match message {
            // The zygote has let go of this blank.
            None => sys::clone::exit_now(0),
            Some((order, fds)) => start(filter, group, report.as_fd(), prepared, order, fds),
        }
    });
    leave(&report, outcome)
}

/// Runs a process in a sandbox that lives.
pub(crate) fn become_exec(exec: &ExecRequest<'_>, report: &OwnedFd) -> ! {
    let outcome = enter_sandbox(exec, report.as_fd());
    leave(report, outcome)
}

/// What [`become_exec`] needs.
pub(crate) struct ExecRequest<'a> {
    pub(crate) filter: &'a Filter,
    pub(crate) group: &'a SandboxGroup,
    /// The sandbox's first process.
    pub(crate) sandbox: BorrowedFd<'a>,
    pub(crate) user_namespace: BorrowedFd<'a>,
    pub(crate) process: &'a ProcessSpec,
    pub(crate) streams: Stdio,
    pub(crate) policy: &'a Policy,
}

/// What every process of a sandbox is held to.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) id_base: u32,
    pub(crate) capabilities: Vec<String>,
    pub(crate) no_new_privs: bool,
    pub(crate) rlimits: Vec<crate::spec::Rlimit>,
    pub(crate) groups: Vec<String>,
    pub(crate) umask: Option<u32>,
    pub(crate) oom_score_adjustment: i32,
    /// Of memory and processes.
    pub(crate) limits: Limits,
}

impl Policy {
    /// The sandbox's.
    pub(crate) fn of(spec: &SandboxSpec) -> Self {
        Self {
            id_base: spec.id_base,
            capabilities: spec.capabilities.clone(),
            no_new_privs: spec.no_new_privs,
            rlimits: spec.extras.rlimits.clone(),
            groups: spec.extras.groups.clone(),
            umask: spec.extras.umask,
            oom_score_adjustment: spec.extras.oom_score_adjustment,
            limits: Limits {
                memory_bytes: spec.limits.memory_bytes,
                pids: spec.limits.pids,
                ..Limits::default()
            },
        }
    }
}

fn leave(report: &OwnedFd, outcome: Result<(), Failure>) -> ! {
    if let Err(failure) = outcome {
        let _ = packet::send(report, &Report::Failed(failure), &[]);
    }
    sys::clone::exit_now(1)
}

fn prepare_blank(group: &SandboxGroup, report: &OwnedFd) -> Result<(), Failure> {
    // The blank must not outlive the zygote, nor keep its other sockets open.
    die_with_zygote()?;
    close_all_but(report)?;
    let _ = rustix::thread::set_name(c"berth-sandbox");
    group
        .create()
        .step(|| "create the control groups".to_owned())?;
    group.join().step(|| "join the control groups".to_owned())?;
    group
        .restrict_devices()
        .step(|| "restrict devices".to_owned())
}

fn die_with_zygote() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step(|| "tie the process to the zygote".to_owned())
}

fn close_all_but(report: &OwnedFd) -> Result<(), Failure> {
    use std::os::fd::AsRawFd as _;
    let keep = report.as_raw_fd();
    let step = || "close inherited descriptors".to_owned();
    sys::exec::close_between(3, keep - 1).step(step)?;
    sys::exec::close_from(keep + 1).step(step)
}

fn start(
    filter: &Filter,
    group: &SandboxGroup,
    report: BorrowedFd<'_>,
    prepared: u64,
    order: Order,
    fds: Vec<OwnedFd>,
) -> Result<(), Failure> {
    let Order {
        stdin,
        disk,
        sent,
        spec,
    } = order;
    let mut watch = Stopwatch::start();
    let mut timings = SpawnTimings {
        // Only as long as somebody waited for it.
        cgroup: Duration::from_nanos(prepared.saturating_sub(sent)),
        ..SpawnTimings::default()
    };
    let mut fds = fds.into_iter();
    let mut next = || {
        fds.next()
            .ok_or_else(|| Failure::Invalid("order: a descriptor is missing".to_owned()))
    };
    let network = next()?;
    let user_namespace = next()?;
    let streams = Stdio {
        stdin: if stdin { Some(next()?) } else { None },
        stdout: Some(next()?),
        stderr: Some(next()?),
    };
    let disk = if disk { Some(next()?) } else { None };
    let mut limits = spec.limits;
    if spec.extras.init {
        // The program's limit is not used up by a process that it does not know of.
        limits.pids = limits.pids.map(|pids| pids.max(1).saturating_add(1));
    }
    group
        .apply(&limits)
        .step(|| "apply the resource limits".to_owned())?;
    let policy = Policy::of(&spec);
    limits::apply(&policy)?;
    for device in &spec.extras.devices {
        group
            .allow_device(*device)
            .step(|| "allow a device".to_owned())?;
    }
    timings.cgroup += watch.lap();
    rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .step(|| "enter the network namespace".to_owned())?;
    sys::namespace::unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP,
    )
    .step(|| "create namespaces".to_owned())?;
    rustix::system::sethostname(spec.hostname.as_bytes())
        .step(|| format!("set the host name `{}`", spec.hostname))?;
    let domain = &spec.extras.domain_name;
    if !domain.is_empty() {
        rustix::system::setdomainname(domain.as_bytes())
            .step(|| format!("set the domain name `{domain}`"))?;
    }
    identity::create_files_as(spec.id_base)?;
    rustix::process::umask(Mode::empty());
    timings.namespaces = watch.lap();
    let root = mounts::build(&spec, disk, user_namespace.as_fd(), group)?;
    timings.rootfs = watch.lap();
    enter::run(Entry {
        timings,
        watch,
        filter,
        report,
        root: &root,
        user_namespace: user_namespace.as_fd(),
        process: &spec.process,
        create_working_directory: true,
        checkpointable: spec.extras.checkpointable,
        init: spec.extras.init,
        streams,
        policy: &policy,
    })
}

fn enter_sandbox(exec: &ExecRequest<'_>, report: BorrowedFd<'_>) -> Result<(), Failure> {
    die_with_zygote()?;
    let _ = rustix::thread::set_name(c"berth-exec");
    exec.group
        .join()
        .step(|| "join the control groups".to_owned())?;
    limits::apply(exec.policy)?;
    let entered = rustix::thread::move_into_thread_name_spaces(
        exec.sandbox,
        ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::CONTROL_GROUP,
    );
    match entered {
        Err(rustix::io::Errno::SRCH) => return Err(Failure::Gone),
        other => other.step(|| "enter the container's namespaces".to_owned())?,
    }
    identity::create_files_as(exec.policy.id_base)?;
    enter::run(Entry {
        timings: SpawnTimings::default(),
        watch: Stopwatch::start(),
        filter: exec.filter,
        report,
        root: &Root::current()?,
        user_namespace: exec.user_namespace,
        process: exec.process,
        create_working_directory: false,
        checkpointable: false,
        init: false,
        streams: exec.streams.try_clone()?,
        policy: exec.policy,
    })
}
