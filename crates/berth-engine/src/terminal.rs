//! Terminals of exec'ed processes, seen from the daemon's side: the master.
//!
//! Stateless; the descriptor belongs to the caller.

use std::os::fd::OwnedFd;

use rustix::termios::{Winsize, tcsetwinsize};

/// Tells the processes on a pseudo-terminal its new size; they get SIGWINCH if it differs.
///
/// # Errors
/// What the kernel said; `ENOTTY` when `master` is not a terminal.
pub fn resize(master: &OwnedFd, rows: u16, columns: u16) -> std::io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(master, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt};
    use rustix::termios::tcgetwinsize;

    #[test]
    fn resize_changes_what_the_terminal_reports() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        resize(&master, 40, 100).unwrap();
        let size = tcgetwinsize(&master).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (40, 100));
    }

    #[test]
    fn resize_of_something_else_is_an_error() {
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        assert!(resize(&file, 1, 1).is_err());
    }
}
