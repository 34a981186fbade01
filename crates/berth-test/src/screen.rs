//! A program on a terminal of its own, and what a person sees there.

use std::fs::File;
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::PATIENCE;
use crate::terminal::Terminal;
use crate::tree::Tree;

/// Lines that are kept after they have left the screen.
const SCROLLBACK: usize = 1000;

/// A program whose standard input, output and error are one terminal. Killed when dropped.
#[derive(Debug)]
pub struct Screen {
    child: Child,
    _tree: Tree,
    keys: Terminal,
    seen: Arc<Seen>,
    reader: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("frames", &self.frames.last())
            .finish_non_exhaustive()
    }
}

struct State {
    terminal: vt100::Parser,
    frames: Vec<Frame>,
    ended: bool,
}

/// What was on the screen at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Rows that are not empty, without the blanks at their ends.
    pub rows: Vec<String>,
    /// Those that go on in the next one, because they are too long.
    pub wrapped: Vec<String>,
}

/// What is left of a program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All that was to be seen, one after the other.
    pub frames: Vec<Frame>,
    /// Rows that had left the screen, and those that were on it in the end.
    pub rows: Vec<String>,
}

impl Screen {
    /// Starts a program on a terminal of so many rows and columns.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let (keys, slave) = Terminal::open();
        keys.resize(rows, columns);
        let side = || Stdio::from(slave.try_clone().expect("copy a descriptor"));
        command.stdin(side()).stdout(side()).stderr(side());
        command.env("TERM", "xterm");
        let tree = Tree::of(&mut command);
        let child = command.spawn().expect("start the program");
        // Otherwise this process keeps the terminal open.
        drop(command);
        drop(slave);
        let seen = Arc::new(Seen {
            state: Mutex::new(State {
                terminal: vt100::Parser::new(rows, columns, SCROLLBACK),
                frames: Vec::new(),
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let (master, watched) = (keys.output(), Arc::clone(&seen));
        let reader = std::thread::spawn(move || watched.watch(master));
        Self {
            child,
            _tree: tree,
            keys,
            seen,
            reader: Some(reader),
        }
    }

    /// Types these characters.
    pub fn press(&mut self, keys: &str) {
        self.keys.press(keys);
    }

    /// Gives the terminal another size, and tells the program, which may not be the terminal's own.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        use rustix::process::{Pid, Signal, kill_process};
        self.keys.resize(rows, columns);
        let mut state = self.seen.state.lock().expect("the terminal's reader");
        state.terminal.screen_mut().set_size(rows, columns);
        drop(state);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), Signal::WINCH).expect("tell the program");
    }

    /// Waits until this text is on the screen.
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.seen.state.lock().expect("the terminal's reader");
        loop {
            let now = Frame::of(state.terminal.screen());
            if now.rows.iter().any(|row| row.contains(text)) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !state.ended, "no `{text}` in {now:#?}");
            let waited = self.seen.changed.wait_timeout(state, left);
            state = waited.expect("the terminal's reader").0;
        }
    }

    /// Waits until the program has ended.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for the program") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the terminal's reader");
        }
        let mut state = self.seen.state.lock().expect("the terminal's reader");
        let (screen_rows, _) = state.terminal.screen().size();
        let mut rows = Vec::new();
        // From the oldest line on.
        state.terminal.screen_mut().set_scrollback(usize::MAX);
        let mut above = state.terminal.screen().scrollback();
        while above > 0 {
            state.terminal.screen_mut().set_scrollback(above);
            let step = above.min(usize::from(screen_rows));
            rows.extend(all_rows(state.terminal.screen()).into_iter().take(step));
            above -= step;
        }
        state.terminal.screen_mut().set_scrollback(0);
        rows.extend(Frame::of(state.terminal.screen()).rows);
        Ended {
            status,
            frames: std::mem::take(&mut state.frames),
            rows,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    /// Until the program has closed the terminal.
    fn watch(&self, mut master: File) {
        let mut bytes = [0; 4096];
        loop {
            // `EIO`: no process has the other side open any more.
            let count = master.read(&mut bytes).unwrap_or(0);
            let mut state = self.state.lock().expect("nobody else panics");
            if count == 0 {
                state.ended = true;
                self.changed.notify_all();
                return;
            }
            // Line by line: several drawings may come at once.
            for line in bytes[..count].split_inclusive(|byte| *byte == b'\n') {
                state.terminal.process(line);
                let frame = Frame::of(state.terminal.screen());
                if state.frames.last() != Some(&frame) {
                    state.frames.push(frame);
                }
            }
            self.changed.notify_all();
        }
    }
}

impl Frame {
    fn of(screen: &vt100::Screen) -> Self {
        let mut all = all_rows(screen);
        let is_wrapped = |row: &usize| u16::try_from(*row).is_ok_and(|row| screen.row_wrapped(row));
        let wrapped = (0..all.len())
            .filter(is_wrapped)
            .map(|row| all[row].clone());
        let wrapped = wrapped.collect();
        while all.last().is_some_and(String::is_empty) {
            all.pop();
        }
        Self { rows: all, wrapped }
    }
}

fn all_rows(screen: &vt100::Screen) -> Vec<String> {
    let (_, columns) = screen.size();
    let rows = screen.rows(0, columns);
    rows.map(|row| row.trim_end().to_owned()).collect()
}
