//! A small compiler from verdicts to classic BPF: a binary search instead of a list of comparisons.
//!
//! The kernel interprets a new filter once for every system call number to learn which it allows
//! unconditionally. For a list of 310 comparisons that took 2 ms of every start of a container; the
//! search takes some microseconds, and the calls whose arguments are looked at are quicker too.

/// One instruction, in the kernel's layout (`struct sock_filter`).
pub(crate) type Instruction = libc::sock_filter;

const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Low half of the first argument on a little-endian machine.
const FIRST_ARGUMENT: u32 = 16;

/// `SECCOMP_RET_USER_NOTIF`.
const USER_NOTIF: u32 = 0x7fc0_0000;
/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;

/// What happens to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It fails.
    Errno(i32),
    /// The zygote answers it.
    Notify,
    /// The whole process is killed.
    Kill,
    /// By the low half of the first argument: (from this value on, verdict), ascending from 0.
    Argument(Vec<(u32, Verdict)>),
    /// `Allow` if the first argument has none of these bits, else `EPERM`.
    Without(u32),
}

/// Compiles a filter for one architecture: `calls` are (from this number on, verdict), ascending
/// from 0. Calls of other architectures kill the process.
pub(super) fn compile(architecture: u32, calls: &[(u32, Verdict)]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 0, 0, ARCHITECTURE),
        instruction(JUMP_IF_EQUAL, 1, 0, architecture),
    ];
    program.extend(verdict(&Verdict::Kill));
    program.push(instruction(LOAD_WORD, 0, 0, NUMBER));
    program.extend(search(calls));
    program
}

/// The same program, but that it allows what it notified of; of the same length.
pub(super) fn silenced(program: &[Instruction]) -> Vec<Instruction> {
    let silence = |instruction: &Instruction| {
        let mut instruction = *instruction;
        if instruction.code == RETURN && instruction.k == USER_NOTIF {
            instruction.k = ALLOW;
        }
        instruction
    };
    program.iter().map(silence).collect()
}

/// Code that finds the accumulator's run.
fn search(runs: &[(u32, Verdict)]) -> Vec<Instruction> {
    match runs {
        [] => verdict(&Verdict::Kill),
        [(_, only)] => verdict(only),
        _ => {
            let (left, right) = runs.split_at(runs.len() / 2);
            let boundary = right.first().map_or(0, |(start, _)| *start);
            let left = search(left);
            let right = search(right);
            let mut code = match u8::try_from(left.len()) {
                Ok(skip) => vec![instruction(JUMP_IF_AT_LEAST, skip, 0, boundary)],
                // Too far for a conditional jump.
                Err(_) => vec![
                    instruction(JUMP_IF_AT_LEAST, 0, 1, boundary),
                    instruction(JUMP, 0, 0, u32::try_from(left.len()).unwrap_or(u32::MAX)),
                ],
            };
            code.extend(left);
            code.extend(right);
            code
        }
    }
}

fn verdict(verdict: &Verdict) -> Vec<Instruction> {
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ERRNO: u32 = 0x0005_0000;
    let end = |value| vec![instruction(RETURN, 0, 0, value)];
    match verdict {
        Verdict::Allow => end(ALLOW),
        Verdict::Errno(errno) => end(ERRNO | (errno.cast_unsigned() & 0xffff)),
        Verdict::Notify => end(USER_NOTIF),
        Verdict::Kill => end(KILL_PROCESS),
        Verdict::Argument(runs) => {
            let mut code = vec![instruction(LOAD_WORD, 0, 0, FIRST_ARGUMENT)];
            code.extend(search(runs));
            code
        }
        Verdict::Without(bits) => vec![
            instruction(LOAD_WORD, 0, 0, FIRST_ARGUMENT),
            instruction(AND, 0, 0, *bits),
            instruction(JUMP_IF_EQUAL, 0, 1, 0),
            instruction(RETURN, 0, 0, ALLOW),
            instruction(RETURN, 0, 0, ERRNO | libc::EPERM.cast_unsigned()),
        ],
    }
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
pub(super) mod interpreter {
    //! The part of classic BPF that the compiler emits, interpreted; a second opinion.

    use super::*;

    /// The program's return value for a call.
    pub(in crate::seccomp) fn run(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        argument: u64,
    ) -> u32 {
        let mut data = [0_u8; 64];
        data[0..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&architecture.to_le_bytes());
        data[16..24].copy_from_slice(&argument.to_le_bytes());
        let (mut accumulator, mut at) = (0_u32, 0_usize);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let take = |condition: bool| usize::from(if condition { jt } else { jf });
            match code {
                LOAD_WORD => {
                    let word = &data[k as usize..k as usize + 4];
                    accumulator = u32::from_le_bytes(word.try_into().unwrap());
                }
                AND => accumulator &= k,
                JUMP => at += k as usize,
                JUMP_IF_EQUAL => at += take(accumulator == k),
                JUMP_IF_AT_LEAST => at += take(accumulator >= k),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Verdict, compile, interpreter};

    proptest! {
        #[test]
        fn the_search_finds_the_run_of_every_number(
            starts in proptest::collection::btree_set(1_u32..1000, 0..400),
            number in 0_u32..1100,
        ) {
            let mut runs = vec![(0, Verdict::Errno(0))];
            for (index, start) in starts.iter().enumerate() {
                runs.push((*start, Verdict::Errno(i32::try_from(index).unwrap() + 1)));
            }
            let expected = starts.iter().filter(|start| **start <= number).count();
            let program = compile(7, &runs);
            let result = interpreter::run(&program, 7, number, 0);
            prop_assert_eq!(result, 0x0005_0000 | u32::try_from(expected).unwrap());
            prop_assert_eq!(interpreter::run(&program, 8, number, 0), 0x8000_0000);
        }
    }
}
