//! The proxies that a command in a `RUN` step is told to use.
//!
//! A step has a network of its own, in which `localhost` is itself. A proxy on this machine is
//! therefore given to it under another address, and connections there, to that port and nothing else
//! of the host, are carried to the proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use berth_net::HOST_ADDRESS;

/// Build arguments that need no `ARG`, are no part of the cache's keys and not of the image.
const PREDEFINED: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Whether it is one of the arguments about proxies, in upper or lower case.
pub(crate) fn is_predefined(name: &str) -> bool {
    PREDEFINED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// What a step is told, and what its network must carry for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// Variables of the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Addresses inside, and what they stand for on the host.
    pub(crate) forwards: Vec<(SocketAddr, SocketAddr)>,
}

impl Proxies {
    /// Those of the host, and over them those of the build arguments. Names are looked up, so it
    /// may block.
    pub(crate) fn new(host: &BTreeMap<String, String>, args: &BTreeMap<String, String>) -> Self {
        let given: BTreeMap<_, _> = args
            .iter()
            .filter(|(name, _)| is_predefined(name))
            .collect();
        let is_given = |name: &str| given.keys().any(|given| given.eq_ignore_ascii_case(name));
        let mut proxies = Self::default();
        let hosts = host.iter().filter(|(name, _)| !is_given(name));
        for (name, value) in hosts.chain(given.iter().map(|(name, value)| (*name, *value))) {
            let value = if name.eq_ignore_ascii_case("NO_PROXY") {
                value.clone()
            } else {
                proxies.reachable(value)
            };
            proxies.env.insert(name.clone(), value);
        }
        proxies
    }

    /// The address of a proxy as the step can use it.
    fn reachable(&mut self, url: &str) -> String {
        let Some(parts) = Parts::of(url) else {
            return url.to_owned();
        };
        let addresses: Vec<SocketAddr> = match parts.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, parts.port)],
            Err(_) => (parts.host, parts.port)
                .to_socket_addrs()
                .map(Iterator::collect)
                .unwrap_or_default(),
        };
        if let Some(loopback) = addresses.iter().find(|address| address.ip().is_loopback()) {
            let inside = SocketAddr::new(HOST_ADDRESS, parts.port);
            self.forward(inside, *loopback);
            return format!("{}{inside}{}", parts.before, parts.after);
        }
        for address in addresses {
            // Also if it is one of the host's own addresses, which are out of reach otherwise.
            self.forward(address, address);
        }
        url.to_owned()
    }

    fn forward(&mut self, inside: SocketAddr, outside: SocketAddr) {
        if !self.forwards.iter().any(|(known, _)| *known == inside) {
            self.forwards.push((inside, outside));
        }
    }
}

/// `scheme://user:password@host:port/`.
struct Parts<'a> {
    /// Scheme and credentials.
    before: &'a str,
    host: &'a str,
    port: u16,
    after: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let authority = url.find("://").map_or(0, |at| at + 3);
        let end = url[authority..]
            .find(['/', '?', '#'])
            .map_or(url.len(), |at| authority + at);
        let begin = url[authority..end]
            .rfind('@')
            .map_or(authority, |at| authority + at + 1);
        let (host, port) = match url[begin..end].rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                (host, port.parse().ok()?)
            }
            _ => {
                let port = if url.starts_with("https:") { 443 } else { 80 };
                (&url[begin..end], port)
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some(Self {
            before: &url[..begin],
            host,
            port,
            after: &url[end..],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_proxy_on_this_machine_has_another_address_inside() {
        let host = map(&[
            ("http_proxy", "http://u:p@localhost:3128/"),
            ("HTTPS_PROXY", "[::1]:8080"),
            ("NO_PROXY", "localhost,.internal"),
            ("all_proxy", "socks5h://192.0.2.7:1080"),
            ("FTP_PROXY", "not a proxy at all"),
        ]);
        let found = Proxies::new(&host, &BTreeMap::new());
        let inside = |port: u16| SocketAddr::new(HOST_ADDRESS, port).to_string();
        let expected = map(&[
            ("http_proxy", &format!("http://u:p@{}/", inside(3128))),
            ("HTTPS_PROXY", &inside(8080)),
            ("NO_PROXY", "localhost,.internal"),
            ("all_proxy", "socks5h://192.0.2.7:1080"),
            ("FTP_PROXY", "not a proxy at all"),
        ]);
        assert_eq!(found.env, expected);
        assert!(found.forwards.contains(&(
            "192.0.2.7:1080".parse().unwrap(),
            "192.0.2.7:1080".parse().unwrap()
        )));
    }

    #[test]
    fn build_arguments_win_in_any_case() {
        let host = map(&[("http_proxy", "http://a.test:1"), ("HTTP_PROXY", "x")]);
        let args = map(&[("HTTP_PROXY", ""), ("OTHER", "y")]);
        let found = Proxies::new(&host, &args);
        assert_eq!(found.env, map(&[("HTTP_PROXY", "")]));
        assert_eq!(found.forwards, []);
    }
}
