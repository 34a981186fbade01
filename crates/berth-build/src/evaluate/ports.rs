//! `EXPOSE`: `80`, `80/udp`, `8000-8010`; also the form of `docker run -p`, of which only the
//! container's port counts.

use crate::dockerfile::Result;
use crate::error::Problem;

/// What a word exposes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// `port/protocol`.
    pub(super) ports: Vec<String>,
    /// The protocol is not in lower case.
    pub(super) odd_case: bool,
    /// With an address or port of the host.
    pub(super) with_host: bool,
}

/// Reads one word.
pub(super) fn ports(text: &str) -> Result<Ports> {
    let wrong = || {
        Problem::new(format!("`{text}` is no port"))
            .hint("for example `8080`, `53/udp` or `8000-8010`")
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, text),
    };
    let (port, protocol) = match port.split_once('/') {
        Some((port, protocol)) if !protocol.is_empty() => (port, protocol),
        Some((port, _)) => (port, "tcp"),
        None => (port, "tcp"),
    };
    let lower = protocol.to_ascii_lowercase();
    if !matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let (first, last) = range(port).ok_or_else(wrong)?;
    if let Some(host) = host {
        check_host(host, last - first).ok_or_else(wrong)?;
    }
    Ok(Ports {
        ports: (first..=last)
            .map(|port| format!("{port}/{lower}"))
            .collect(),
        odd_case: lower != protocol,
        with_host: host.is_some_and(|host| !host.is_empty()),
    })
}

/// `[address:]port`.
fn check_host(host: &str, ports: u16) -> Option<()> {
    let (address, port) = match host.rsplit_once(':') {
        Some((address, port)) => (address, port),
        None => ("", host),
    };
    let address = address
        .strip_prefix('[')
        .map_or(Some(address), |rest| rest.strip_suffix(']'))?;
    if !address.is_empty() {
        address.parse::<std::net::IpAddr>().ok()?;
    }
    if !port.is_empty() {
        let (first, last) = range(port)?;
        // One port may be given any of a range.
        (ports == 0 || last - first == ports).then_some(())?;
    }
    Some(())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_protocols_and_ranges() {
        for (text, expected) in [
            ("80", &["80/tcp"][..]),
            ("80/", &["80/tcp"]),
            ("53/UDP", &["53/udp"]),
            ("8000-8002/sctp", &["8000/sctp", "8001/sctp", "8002/sctp"]),
            ("8080:80", &["80/tcp"]),
            ("127.0.0.1:8080:80/tcp", &["80/tcp"]),
            ("[::1]:8080:80", &["80/tcp"]),
            ("8000-9000:80", &["80/tcp"]),
            ("0", &["0/tcp"]),
        ] {
            assert_eq!(ports(text).unwrap().ports, expected, "{text}");
        }
        assert!(ports("53/UDP").unwrap().odd_case);
        assert!(ports("8080:80").unwrap().with_host);
        for bad in [
            "",
            "/tcp",
            "http",
            "80/http",
            "65536",
            "9-8",
            "+80",
            "1.2.3:1:80",
            "1-3:1-2",
            "a:80",
        ] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
