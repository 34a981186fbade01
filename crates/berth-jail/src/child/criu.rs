//! A child that becomes CRIU: what it sees, and what it is told.
//!
//! CRIU does not write down the namespaces that it shares with the sandbox, so it is put into the
//! sandbox's network, IPC, host name and control group namespaces, which belong to the host's user
//! namespace and stay with the zygote as descriptors. It writes down the user, pid and mount
//! namespaces and makes new ones. Of the mounts it is told that they are external, all but the root
//! and /proc: for a restoration they are taken out of the old mount namespace, which the zygote keeps
//! as well, and laid out on the host's side, so that file systems in memory live on.
//!
//! Owner: the child itself; nothing here runs in the zygote. Invariants: the container's paths are
//! looked up without following links; nothing of what is laid out reaches the host's own mounts.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use super::{die_with_zygote, leave, mounts, overlay};
use crate::cgroup::SandboxGroup;
use crate::error::{Failure, Step as _};
use crate::seccomp::Filter;
use crate::spec::{Criu, Limits};
use crate::sys;

/// Where CRIU writes the pid of what it restored.
pub(crate) const PID_FILE: &str = "restored.pid";
/// Bytes of a file that is open but has no name any more.
const GHOST_BYTES: &str = "64M";
/// Covered while CRIU restores: it makes directories there, which it leaves behind when it is killed.
const COVERED: &str = "/tmp";
/// There, what is laid out for it. Everybody can get there, as CRIU does as the container's root user.
const STAGE: &str = "stage";
/// On the stage, the images: their own place may be covered.
const IMAGES: &str = "images";
/// CRIU's file of the seccomp filters.
const FILTERS: &str = "seccomp.img";
/// CRIU's file of the clocks. Without it no time namespace is made: the clocks go on, as they do for
/// a frozen process, and exec'ed processes have the same.
const CLOCKS: &str = "timens-0.img";

/// What stays of a sandbox when its processes have gone.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) mount_namespace: OwnedFd,
    /// Network, IPC, host name, control group.
    pub(crate) namespaces: Vec<(LinkNameSpaceType, OwnedFd)>,
    /// Where mounts are that CRIU is told not to care for.
    pub(crate) mounts: Vec<String>,
    /// Writing ends of the pipes that take its output.
    pub(crate) output: Vec<OwnedFd>,
    pub(crate) limits: Limits,
    pub(crate) id_base: u32,
}

/// Thaws the sandbox and becomes `criu dump`, which stops its processes by itself.
pub(crate) fn become_dump(
    criu: &Criu,
    group: &SandboxGroup,
    init: BorrowedFd<'_>,
    pid: u32,
    kept: &Kept,
    report: &OwnedFd,
) -> ! {
    leave(report, dump(criu, group, init, pid, kept))
}

fn dump(
    criu: &Criu,
    group: &SandboxGroup,
    init: BorrowedFd<'_>,
    pid: u32,
    kept: &Kept,
) -> Result<(), Failure> {
    die_with_zygote()?;
    let _ = rustix::thread::set_name(c"berth-dump");
    let types = ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    rustix::thread::move_into_thread_name_spaces(init, types)
        .step(|| "enter the container's namespaces".to_owned())?;
    // A frozen process answers no tracer.
    group
        .freeze(false)
        .step(|| "continue the container".to_owned())?;
    let mut command = common(criu, "dump", &criu.images);
    command.args(["--tree", &pid.to_string(), "--log-file", "dump.log"]);
    command.args(["--ghost-limit", GHOST_BYTES]);
    for mount in &kept.mounts {
        command
            .arg("--external")
            .arg(format!("mnt[{mount}]:{mount}"));
    }
    Err(run(command))
}

/// Joins the sandbox's groups, lays its mounts out and becomes `criu restore`.
pub(crate) fn become_restore(
    criu: &Criu,
    group: &SandboxGroup,
    kept: &Kept,
    filter: &Filter,
    report: &OwnedFd,
) -> ! {
    leave(report, restore(criu, group, kept, filter))
}

fn restore(criu: &Criu, group: &SandboxGroup, kept: &Kept, filter: &Filter) -> Result<(), Failure> {
    die_with_zygote()?;
    let _ = rustix::thread::set_name(c"berth-restore");
    prepare_images(&criu.images, filter, kept.id_base)?;
    group
        .make_room(&kept.limits)
        .step(|| "make room for CRIU".to_owned())?;
    group.join().step(|| "join the control groups".to_owned())?;
    let laid_out = lay_out(kept, criu)?;
    let stage = Path::new(COVERED).join(STAGE);
    for (kind, namespace) in &kept.namespaces {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(*kind))
            .step(|| "enter the container's namespaces".to_owned())?;
    }
    let mut command = common(criu, "restore", &stage.join(IMAGES));
    command.args(["--restore-detached", "--restore-sibling"]);
    command.args(["--pidfile", PID_FILE, "--log-file", "restore.log"]);
    for (mount, name) in laid_out {
        let place = stage.join(name);
        if mount == "/" {
            command.arg("--root").arg(place);
        } else {
            let place = place.display();
            command
                .arg("--external")
                .arg(format!("mnt[{mount}]:{place}"));
        }
    }
    let mut seen = Vec::new();
    for pipe in &kept.output {
        let step = || "pass output pipes on".to_owned();
        let inode = rustix::fs::fstat(pipe).step(step)?.st_ino;
        if seen.contains(&inode) {
            continue;
        }
        seen.push(inode);
        let copy = rustix::io::fcntl_dupfd_cloexec(pipe, 100).step(step)?;
        rustix::io::fcntl_setfd(&copy, FdFlags::empty()).step(step)?;
        let number = copy.as_raw_fd();
        command
            .arg("--inherit-fd")
            .arg(format!("fd[{number}]:pipe:[{inode}]"));
        // Lives until CRIU has taken it.
        std::mem::forget(copy);
    }
    Err(run(command))
}

/// Options of both. `--tcp-close`: whoever was connected has long gone, but for what the program
/// itself keeps open; that finds its connections closed.
fn common(criu: &Criu, action: &str, images: &Path) -> Command {
    let mut command = Command::new(&criu.program);
    command
        .args(["--no-default-config", action, "-v1", "--images-dir"])
        .arg(images)
        .args(["--manage-cgroups=ignore", "--tcp-close", "--ext-unix-sk"])
        .args(["--file-locks"]);
    command
}

/// Becomes CRIU; why not.
fn run(mut command: Command) -> Failure {
    // Memory is in what it writes.
    rustix::process::umask(Mode::from(0o077));
    sys::signal::reset_all();
    let program = command.get_program().to_string_lossy().into_owned();
    let error = command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .exec();
    Failure::Criu(format!("`{program}` cannot be run: {error}"))
}

/// Lets the restored processes, which are the container's root user by then, read their images, and
/// changes two of them.
fn prepare_images(images: &Path, filter: &Filter, id_base: u32) -> Result<(), Failure> {
    let path = images.join(FILTERS);
    let step = || format!("rewrite `{}`", path.display());
    let mut filters = std::fs::read(&path).step(step)?;
    if filter.silence(&mut filters) == 0 {
        return Err(Failure::Criu(
            "CRIU wrote another system call filter than the container's".to_owned(),
        ));
    }
    std::fs::write(&path, filters).step(step)?;
    match std::fs::remove_file(images.join(CLOCKS)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).step(|| "remove the image of the clocks".to_owned());
        }
        _ => {}
    }
    // A leftover would be taken for the answer.
    let _ = std::fs::remove_file(images.join(PID_FILE));
    let step = || "hand the images to the container's root user".to_owned();
    // Read before and after ids are mapped: as the owner first, then as the group.
    let hand_over = |path: &Path, mode: u32| -> std::io::Result<()> {
        let group = Some(Gid::from_raw(id_base));
        rustix::fs::chownat(
            CWD,
            path,
            None,
            group,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    for entry in std::fs::read_dir(images).step(step)? {
        hand_over(&entry.step(step)?.path(), 0o640).step(step)?;
    }
    hand_over(images, 0o750).step(step)
}

/// Copies each mount of the old namespace to a place of its own on the stage, in a mount namespace of
/// this process's own. Mount points and names on the stage.
fn lay_out(kept: &Kept, criu: &Criu) -> Result<Vec<(String, String)>, Failure> {
    let step = || "lay out the container's mounts".to_owned();
    if criu.program.starts_with(COVERED) {
        let reason = format!("CRIU may not be in `{COVERED}`, which is covered for it");
        return Err(Failure::Criu(reason));
    }
    let host = std::fs::File::open("/proc/self/ns/mnt").step(step)?;
    let enter = |namespace: BorrowedFd<'_>| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
            .step(|| "change between mount namespaces".to_owned())
    };
    enter(kept.mount_namespace.as_fd())?;
    let mut copies = vec![("/".to_owned(), copy("/")?)];
    for mount in &kept.mounts {
        copies.push((mount.clone(), copy(mount)?));
    }
    enter(host.as_fd())?;
    sys::namespace::unshare(UnshareFlags::NEWNS).step(|| "create a mount namespace".to_owned())?;
    overlay::make_private()?;
    let images = overlay::clone_tree(&criu.images)?;
    let cover = mounts::pseudo_fs("tmpfs", &[("mode", "1777")], MountAttrFlags::empty())?;
    let directory = |at: BorrowedFd<'_>, name: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(at, name, flags, Mode::empty()).step(step)
    };
    overlay::attach(&cover, &directory(CWD, COVERED)?, step)?;
    let make = |at: BorrowedFd<'_>, name: &str| {
        rustix::fs::mkdirat(at, name, Mode::from(0o755)).step(step)?;
        directory(at, name)
    };
    let stage = make(cover.as_fd(), STAGE)?;
    overlay::attach(&images, &make(stage.as_fd(), IMAGES)?, step)?;
    let mut laid_out = Vec::new();
    for (index, (mount, copy)) in copies.into_iter().enumerate() {
        let name = index.to_string();
        let stat = rustix::fs::fstat(&copy).step(step)?;
        let target = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            make(stage.as_fd(), &name)?
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&stage, &name, flags, Mode::from(0o644)).step(step)?
        };
        overlay::attach(&copy, &target, step)?;
        laid_out.push((mount, name));
    }
    Ok(laid_out)
}

/// A detached copy of the mount at this path of the container's, without what is mounted below it.
fn copy(path: &str) -> Result<OwnedFd, Failure> {
    let step = || format!("copy the mount `{path}`");
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = loop {
        match rustix::fs::openat2(CWD, path, flags, Mode::empty(), links) {
            Err(Errno::AGAIN) => {}
            other => break other.step(step)?,
        }
    };
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(found, "", clone).step(step)
}
