//! Sizes, durations and grants as they are typed.

use std::time::Duration;

use berth_registry::auth::{Actions, Grant, Pattern};

/// `500MB`, `2GB`, `1GiB` or a number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("expected a size such as `500MB` or `2GB`".to_owned()),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "expected a size such as `500MB` or `2GB`".to_owned())
}

/// `90s`, `15m`, `24h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as `90s`, `15m`, `24h` or `7d`".to_owned();
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(expected)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    seconds.map(Duration::from_secs).ok_or_else(expected)
}

/// `team/app`, `team/*=pull` or `*=pull,push,delete`; without actions everything is allowed.
pub(crate) fn grant(text: &str) -> Result<Grant, String> {
    let (pattern, actions) = match text.split_once('=') {
        Some((pattern, actions)) => (pattern, self::actions(actions)?),
        None => (text, Actions::ALL),
    };
    let repositories = Pattern::try_from(pattern.to_owned()).map_err(|error| error.to_string())?;
    Ok(Grant {
        repositories,
        actions,
    })
}

fn actions(text: &str) -> Result<Actions, String> {
    let mut actions = Actions::default();
    for action in text.split(',') {
        match action {
            "pull" => actions.pull = true,
            "push" => actions.push = true,
            "delete" => actions.delete = true,
            other => {
                return Err(format!(
                    "`{other}` is no action; there are `pull`, `push` and `delete`"
                ));
            }
        }
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_strictly() {
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("7"), Ok(7));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "GB", "2 GB", "-1GB", "1.5GB", "99999999999TB", "2gb"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "s",
            "5",
            "5x",
            "-5s",
            "5ms",
            "99999999999999999999d",
            "5é",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(grant("team/*=pull,push").is_ok());
        for bad in ["", "=pull", "A=pull", "a=", "a=write", "a*"] {
            assert!(grant(bad).is_err(), "{bad}");
        }
    }
}
