//! Secrets and answers that a person types, or a program passes on standard input.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use berth_error::{Report, ResultExt as _};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::printer;

/// Most bytes of a secret.
const MAX_SECRET: u64 = 64 * 1024;

/// A secret: typed without being shown, or all of standard input without the newline at its end.
pub(crate) fn read(what: &str) -> Result<String, Report> {
    let empty = || {
        Report::new(
            format!("{what} is empty"),
            Some("pass it on standard input: `… < file`".to_owned()),
        )
    };
    let secret = if std::io::stdin().is_terminal() {
        prompt(&format!("Enter {what}: "), false)?
    } else {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_SECRET)
            .read_to_string(&mut text)
            .context(format!("could not read {what} from standard input"))?;
        text.trim_end().to_owned()
    };
    if secret.is_empty() {
        return Err(empty());
    }
    Ok(secret)
}

/// A line that is typed; without an echo if it is nobody else's business.
pub(crate) fn prompt(text: &str, echo: bool) -> Result<String, Report> {
    printer::text(text);
    let hidden = (!echo).then(Hidden::begin);
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    drop(hidden);
    if !echo {
        printer::text("\n");
    }
    read.context("could not read from the terminal")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Yes or no; nothing means no.
pub(crate) fn confirm(question: &str) -> Result<bool, Report> {
    let answer = prompt(&format!("{question} [y/N] "), true)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// No echo as long as it lives.
struct Hidden {
    former: Option<rustix::termios::Termios>,
}

impl Hidden {
    fn begin() -> Self {
        let former = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(former) = &former {
            let mut hidden = former.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &hidden);
        }
        Self { former }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(former) = &self.former {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, former);
        }
    }
}
