//! What the host knows: its resolvers, its `/etc/hosts`, whether it has IPv6.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::names::normal;

/// A parsed file of the host, read again when it changes.
struct HostFile<T> {
    path: &'static str,
    parse: fn(&str) -> T,
    latest: Mutex<Option<(Version, Arc<T>)>>,
}

/// Inode, length and time of change: what differs between two versions of a file.
type Version = (u64, u64, i64, i64);

impl<T> HostFile<T> {
    const fn new(path: &'static str, parse: fn(&str) -> T) -> Self {
        Self {
            path,
            parse,
            latest: Mutex::new(None),
        }
    }

    /// The content now. A file that cannot be read is an empty one.
    fn get(&self) -> Arc<T> {
        let version = std::fs::metadata(self.path)
            .ok()
            .map(|meta| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
        let version = version.unwrap_or_default();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, content)) = latest.as_ref()
            && *known == version
        {
            return Arc::clone(content);
        }
        let text = std::fs::read_to_string(self.path).unwrap_or_default();
        let content = Arc::new((self.parse)(&text));
        *latest = Some((version, Arc::clone(&content)));
        content
    }
}

static RESOLV_CONF: HostFile<Vec<SocketAddr>> =
    HostFile::new("/etc/resolv.conf", parse_resolv_conf);

static HOSTS: LazyLock<HostFile<HashMap<String, Vec<IpAddr>>>> =
    LazyLock::new(|| HostFile::new("/etc/hosts", parse_hosts));

/// The host's resolvers, in its order.
pub(super) fn resolvers() -> Arc<Vec<SocketAddr>> {
    RESOLV_CONF.get()
}

/// Addresses that the host's `/etc/hosts` gives a name. Loopback addresses are left out: inside
/// the container they would mean the container.
pub(super) fn addresses_of(name: &str) -> Option<Vec<IpAddr>> {
    HOSTS.get().get(name).cloned()
}

/// Whether the host has a route to the IPv6 internet. Asks the routing table and sends nothing.
pub(super) fn has_inet6() -> bool {
    // Any global address does.
    let global = Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((global, 53)))
        .is_ok()
}

/// Lines without their comments, as words.
fn lines(text: &str) -> impl Iterator<Item = std::str::SplitWhitespace<'_>> {
    text.lines()
        .map(|line| line.split(['#', ';']).next().unwrap_or_default())
        .map(str::split_whitespace)
}

fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    lines(text)
        .filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next())?)
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for mut words in lines(text) {
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let Some(address) = address.filter(|address| !address.is_loopback()) else {
            continue;
        };
        for name in words {
            hosts.entry(normal(name)).or_default().push(address);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_in_order() {
        let text = "# note\nsearch a.example\nnameserver 192.0.2.1 ; here\n\
                    nameserver fd00::53\nnameserver\nnameserver nonsense\noptions ndots:5\n";
        let expected: Vec<SocketAddr> = vec![
            "192.0.2.1:53".parse().unwrap(),
            "[fd00::53]:53".parse().unwrap(),
        ];
        assert_eq!(parse_resolv_conf(text), expected);
    }

    #[test]
    fn hosts_are_found_under_every_name_but_not_on_loopback() {
        let hosts = parse_hosts(
            "127.0.0.1 localhost box\n192.0.2.9 Db db.example # x y\n::1 six\nfd00::9 db\nbad name\n",
        );
        let addresses: Vec<IpAddr> = vec!["192.0.2.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        assert_eq!(hosts["db"], addresses);
        assert_eq!(hosts["db.example"], addresses[..1]);
        assert_eq!(hosts.len(), 2);
    }
}
