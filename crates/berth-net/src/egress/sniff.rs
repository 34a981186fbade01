//! What a connection's first bytes say about whom it is for: the server name of a TLS hello, or
//! the host of an HTTP/1 request.
//!
//! Pure: bytes in, verdict out. Hostile bytes are the normal case.

/// What is known of a connection from its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More bytes are needed to tell.
    Incomplete,
    /// A TLS hello for this server name.
    Tls(String),
    /// An HTTP/1 request for this host, as its `Host` header says, port included.
    Http(String),
    /// Nothing that names a host.
    Unknown,
    /// A TLS hello, but none that a name can be read of. Passed on it might still be one to the
    /// server, which would see a name that nobody has judged.
    Unreadable,
}

/// Looks at what has arrived on a connection to `port`.
///
/// TLS is recognised on every port, HTTP on port 80 only, as workerd's sidecar does.
pub(crate) fn sniff(bytes: &[u8], port: u16) -> Verdict {
    match bytes.first() {
        None => Verdict::Incomplete,
        Some(&HANDSHAKE) => client_hello(bytes),
        Some(_) if port == 80 => http(bytes),
        Some(_) => Verdict::Unknown,
    }
}

/// TLS record type of handshake messages.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// Longest record, encryption overhead included (RFC 8446 §5.2).
const RECORD: usize = (1 << 14) + 256;
/// Longest hello that is waited for, the records around it included. Real ones, with post-quantum
/// keys, have about 2 KiB; OpenSSL's servers read 128 KiB.
const HELLO: usize = 1 << 18;

/// Whether a connection that begins like this is TLS's, as far as can be seen. A server that takes
/// these bytes for TLS agrees.
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [HANDSHAKE, 3, ..])
}

fn client_hello(bytes: &[u8]) -> Verdict {
    if bytes.len() > 1 && !is_tls(bytes) {
        return Verdict::Unknown;
    }
    let within = &bytes[..bytes.len().min(HELLO)];
    match hello_in_records(within) {
        Verdict::Incomplete if bytes.len() > HELLO => Verdict::Unreadable,
        verdict => verdict,
    }
}

fn hello_in_records(bytes: &[u8]) -> Verdict {
    // The hello may be spread over several records.
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        match hello_body(&message) {
            Err(Short) => {}
            Ok(Some(body)) => {
                return match server_name(body).map(without_final_dot) {
                    // A hello need not have a name.
                    None => Verdict::Unknown,
                    Some(name) if is_host(&name) => Verdict::Tls(name),
                    Some(_) => Verdict::Unreadable,
                };
            }
            Ok(None) => return Verdict::Unreadable,
        }
        let Some((header, after)) = rest.split_first_chunk::<5>() else {
            return Verdict::Incomplete;
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // Empty records are against the rules, but servers skip some.
        if header[0] != HANDSHAKE || header[1] != 3 || length > RECORD {
            return Verdict::Unreadable;
        }
        let Some((fragment, after)) = after.split_at_checked(length) else {
            return Verdict::Incomplete;
        };
        message.extend(fragment);
        rest = after;
    }
}

/// There are not enough bytes yet.
struct Short;

/// The body of a hello message; `None` when it is something else.
fn hello_body(message: &[u8]) -> Result<Option<&[u8]>, Short> {
    let (header, body) = message.split_first_chunk::<4>().ok_or(Short)?;
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if header[0] != CLIENT_HELLO {
        return Ok(None);
    }
    body.get(..length).map(Some).ok_or(Short)
}

/// The name in the `server_name` extension (RFC 6066 §3); empty when it is there and unreadable.
fn server_name(hello: &[u8]) -> Option<String> {
    // Version and random.
    let mut hello = Reader(hello.get(34..)?);
    hello.list8()?; // session
    hello.list16()?; // cipher suites
    hello.list8()?; // compressions
    let mut extensions = Reader(hello.list16()?);
    loop {
        let kind = extensions.u16()?;
        let mut content = Reader(extensions.list16()?);
        if kind == SERVER_NAME {
            return Some(host_name(&mut content).unwrap_or_default());
        }
    }
}

/// The host name in a server name list, whose entries may be of other kinds in theory.
fn host_name(content: &mut Reader<'_>) -> Option<String> {
    let mut names = Reader(content.list16()?);
    let kind = names.u8()?;
    let name = names.list16()?;
    (kind == 0).then(|| String::from_utf8(name.to_vec()).ok())?
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn list8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn list16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// Longest request head that is waited for.
const HEAD: usize = 128 * 1024;
/// Longest method: WebDAV's `BASELINE-CONTROL` is 16.
const METHOD: usize = 16;

fn http(bytes: &[u8]) -> Verdict {
    let method = bytes.iter().position(|byte| !is_method(*byte));
    match method {
        Some(length @ 1..=METHOD) if bytes[length] == b' ' => {}
        None if bytes.len() <= METHOD => return Verdict::Incomplete,
        _ => return Verdict::Unknown,
    }
    let bytes = &bytes[..bytes.len().min(HEAD)];
    let Some(end) = head_end(bytes) else {
        return if bytes.len() < HEAD {
            Verdict::Incomplete
        } else {
            Verdict::Unknown
        };
    };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let version = lines.next().map(<[u8]>::trim_ascii_end);
    if !version.is_some_and(|line| line.ends_with(b"HTTP/1.1") || line.ends_with(b"HTTP/1.0")) {
        return Verdict::Unknown;
    }
    let mut hosts = lines.filter_map(host_header).map(without_final_dot);
    match hosts.next().filter(|host| is_host(host)) {
        // Of two different hosts, who knows which one the server takes.
        Some(host) if hosts.all(|other| other == host) => Verdict::Http(host),
        _ => Verdict::Unknown,
    }
}

/// `a.example.` and `a.example` are one host; only the second is found in a list of hosts.
fn without_final_dot(host: String) -> String {
    match host.rsplit_once(".:") {
        Some((name, port)) => format!("{name}:{port}"),
        None => host.strip_suffix('.').map(str::to_owned).unwrap_or(host),
    }
}

fn is_method(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}

/// Where the empty line after the head begins.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let lf = bytes.windows(2).position(|two| two == b"\n\n");
    match (crlf, lf) {
        (Some(crlf), Some(lf)) => Some(crlf.min(lf)),
        (crlf, lf) => crlf.or(lf),
    }
}

fn host_header(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    if !line[..colon].eq_ignore_ascii_case(b"host") {
        return None;
    }
    // What is no text is no host either.
    Some(String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned())
}

/// Whether a name may be passed on in a header: what a host and port are made of and no more.
fn is_host(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= 261;
    fits && name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]%".contains(&byte))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hello for `name`, as one record.
    pub(crate) fn hello(name: &str) -> Vec<u8> {
        record(&hello_message(name))
    }

    fn record(fragment: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fragment.len()).unwrap();
        [&[HANDSHAKE, 3, 1][..], &length.to_be_bytes(), fragment].concat()
    }

    fn list16(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap();
        [&length.to_be_bytes(), content].concat()
    }

    fn hello_message(name: &str) -> Vec<u8> {
        let server_name = list16(&[&[0][..], &list16(name.as_bytes())].concat());
        let extensions = [
            &[0, 10][..],
            &list16(&list16(&[0, 29])),
            &[0, 0],
            &list16(&server_name),
        ]
        .concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[2, 1, 2],
            &list16(&[0x13, 1]),
            &[1, 0],
            &list16(&extensions),
        ]
        .concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[CLIENT_HELLO][..], &length[1..], &body].concat()
    }

    #[test]
    fn a_hello_gives_its_server_name_on_every_port() {
        for port in [80, 443, 8443] {
            let verdict = sniff(&hello("api.example.com"), port);
            assert_eq!(verdict, Verdict::Tls("api.example.com".to_owned()));
        }
    }

    #[test]
    fn a_hello_may_be_spread_over_records_and_reads() {
        let message = hello_message("split.example.com");
        let records: Vec<u8> = message.chunks(7).flat_map(record).collect();
        for end in 0..records.len() {
            assert_eq!(sniff(&records[..end], 443), Verdict::Incomplete, "{end}");
        }
        assert_eq!(
            sniff(&records, 443),
            Verdict::Tls("split.example.com".to_owned())
        );
    }

    #[test]
    fn a_hello_with_an_unusable_name_is_unreadable() {
        for name in ["", ".", "a b", "evil\r\nX-Proto: udp", "ä.example"] {
            assert_eq!(sniff(&hello(name), 443), Verdict::Unreadable, "{name}");
        }
        // Another handshake message, a record in between that is no handshake.
        assert_eq!(sniff(&record(&[2, 0, 0, 0]), 443), Verdict::Unreadable);
        let alert = [&hello("a.example")[..5], &[21, 3, 1, 0, 2, 1, 0]].concat();
        assert_eq!(sniff(&alert, 443), Verdict::Incomplete);
        let cut = [&record(&hello_message("a.example")[..9]), &alert[5..]].concat();
        assert_eq!(sniff(&cut, 443), Verdict::Unreadable);
        // Another protocol that happens to begin with the same byte.
        assert_eq!(sniff(&[HANDSHAKE, 2, 0, 0, 1, 1], 443), Verdict::Unknown);
    }

    #[test]
    fn padding_does_not_hide_a_name() {
        let message = hello_message("a.example");
        let empty = [HANDSHAKE, 3, 1, 0, 0];
        let padded = [&empty[..], &empty, &record(&message)].concat();
        assert_eq!(sniff(&padded, 443), Verdict::Tls("a.example".to_owned()));
        let endless = empty.repeat(HELLO / empty.len() + 1);
        assert_eq!(sniff(&endless, 443), Verdict::Unreadable);
    }

    #[test]
    fn a_hello_without_a_name_names_nobody() {
        let mut hello = hello("a.example");
        // The extension's kind becomes another one.
        let at = hello.len() - "a.example".len() - 8;
        assert_eq!(hello[at..at + 2], [0, 0]);
        // Written as 2 bytes before its length: server_name becomes 0xff00.
        hello[at] = 0xff;
        assert_eq!(sniff(&hello, 443), Verdict::Unknown);
    }

    #[test]
    fn a_request_on_port_80_gives_its_host() {
        for (head, host) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
            (
                "GET / HTTP/1.1\r\nAccept: */*\r\nhOST:a.example:8080 \r\n\r\nbody",
                "a.example:8080",
            ),
            (
                "POST http://b.example/ HTTP/1.0\nHost: a.example\n\n",
                "a.example",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a.example.:8080\r\n\r\n",
                "a.example:8080",
            ),
            ("GET / HTTP/1.1\r\nHost: A.example.\r\n\r\n", "A.example"),
            (
                "VERSION-CONTROL / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
                "[::1]:80",
            ),
        ] {
            assert_eq!(
                sniff(head.as_bytes(), 80),
                Verdict::Http(host.to_owned()),
                "{head}"
            );
            assert_eq!(sniff(head.as_bytes(), 8080), Verdict::Unknown);
            let incomplete = &head.as_bytes()[..head.find("\n\r\n").unwrap_or(20)];
            assert_eq!(sniff(incomplete, 80), Verdict::Incomplete);
        }
    }

    #[test]
    fn what_is_no_request_names_nobody() {
        for bytes in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "SSH-2.0-x\r\n",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            " ",
        ] {
            assert_eq!(sniff(bytes.as_bytes(), 80), Verdict::Unknown, "{bytes}");
        }
        let endless = [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; HEAD]].concat();
        assert_eq!(sniff(&endless, 80), Verdict::Unknown);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, port: u16) {
            sniff(&bytes, port);
            sniff(&[&[HANDSHAKE, 3, 1][..], &bytes].concat(), port);
            sniff(&[b"GET / HTTP/1.1\r\n", &bytes[..], b"\r\n\r\n"].concat(), 80);
        }

        #[test]
        fn a_mangled_hello_never_panics(at in 0usize..120, byte: u8) {
            let mut bytes = hello("a.example.com");
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            sniff(&bytes, 443);
        }
    }
}
