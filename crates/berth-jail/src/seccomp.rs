//! The seccomp filter of a sandbox: what it may call, and how the zygote learns of `listen`.
//!
//! Owner: the zygote compiles it once; every child installs it last. Invariant: nothing but
//! `listen` is answered with a notification, so that a busy zygote can delay `listen` and nothing
//! else.

mod profile;
mod program;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::error::{Failure, Step as _};
use crate::protocol::Report;
use crate::{packet, sys};
pub(crate) use program::Instruction;
use program::Verdict;

/// `AUDIT_ARCH_X86_64`; also what x32 calls report, whose numbers have a bit that no allowed call
/// has.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64`.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The compiled filter.
#[derive(Clone)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    /// For sandboxes that may mount.
    mounting: Vec<Instruction>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Filter")
            .field("instructions", &self.program.len())
            .finish()
    }
}

impl Filter {
    /// Compiles the filter for this machine.
    pub(crate) fn compile() -> Self {
        let usual = verdicts();
        let mut mounting = usual.clone();
        for call in profile::MOUNTING {
            mounting.insert(u32::try_from(*call).unwrap_or(u32::MAX), Verdict::Allow);
        }
        let compile = |verdicts| program::compile(ARCHITECTURE, &runs(verdicts, 0));
        Self {
            program: compile(&usual),
            mounting: compile(&mounting),
        }
    }

    /// Installs it on the calling process and hands the listener to the zygote. Needs CAP_SYS_ADMIN
    /// in the process's user namespace, or `no_new_privs`.
    pub(crate) fn install(&self, report: BorrowedFd<'_>, mounting: bool) -> Result<(), Failure> {
        let program = if mounting {
            &self.mounting
        } else {
            &self.program
        };
        let listener =
            sys::seccomp::install(program).step(|| "install the seccomp filter".to_owned())?;
        packet::send(report, &Report::Listener, &[listener.as_fd()])
            .step(|| "hand over the listen notification".to_owned())
    }

    /// In an image of CRIU's: makes every copy of this filter allow `listen`. Nobody could answer its
    /// notifications after the process is restored, and then `listen` would fail. How many copies
    /// there are that allow it now.
    pub(crate) fn silence(&self, image: &mut [u8]) -> usize {
        let quiet = bytes(&program::silenced(&self.program));
        let noisy = bytes(&self.program);
        let mut copies = 0;
        let mut at = 0;
        while let Some(window) = image.get_mut(at..at + quiet.len()) {
            if window == noisy {
                window.copy_from_slice(&quiet);
            }
            if window == quiet {
                copies += 1;
                at += quiet.len();
            } else {
                at += 1;
            }
        }
        copies
    }
}

/// As in memory, which is how CRIU writes them.
fn bytes(program: &[Instruction]) -> Vec<u8> {
    let one = |instruction: &Instruction| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&instruction.code.to_ne_bytes());
        bytes[2] = instruction.jt;
        bytes[3] = instruction.jf;
        bytes[4..].copy_from_slice(&instruction.k.to_ne_bytes());
        bytes
    };
    program.iter().flat_map(one).collect()
}

/// What is not `EPERM`.
fn verdicts() -> BTreeMap<u32, Verdict> {
    let always = [
        profile::ALLOWED,
        profile::ALLOWED_RECENT,
        profile::ALLOWED_HERE,
    ];
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut verdicts: BTreeMap<u32, Verdict> = always
        .into_iter()
        .flatten()
        .map(|call| (number(*call), Verdict::Allow))
        .collect();
    let among = |values: &mut dyn Iterator<Item = u32>| {
        let allowed = values.map(|value| (value, Verdict::Allow)).collect();
        Verdict::Argument(runs(&allowed, 0))
    };
    let mut domains = (0..profile::SOCKET_DOMAINS_BELOW).chain(profile::SOCKET_DOMAINS);
    let mut personalities = profile::PERSONALITIES.into_iter();
    verdicts.extend([
        (number(libc::SYS_socket), among(&mut domains)),
        (number(libc::SYS_personality), among(&mut personalities)),
        (
            number(libc::SYS_clone),
            Verdict::Without(profile::CLONE_NAMESPACES),
        ),
        // Its flags are in memory, out of a filter's reach; libcs fall back to `clone`.
        (number(libc::SYS_clone3), Verdict::Errno(libc::ENOSYS)),
        (number(libc::SYS_listen), Verdict::Notify),
    ]);
    verdicts
}

/// Runs of equal verdicts from `start` on, `EPERM` where there is none.
fn runs(verdicts: &BTreeMap<u32, Verdict>, start: u32) -> Vec<(u32, Verdict)> {
    let mut runs: Vec<(u32, Verdict)> = vec![(start, Verdict::Errno(libc::EPERM))];
    let mut push = |from: u32, verdict: &Verdict| match runs.last_mut() {
        Some((_, last)) if last == verdict => {}
        Some((last_from, last)) if *last_from == from => *last = verdict.clone(),
        _ => runs.push((from, verdict.clone())),
    };
    for (value, verdict) in verdicts {
        push(*value, verdict);
        if let Some(next) = value.checked_add(1)
            && !verdicts.contains_key(&next)
        {
            push(next, &Verdict::Errno(libc::EPERM));
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::program::interpreter;
    use super::{ARCHITECTURE, Filter, profile};

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    const NOTIFY: u32 = 0x7fc0_0000;
    const KILL: u32 = 0x8000_0000;

    fn run(number: libc::c_long, argument: u64) -> u32 {
        let number = u32::try_from(number).unwrap();
        interpreter::run(&Filter::compile().program, ARCHITECTURE, number, argument)
    }

    #[test]
    fn every_number_has_the_profile_s_verdict() {
        let program = Filter::compile().program;
        assert!(program.len() < 400, "{}", program.len());
        let allowed: Vec<libc::c_long> = [
            profile::ALLOWED,
            profile::ALLOWED_RECENT,
            profile::ALLOWED_HERE,
        ]
        .concat();
        for number in 0..1024 {
            let expected = match number {
                libc::SYS_listen => NOTIFY,
                libc::SYS_clone3 => ENOSYS,
                // Allowed with these arguments: AF_UNSPEC, PER_LINUX, no flags.
                libc::SYS_socket | libc::SYS_personality | libc::SYS_clone => ALLOW,
                number if allowed.contains(&number) => ALLOW,
                _ => EPERM,
            };
            let number = u32::try_from(number).unwrap();
            let result = interpreter::run(&program, ARCHITECTURE, number, 0);
            assert_eq!(result, expected, "system call {number}");
            let x32 = number | 0x4000_0000;
            assert_eq!(interpreter::run(&program, ARCHITECTURE, x32, 0), EPERM);
            let i386 = interpreter::run(&program, 0x4000_0003, number, 0);
            assert_eq!(i386, KILL);
        }
    }

    #[test]
    fn who_may_mount_may_nothing_else() {
        let filter = Filter::compile();
        for number in 0..1024 {
            let run = |program| interpreter::run(program, ARCHITECTURE, number, 0);
            let expected = if profile::MOUNTING.contains(&libc::c_long::from(number)) {
                ALLOW
            } else {
                run(&filter.program)
            };
            assert_eq!(run(&filter.mounting), expected, "system call {number}");
        }
    }

    #[test]
    fn a_filter_in_an_image_stops_notifying_and_nothing_else() {
        let filter = Filter::compile();
        let program = super::bytes(&filter.program);
        let before = [b"head".as_slice(), &program, b"-", &program, b"tail"].concat();
        let mut image = before.clone();
        assert_eq!(filter.silence(&mut image), 2);
        let changed = before.iter().zip(&image).filter(|(old, new)| old != new);
        // One byte differs between the two verdicts, in each of two copies.
        assert_eq!(changed.count(), 2);
        assert_eq!(
            filter.silence(&mut image),
            2,
            "a second image of the same process"
        );
        let quiet = super::program::silenced(&filter.program);
        for number in 0..1024 {
            let before = interpreter::run(&filter.program, ARCHITECTURE, number, 0);
            let after = interpreter::run(&quiet, ARCHITECTURE, number, 0);
            let expected = if before == NOTIFY { ALLOW } else { before };
            assert_eq!(after, expected, "system call {number}");
        }
        assert_eq!(filter.silence(&mut b"no filter".to_vec()), 0);
    }

    #[test]
    fn arguments_are_looked_at() {
        for (domain, expected) in [
            (1, ALLOW),
            (2, ALLOW),
            (10, ALLOW),
            (16, ALLOW),
            (17, ALLOW),
        ] {
            assert_eq!(run(libc::SYS_socket, domain), expected, "domain {domain}");
        }
        for domain in [12, 38, 40, 46, 0xffff_ffff] {
            assert_eq!(run(libc::SYS_socket, domain), EPERM, "domain {domain}");
        }
        // The kernel ignores the argument's high half, and so must the filter.
        assert_eq!(run(libc::SYS_socket, 0x1_0000_0028), EPERM);
        for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            assert_eq!(run(libc::SYS_personality, value), ALLOW, "{value:#x}");
        }
        for value in [1, 9, 0x4_0000, 0x2_0001, 0x2_0009, 0xffff_fffe] {
            assert_eq!(run(libc::SYS_personality, value), EPERM, "{value:#x}");
        }
        let namespaces = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWCGROUP,
        ];
        for flag in namespaces {
            let flags = u64::from(flag.cast_unsigned()) | 17;
            assert_eq!(run(libc::SYS_clone, flags), EPERM, "{flag:#x}");
        }
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD;
        let flags = u64::from(thread.cast_unsigned());
        assert_eq!(run(libc::SYS_clone, flags), ALLOW);
    }
}
