//! The registers in CRIU's image of a thread (`core-<number>.img`): found, and changed in place.
//!
//! An image is two magic numbers, the length of a message, and the message, in Protocol Buffers'
//! encoding (CRIU's `images/core.proto`, `images/core-x86.proto`). What is not looked for is not
//! understood and stays as it is.

use super::{Thread, Wait};

/// The magic numbers and the length, each four bytes.
const HEADER: usize = 12;
/// Of every image, and of a thread's (CRIU's `criu/include/magic.h`), as they are in the file.
const MAGIC: [u32; 2] = [0x5456_4319, 0x5505_3847];
/// What a call returned that CRIU could not keep.
const INTERRUPTED: u64 = (-(libc::EINTR as i64)).cast_unsigned();
/// Bytes of the instruction `syscall`.
const CALL_BYTES: u64 = 2;
/// `user_x86_regs_mode`: a 64-bit program.
const NATIVE: u64 = 1;

/// Fields of `core_entry`, of `thread_info_x86`, of `task_core_entry` and `thread_core_entry`, of
/// `signal_queue_entry`.
mod field {
    pub(super) const THREAD_INFO: u64 = 2;
    pub(super) const TASK: u64 = 3;
    pub(super) const THREAD: u64 = 5;
    pub(super) const REGISTERS: u64 = 2;
    pub(super) const SHARED_SIGNALS: u64 = 10;
    pub(super) const SIGNALS: u64 = 9;
    pub(super) const SIGNAL: u64 = 1;
}

/// Fields of `user_x86_regs_entry`.
mod register {
    pub(super) const R10: u64 = 8;
    pub(super) const AX: u64 = 11;
    pub(super) const DX: u64 = 13;
    pub(super) const SI: u64 = 14;
    pub(super) const DI: u64 = 15;
    pub(super) const ORIG_AX: u64 = 16;
    pub(super) const IP: u64 = 17;
    pub(super) const SP: u64 = 20;
    pub(super) const MODE: u64 = 28;
}

/// The number of the thread that the file of this name is an image of.
pub(super) fn thread(file: &str) -> Option<Thread> {
    file.strip_prefix("core-")?
        .strip_suffix(".img")?
        .parse()
        .ok()
}

/// A number in an image.
#[derive(Clone, Copy, Debug)]
struct Number {
    value: u64,
    at: usize,
    /// One past its last byte.
    end: usize,
}

/// What an image says about a thread.
#[derive(Debug)]
pub(super) struct Core {
    wait: Wait,
    result: Number,
    instruction: Number,
    native: bool,
    signals: bool,
}

impl Core {
    /// `None`: not an image of a thread of this architecture, or damaged.
    pub(super) fn find(image: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
        if [word(0)?, word(4)?] != MAGIC {
            return None;
        }
        let end = HEADER.checked_add(usize::try_from(word(8)?).ok()?)?;
        let core = Message::new(image, HEADER, end)?;
        let registers = core
            .message(field::THREAD_INFO)?
            .message(field::REGISTERS)?;
        let number = |name: u64| registers.number(name);
        let value = |name: u64| Some(number(name)?.value);
        let pending = |part: u64, queue: u64| {
            let queue = core.message(part).and_then(|part| part.message(queue));
            queue.is_some_and(|queue| queue.find(field::SIGNAL).is_some())
        };
        let instruction = number(register::IP)?;
        Some(Self {
            wait: Wait {
                call: value(register::ORIG_AX)?,
                arguments: [
                    value(register::DI)?,
                    value(register::SI)?,
                    value(register::DX)?,
                    value(register::R10)?,
                ],
                stack: value(register::SP)?,
                instruction: instruction.value,
            },
            result: number(register::AX)?,
            instruction,
            native: value(register::MODE).is_none_or(|mode| mode == NATIVE),
            signals: pending(field::THREAD, field::SIGNALS)
                || pending(field::TASK, field::SHARED_SIGNALS),
        })
    }

    /// The call that was interrupted by nothing but CRIU.
    pub(super) fn interrupted_wait(&self) -> Option<Wait> {
        let interrupted = self.native && !self.signals && self.result.value == INTERRUPTED;
        interrupted.then_some(self.wait)
    }

    /// Result and instruction.
    #[cfg(test)]
    pub(super) fn registers(&self) -> (u64, u64) {
        (self.result.value, self.instruction.value)
    }

    /// Sets the registers back to before the call, and its number to this. `false`: it does not fit in
    /// place.
    pub(super) fn begin_again(&self, image: &mut [u8], call: u64) -> bool {
        let Some(instruction) = self.instruction.value.checked_sub(CALL_BYTES) else {
            return false;
        };
        let fits = |number: &Number, value: u64| bytes_of(value) <= number.end - number.at;
        if !fits(&self.result, call) || !fits(&self.instruction, instruction) {
            return false;
        }
        put(image, &self.result, call);
        put(image, &self.instruction, instruction);
        true
    }
}

/// Bytes that a number needs, of seven bits each.
fn bytes_of(value: u64) -> usize {
    let bits = usize::try_from(u64::BITS - value.leading_zeros()).unwrap_or(64);
    bits.div_ceil(7).max(1)
}

/// Writes `value` over a number that is at least as long: what is left is filled with zeros that
/// count for nothing.
fn put(image: &mut [u8], number: &Number, value: u64) {
    let Some(place) = image.get_mut(number.at..number.end) else {
        return;
    };
    let mut left = value;
    let last = place.len().saturating_sub(1);
    for (index, byte) in place.iter_mut().enumerate() {
        let more = if index < last { 0x80 } else { 0 };
        *byte = u8::try_from(left & 0x7f).unwrap_or(0) | more;
        left >>= 7;
    }
}

/// A message inside an image.
#[derive(Clone, Copy)]
struct Message<'a> {
    image: &'a [u8],
    at: usize,
    end: usize,
}

/// A field's value.
#[derive(Clone, Copy)]
enum Value {
    Number(Number),
    Bytes { at: usize, end: usize },
    Other,
}

impl<'a> Message<'a> {
    fn new(image: &'a [u8], at: usize, end: usize) -> Option<Self> {
        (at <= end && end <= image.len()).then_some(Self { image, at, end })
    }

    /// The first field of this number.
    fn find(&self, wanted: u64) -> Option<Value> {
        let mut at = self.at;
        while at < self.end {
            let tag = self.varint(at)?;
            let (value, next) = self.value(tag.value & 7, tag.end)?;
            if tag.value >> 3 == wanted {
                return Some(value);
            }
            at = next;
        }
        None
    }

    fn number(&self, wanted: u64) -> Option<Number> {
        match self.find(wanted)? {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn message(&self, wanted: u64) -> Option<Self> {
        match self.find(wanted)? {
            Value::Bytes { at, end } => Self::new(self.image, at, end),
            _ => None,
        }
    }

    /// The value of this kind that begins at `at`, and where the next field begins.
    fn value(&self, kind: u64, at: usize) -> Option<(Value, usize)> {
        let (value, next) = match kind {
            0 => {
                let number = self.varint(at)?;
                (Value::Number(number), number.end)
            }
            1 => (Value::Other, at.checked_add(8)?),
            2 => {
                let length = self.varint(at)?;
                let end = length
                    .end
                    .checked_add(usize::try_from(length.value).ok()?)?;
                let at = length.end;
                (Value::Bytes { at, end }, end)
            }
            5 => (Value::Other, at.checked_add(4)?),
            _ => return None,
        };
        (next <= self.end).then_some((value, next))
    }

    fn varint(&self, at: usize) -> Option<Number> {
        let mut value = 0_u64;
        for (index, byte) in self.image.get(at..self.end)?.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let end = at + index + 1;
                return Some(Number { value, at, end });
            }
        }
        None
    }
}
