//! User namespaces: one per id range, made by a short-lived helper and kept as a descriptor.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::sys::{self, clone::Fork};

/// Container ids 0 to this are mapped.
pub(super) const MAPPED_IDS: u32 = 65_536;
/// Ranges remembered although no sandbox uses them.
const REMEMBERED: usize = 64;

/// The namespaces made so far.
#[derive(Debug, Default)]
pub(crate) struct UserNamespaces {
    by_base: HashMap<u32, Rc<OwnedFd>>,
}

impl UserNamespaces {
    /// The namespace that maps container ids 0..65536 to host ids from `id_base` on.
    pub(crate) fn get(&mut self, id_base: u32) -> io::Result<Rc<OwnedFd>> {
        if let Some(found) = self.by_base.get(&id_base) {
            return Ok(Rc::clone(found));
        }
        if self.by_base.len() >= REMEMBERED {
            self.by_base
                .retain(|_, namespace| Rc::strong_count(namespace) > 1);
        }
        let made = Rc::new(create(id_base)?);
        self.by_base.insert(id_base, Rc::clone(&made));
        Ok(made)
    }
}

fn create(id_base: u32) -> io::Result<OwnedFd> {
    // Host root (and its neighbours, the host's own users) must never be inside a container.
    if id_base < MAPPED_IDS || id_base.checked_add(MAPPED_IDS).is_none() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    match sys::clone::fork(libc::CLONE_NEWUSER)? {
        Fork::Child => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            loop {
                rustix::event::pause();
            }
        }
        Fork::Parent { pid, pidfd } => {
            let made = map(pid.as_raw_nonzero().get(), id_base);
            sys::signal::send(&pidfd, libc::SIGKILL)?;
            use std::os::fd::AsFd as _;
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            made
        }
    }
}

fn map(pid: i32, id_base: u32) -> io::Result<OwnedFd> {
    let mapping = format!("0 {id_base} {MAPPED_IDS}");
    std::fs::write(format!("/proc/{pid}/uid_map"), &mapping)?;
    std::fs::write(format!("/proc/{pid}/gid_map"), &mapping)?;
    Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
}
