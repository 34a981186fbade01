//! The seccomp filters of a sandbox: what it may call, and how the zygote learns of `listen`.
//!
//! Owner: the zygote compiles them once; every child installs them last. Invariant: the notifying
//! filter answers nothing but `listen` with a notification, so that a busy zygote can delay
//! `listen` and nothing else.

mod profile;

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use crate::error::Failure;
use crate::protocol::Report;
use crate::{packet, sys};

/// The compiled filters.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    /// The allow-list: other calls fail with `EPERM`, foreign architectures are killed.
    allow: BpfProgram,
    /// `clone3` fails with `ENOSYS`: its flags are in memory, out of a filter's reach, and libcs
    /// fall back to `clone`, whose flags the allow-list checks.
    clone3: BpfProgram,
    /// `listen` notifies.
    listen: Vec<sock_filter>,
}

impl Filters {
    /// Compiles the filters for this machine.
    pub(crate) fn compile() -> Result<Self, BackendError> {
        let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
        let allow = SeccompFilter::new(
            rules()?,
            SeccompAction::Errno(libc::EPERM.cast_unsigned()),
            SeccompAction::Allow,
            architecture,
        )?;
        let clone3 = SeccompFilter::new(
            BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
            architecture,
        )?;
        Ok(Self {
            allow: allow.try_into()?,
            clone3: clone3.try_into()?,
            listen: listen_program(),
        })
    }

    /// Installs all of them on the calling process and hands the listener to the zygote. Needs
    /// CAP_SYS_ADMIN in the process's user namespace, or `no_new_privs`.
    pub(crate) fn install(&self, report: std::os::fd::BorrowedFd<'_>) -> Result<(), Failure> {
        use std::os::fd::AsFd as _;

        use crate::error::Step as _;
        let listener = sys::seccomp::add_notifying_filter(&self.listen)
            .step(|| "install the listen notification".to_owned())?;
        packet::send(report, &Report::Listener, &[listener.as_fd()])
            .step(|| "hand over the listen notification".to_owned())?;
        sys::seccomp::add_filter(&self.allow).step(|| "install the seccomp profile".to_owned())?;
        // The newest filter's error number wins over the allow-list's.
        sys::seccomp::add_filter(&self.clone3).step(|| "install the seccomp profile".to_owned())
    }
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let always = [
        profile::ALLOWED,
        profile::ALLOWED_RECENT,
        profile::ALLOWED_HERE,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always
        .into_iter()
        .flatten()
        .map(|number| (*number, Vec::new()))
        .collect();
    let first_argument = |operator, value| -> Result<SeccompRule, BackendError> {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    let mut socket = vec![first_argument(
        SeccompCmpOp::Lt,
        profile::SOCKET_DOMAINS_BELOW,
    )?];
    for domain in profile::SOCKET_DOMAINS {
        socket.push(first_argument(SeccompCmpOp::Eq, domain)?);
    }
    rules.insert(libc::SYS_socket, socket);
    let mut personality = Vec::new();
    for value in profile::PERSONALITIES {
        personality.push(first_argument(SeccompCmpOp::Eq, value)?);
    }
    rules.insert(libc::SYS_personality, personality);
    let no_namespaces = SeccompCmpOp::MaskedEq(profile::CLONE_NAMESPACES);
    rules.insert(libc::SYS_clone, vec![first_argument(no_namespaces, 0)?]);
    // Answered by the filter in front; must not be EPERM here, as the strictest verdict wins.
    rules.insert(libc::SYS_clone3, Vec::new());
    Ok(rules)
}

/// `if arch == native && nr == listen { USER_NOTIF } else { ALLOW }`.
fn listen_program() -> Vec<sock_filter> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const USER_NOTIF: u32 = 0x7fc0_0000;
    const ALLOW: u32 = 0x7fff_0000;
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xc000_00b7;
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let listen = u32::try_from(libc::SYS_listen).unwrap_or(u32::MAX);
    vec![
        // seccomp_data.arch is at offset 4, .nr at offset 0.
        instruction(LOAD_WORD, 0, 0, 4),
        instruction(JUMP_IF_EQUAL, 0, 3, ARCHITECTURE),
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 0, 1, listen),
        instruction(RETURN, 0, 0, USER_NOTIF),
        instruction(RETURN, 0, 0, ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::Filters;

    #[test]
    fn the_profile_compiles_and_fits_the_kernel_limit() {
        let filters = Filters::compile().unwrap();
        assert!(filters.allow.len() > 300 && filters.allow.len() < 4096);
        assert!(filters.clone3.len() < 32);
    }
}
