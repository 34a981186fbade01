//! `STOPSIGNAL`: a number, or a name with or without `SIG`.

use crate::dockerfile::Result;
use crate::error::{Problem, nearest};

/// Linux's names, besides the real-time signals.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

pub(super) fn check(text: &str) -> Result<()> {
    if text.parse::<u32>().is_ok_and(|number| number > 0) {
        return Ok(());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, most: u32| {
        let offset = name.strip_prefix(prefix);
        let offset = offset.and_then(|offset| offset.parse::<u32>().ok());
        offset.is_some_and(|offset| (1..=most).contains(&offset))
    };
    if NAMES.contains(&name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14) {
        return Ok(());
    }
    let problem = Problem::new(format!("`{text}` is no signal"));
    Err(match nearest(name, &NAMES) {
        Some(near) => problem.hint(format!("did you mean `SIG{near}`?")),
        None => problem.hint("for example `SIGTERM` or `15`"),
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn signals_have_names_and_numbers() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-14", "SIGUSR1"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "0", "-1", "SIGTREM", "RTMIN+16", "SIG"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
