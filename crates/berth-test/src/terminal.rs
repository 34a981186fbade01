//! A pseudo-terminal: how a test presses keys.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The keyboard side of a terminal whose other side is a program's standard input.
#[derive(Debug)]
pub struct Terminal {
    master: File,
}

impl Terminal {
    /// A new terminal and the descriptor for the program.
    pub(crate) fn open() -> (Self, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("open a pseudo-terminal");
        grantpt(&master).expect("grant the terminal");
        unlockpt(&master).expect("unlock the terminal");
        let name = ptsname(&master, Vec::new()).expect("name the terminal");
        let slave = rustix::fs::open(
            name.as_c_str(),
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .expect("open the terminal's other side");
        let terminal = Self {
            master: File::from(master),
        };
        (terminal, slave)
    }

    /// To read what the program writes, if this is also its standard output.
    pub(crate) fn output(&self) -> File {
        self.master.try_clone().expect("copy a descriptor")
    }

    /// Sets its size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).expect("set the terminal's size");
    }

    /// Types these characters.
    pub fn press(&mut self, keys: &str) {
        self.master
            .write_all(keys.as_bytes())
            .expect("type on the terminal");
    }
}
