//! Single keys from the terminal.
//!
//! The terminal is switched to deliver keys at once and unechoed; signals (Ctrl-C) stay signals.
//! The former settings come back when [`Keys`] is dropped.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::sync::mpsc;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Rebuild images and restart containers.
    Rebuild,
    /// Open the browser.
    Open,
    /// Clear the screen.
    Clear,
    /// Leave.
    Leave,
    /// Anything else: show what there is.
    Help,
}

/// The keyboard of a session. Without a terminal no key ever comes.
#[derive(Debug)]
pub(crate) struct Keys {
    receiver: mpsc::Receiver<Key>,
    former: Option<Termios>,
}

impl Keys {
    /// Listens to standard input if it is a terminal.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = mpsc::channel(8);
        let former = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(former) = &former {
            let mut settings = former.clone();
            settings
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            settings.special_codes[SpecialCodeIndex::VMIN] = 1;
            settings.special_codes[SpecialCodeIndex::VTIME] = 0;
            let stdin = rustix::stdio::stdin();
            match rustix::termios::tcsetattr(stdin, OptionalActions::Now, &settings) {
                Ok(()) => drop(std::thread::spawn(move || read_keys(&sender))),
                Err(error) => tracing::debug!(%error, "the terminal gives no single keys"),
            }
        }
        Self { receiver, former }
    }

    /// Whether there is a terminal to type on.
    pub(crate) fn available(&self) -> bool {
        self.former.is_some()
    }

    /// The next key. Never resolves without a terminal.
    pub(crate) async fn next(&mut self) -> Key {
        match self.receiver.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(former) = &self.former {
            let stdin = rustix::stdio::stdin();
            if let Err(error) = rustix::termios::tcsetattr(stdin, OptionalActions::Now, former) {
                tracing::debug!(%error, "the terminal's settings could not be put back");
            }
        }
    }
}

/// Blocks on the terminal; the thread ends with the process or when nobody listens any more.
fn read_keys(sender: &mpsc::Sender<Key>) {
    let mut byte = [0_u8];
    while matches!(rustix::io::read(rustix::stdio::stdin(), &mut byte), Ok(1)) {
        if sender.blocking_send(key(byte[0])).is_err() {
            return;
        }
    }
}

fn key(byte: u8) -> Key {
    match byte.to_ascii_lowercase() {
        b'r' => Key::Rebuild,
        b'o' | b'b' => Key::Open,
        b'c' => Key::Clear,
        b'x' | b'q' => Key::Leave,
        _ => Key::Help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_mind_capitals() {
        assert_eq!(key(b'R'), Key::Rebuild);
        assert_eq!(key(b'x'), Key::Leave);
        assert_eq!(key(b'?'), Key::Help);
    }
}
