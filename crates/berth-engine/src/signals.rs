//! Signals by name and number, as Docker's API and `STOPSIGNAL` write them. Pure.

/// What asks a program to end.
pub(crate) const SIGTERM: i32 = 15;

/// `SIGTERM`, `TERM`, `15`.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let position = SIGNALS
        .iter()
        .position(|names| names.split('|').any(|known| known == name))?;
    i32::try_from(position + 1).ok()
}

/// Names of the signals from 1 on, as on every Linux architecture that Berth runs on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT|IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD|CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO|POLL", "PWR", "SYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("KILL", 9),
            ("SIGHUP", 1),
            ("SIGSYS", 31),
            ("SIGIOT", 6),
            ("64", 64),
        ] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["", "SIGNOPE", "0", "65", "-1"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
