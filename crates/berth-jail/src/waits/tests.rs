use super::*;

/// Encodes by hand, so that nothing is taken from what is tested.
#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(0x80 | (value & 0x7f) as u8);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    fn message(self, field: u64, message: &Self) -> Self {
        let mut out = self.varint(field << 3 | 2).varint(message.0.len() as u64);
        out.0.extend(&message.0);
        out
    }
}

const INSTRUCTION: u64 = 0x40_1000;
const STACK: u64 = 0x7fff_0000_1000;
const EINTR: u64 = (-4_i64).cast_unsigned();

fn image(call: u64, result: u64, signal: bool) -> Vec<u8> {
    image_at(call, result, signal, INSTRUCTION)
}

fn image_at(call: u64, result: u64, signal: bool, instruction: u64) -> Vec<u8> {
    let mut registers = Encoder::default();
    for field in 1..=27 {
        let value = match field {
            8 => 4,
            11 => result,
            13 => 3,
            14 => 2,
            15 => 1,
            16 => call,
            17 => instruction,
            20 => STACK,
            other => other << 40,
        };
        registers = registers.number(field, value);
    }
    registers = registers.number(28, 1);
    let info = Encoder::default().number(1, 7).message(2, &registers);
    let siginfo = Encoder::default().message(1, &Encoder(vec![0; 128]));
    let mut queue = Encoder::default();
    if signal {
        queue = queue.message(1, &siginfo);
    }
    let thread = Encoder::default().number(1, 9).message(9, &queue);
    let core = Encoder::default()
        .number(1, 1)
        .message(2, &info)
        .message(5, &thread);
    let mut image = Vec::new();
    for word in [0x5456_4319_u32, 0x5505_3847, core.0.len() as u32] {
        image.extend(word.to_le_bytes());
    }
    image.extend(&core.0);
    // What an incremental parser may find behind it.
    image.extend([0xff; 3]);
    image
}

fn waits(call: i64) -> Waits {
    let line = format!("{call} 0x1 0x2 0x3 0x4 0x0 0x0 {STACK:#x} {INSTRUCTION:#x}\n");
    let wait = parse(&line).unwrap();
    Waits {
        threads: HashMap::from([(7, wait)]),
    }
}

/// What becomes of the image of thread 7: the call's number, result and instruction if it was changed.
fn resumed(waits: &Waits, image: &[u8]) -> Option<(u64, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("core-7.img");
    std::fs::write(&path, image).unwrap();
    std::fs::write(dir.path().join("pages-1.img"), "core").unwrap();
    let count = waits.resume(dir.path()).unwrap();
    let after = std::fs::read(path).unwrap();
    assert_eq!(after.len(), image.len(), "bytes moved");
    let changed: Vec<usize> = (0..image.len())
        .filter(|at| image[*at] != after[*at])
        .collect();
    assert_eq!(count, usize::from(!changed.is_empty()));
    if changed.is_empty() {
        return None;
    }
    assert!(changed.len() <= 13, "two registers: {changed:?}");
    // Decoded by length alone: everything is where it was.
    let core = image::Core::find(&after).unwrap();
    assert!(core.interrupted_wait().is_none());
    Some(core.registers())
}

#[test]
fn an_interrupted_wait_begins_again() {
    for call in [libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_nanosleep] {
        let image = image(call.cast_unsigned(), EINTR, false);
        let expected = Some((call.cast_unsigned(), INSTRUCTION - 2));
        assert_eq!(resumed(&Waits::default(), &image), expected, "{call}");
    }
}

#[test]
fn a_continued_wait_is_known_from_the_freezing() {
    let image = image(RESTART, EINTR, false);
    let waits = waits(libc::SYS_poll);
    let expected = Some((libc::SYS_poll.cast_unsigned(), INSTRUCTION - 2));
    assert_eq!(resumed(&waits, &image), expected);
    assert_eq!(resumed(&Waits::default(), &image), None, "nobody knows");
    let elsewhere = image_at(RESTART, EINTR, false, INSTRUCTION + 32);
    assert_eq!(resumed(&waits, &elsewhere), None, "another wait");
}

#[test]
fn an_instruction_may_be_written_shorter() {
    let image = image_at(libc::SYS_poll.cast_unsigned(), EINTR, false, 0x4001);
    let expected = Some((libc::SYS_poll.cast_unsigned(), 0x3fff));
    assert_eq!(resumed(&Waits::default(), &image), expected);
}

#[test]
fn what_the_program_must_see_stays() {
    let poll = libc::SYS_poll.cast_unsigned();
    let none = Waits::default();
    assert_eq!(resumed(&none, &image(poll, 1, false)), None, "a result");
    assert_eq!(resumed(&none, &image(poll, EINTR, true)), None, "a signal");
    let in_no_call = image(u64::MAX, EINTR, false);
    assert_eq!(resumed(&none, &in_no_call), None, "in no call");
    let read = image(libc::SYS_read.cast_unsigned(), EINTR, false);
    assert_eq!(resumed(&none, &read), None, "not a wait");
    let known_read = waits(libc::SYS_read);
    let continued = image(RESTART, EINTR, false);
    assert_eq!(resumed(&known_read, &continued), None, "not a wait");
}

#[test]
fn a_damaged_image_is_left_alone() {
    let whole = image(libc::SYS_poll.cast_unsigned(), EINTR, false);
    let behind = 3;
    for length in 0..whole.len() - behind {
        assert_eq!(
            resumed(&Waits::default(), &whole[..length]),
            None,
            "{length}"
        );
    }
    let mut other = whole.clone();
    other[4] ^= 1;
    assert_eq!(resumed(&Waits::default(), &other), None, "another kind");
}

#[test]
fn this_very_thread_is_seen() {
    use std::sync::mpsc;
    let (number, got) = mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        number.send(rustix::thread::gettid()).unwrap();
        std::thread::park();
    });
    let thread = got.recv().unwrap().as_raw_nonzero().get();
    let task = format!("/proc/self/task/{thread}");
    let wait = loop {
        // Running until it is parked.
        if let Some((_, wait)) = look(Path::new(&task)) {
            break wait;
        }
        std::thread::yield_now();
    };
    assert_eq!(wait.call, libc::SYS_futex.cast_unsigned());
    sleeper.thread().unpark();
    sleeper.join().unwrap();
    assert_eq!(parse("running\n"), None);
    assert_eq!(parse("-1 0x7ffd 0x7f00\n"), None);
}
