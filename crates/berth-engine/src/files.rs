//! The three files every container gets from its engine: hosts, resolv.conf, hostname.
//!
//! Pure. The jail mounts them over the root file system, so they are never part of a layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Path inside → content, for [`berth_jail::SandboxSpec::files`].
pub(crate) fn engine_files(
    hostname: &str,
    extra_hosts: &[(String, String)],
    resolver: IpAddr,
) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("/etc/hosts".to_owned(), hosts(hostname, extra_hosts)),
        (
            "/etc/resolv.conf".to_owned(),
            format!("nameserver {resolver}\noptions ndots:0\n"),
        ),
        ("/etc/hostname".to_owned(), format!("{hostname}\n")),
    ])
}

/// The host's own name resolves to 127.0.0.1: loopback is the one interface with listeners that the
/// ingress reaches, so a program that binds to its own name stays reachable.
fn hosts(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    let _ = writeln!(text, "127.0.0.1\t{hostname}");
    text
}

/// Whether a host name or address can stand in `/etc/hosts` without changing its other lines.
pub(crate) fn is_plain_word(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_hold_loopback_extra_lines_and_the_own_name() {
        let files = engine_files(
            "box1",
            &[("host.docker.internal".to_owned(), "10.1.2.3".to_owned())],
            IpAddr::from([10, 88, 0, 53]),
        );
        let hosts = &files["/etc/hosts"];
        assert!(hosts.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost "));
        assert!(hosts.contains("\n10.1.2.3\thost.docker.internal\n"));
        assert!(hosts.ends_with("\n127.0.0.1\tbox1\n"));
        assert_eq!(files["/etc/hostname"], "box1\n");
        assert_eq!(
            files["/etc/resolv.conf"],
            "nameserver 10.88.0.53\noptions ndots:0\n"
        );
    }

    #[test]
    fn words_that_would_add_lines_or_names_are_found() {
        for bad in ["", "a b", "a\nb", "a\tb", "#x", "ä"] {
            assert!(!is_plain_word(bad), "{bad:?}");
        }
        assert!(is_plain_word("workerd-x_1.example-proxy"));
        assert!(is_plain_word("fe80::1"));
    }
}
