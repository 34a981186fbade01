//! What the gateway removes from and adds to a message's headers.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// The header that workerd turns into `request.cf` (`cfBlobHeader` in the configuration that
/// `berth-workerd` writes, under the same name).
pub(crate) const CF: HeaderName = HeaderName::from_static("berth-cf");
const CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const VISITOR: HeaderName = HeaderName::from_static("cf-visitor");
/// Id of a request, in request and response.
pub(crate) const RAY: HeaderName = HeaderName::from_static("cf-ray");
/// What only a proxy may say, besides those that are set anew.
const OF_PROXIES: [HeaderName; 7] = [
    header::FORWARDED,
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ipv6"),
    HeaderName::from_static("cf-ipcountry"),
    HeaderName::from_static("cf-worker"),
    HeaderName::from_static("cf-ew-via"),
    HeaderName::from_static("x-forwarded-port"),
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Who is at the other end of a connection, and what is spoken on it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    value: HeaderValue,
    scheme: &'static str,
    cf: HeaderValue,
}

impl Client {
    pub(crate) fn plain(address: IpAddr, http2: bool) -> Self {
        // What wrangler says on one's own machine, too.
        Self::new(address, "http", http2, "TLSv1.3", "AEAD-AES128-GCM-SHA256")
    }

    pub(crate) fn tls(address: IpAddr, http2: bool, session: &rustls::ServerConnection) -> Self {
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher = session.negotiated_cipher_suite();
        let cipher = cipher.and_then(|cipher| cipher.suite().as_str());
        Self::new(address, "https", http2, version, cipher.unwrap_or_default())
    }

    fn new(
        address: IpAddr,
        scheme: &'static str,
        http2: bool,
        version: &str,
        cipher: &str,
    ) -> Self {
        let address = address.to_canonical();
        let protocol = if http2 { "HTTP/2" } else { "HTTP/1.1" };
        // The place is the one that wrangler's has.
        let cf = format!(
            "{{\"asOrganization\":\"\",\"asn\":395747,\"colo\":\"DFW\",\"city\":\"Austin\",\"region\":\"Texas\",\
             \"regionCode\":\"TX\",\"metroCode\":\"635\",\"postalCode\":\"78701\",\"country\":\"US\",\
             \"continent\":\"NA\",\"timezone\":\"America/Chicago\",\"latitude\":\"30.27130\",\
             \"longitude\":\"-97.74260\",\"clientTcpRtt\":0,\"httpProtocol\":\"{protocol}\",\
             \"tlsCipher\":\"{cipher}\",\"tlsVersion\":\"{version}\"}}"
        );
        Self {
            address,
            value: value(&address.to_string()),
            scheme,
            cf: value(&cf),
        }
    }

    /// Tells the Worker about the client and the request. What the client itself says of it counts only if it
    /// is a proxy that is trusted.
    pub(crate) fn describe(&self, headers: &mut HeaderMap, trusted: &[IpNet], ray: &HeaderValue) {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        if is_trusted(&self.address) {
            self.describe_behind(headers, is_trusted);
        } else {
            for name in OF_PROXIES {
                headers.remove(name);
            }
            headers.insert(CONNECTING_IP, self.value.clone());
            headers.insert(REAL_IP, self.value.clone());
            headers.insert(FORWARDED_FOR, self.value.clone());
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
            match headers.get(header::HOST).cloned() {
                Some(host) => headers.insert(FORWARDED_HOST, host),
                None => headers.remove(FORWARDED_HOST),
            };
        }
        let secure = headers
            .get(FORWARDED_PROTO)
            .is_some_and(|proto| proto == "https");
        let visitor = if secure {
            HeaderValue::from_static("{\"scheme\":\"https\"}")
        } else {
            HeaderValue::from_static("{\"scheme\":\"http\"}")
        };
        headers.insert(VISITOR, visitor);
        headers.insert(RAY, ray.clone());
        headers.insert(CF, self.cf.clone());
    }

    /// A trusted proxy has said who the client is: in a header of its own, or as the last address in the list
    /// that is no trusted proxy's.
    fn describe_behind(&self, headers: &mut HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) {
        let text = |name: &HeaderName| {
            let values = headers.get_all(name).iter();
            let values = values.filter_map(|value| value.to_str().ok());
            values.collect::<Vec<_>>().join(", ")
        };
        let mut list = text(&FORWARDED_FOR);
        let named = text(&CONNECTING_IP).trim().parse::<IpAddr>().ok();
        let last = || {
            let mut addresses = list
                .rsplit(',')
                .map_while(|one| one.trim().parse::<IpAddr>().ok());
            addresses.find(|address| !is_trusted(address))
        };
        let client = named.or_else(last).unwrap_or(self.address).to_canonical();
        if list.is_empty() {
            list = client.to_string();
        } else {
            list = format!("{list}, {}", self.address);
        }
        let client = value(&client.to_string());
        headers.insert(CONNECTING_IP, client.clone());
        headers.entry(REAL_IP).or_insert(client);
        headers.insert(FORWARDED_FOR, value(&list));
        let scheme = HeaderValue::from_static(self.scheme);
        headers.entry(FORWARDED_PROTO).or_insert(scheme);
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.entry(FORWARDED_HOST).or_insert(host);
        }
    }
}

/// An id for a request.
pub(crate) fn ray() -> HeaderValue {
    value(&format!("{:016x}-DFW", rand::random::<u64>()))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// HTTP/2 may send cookies one by one; HTTP/1.1 has one header for them (RFC 9113 §8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Removes the headers that concern one connection only, and those that `Connection` names.
/// hyper sets its own where it needs them.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to take these away from the Worker.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        headers.remove(name);
    }
}

/// Whether a response has no end of its own accord.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/event-stream")
}

/// The protocol that a message wants to switch to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    if wanted {
        headers.get(header::UPGRADE).cloned()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn headers_of_the_connection_go_and_others_stay() {
        let mut headers = headers(&[
            ("connection", "close, X-Secret, host"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("host", "a"),
            ("x-other", "2"),
        ]);
        remove_hop_by_hop(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-other"]);
    }

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let said = || {
            headers(&[
                ("cf-connecting-ip", "1.2.3.4"),
                ("x-forwarded-for", "9.9.9.9, 5.6.7.8, 10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("true-client-ip", "1.2.3.4"),
                ("cf-ipcountry", "XX"),
                ("berth-cf", "{}"),
                ("host", "a"),
            ])
        };
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let ray = ray();
        let mut spoofed = said();
        let stranger = Client::plain("::ffff:192.0.2.1".parse().unwrap(), false);
        stranger.describe(&mut spoofed, &trusted, &ray);
        for name in [CONNECTING_IP, REAL_IP, FORWARDED_FOR] {
            assert_eq!(spoofed[&name], "192.0.2.1", "{name}");
        }
        assert_eq!(spoofed[FORWARDED_PROTO], "http");
        assert_eq!(spoofed[FORWARDED_HOST], "a");
        assert!(!spoofed.contains_key("true-client-ip") && !spoofed.contains_key("cf-ipcountry"));
        assert!(spoofed[CF].to_str().unwrap().contains("\"country\":\"US\""));

        let proxy = Client::plain("10.1.1.1".parse().unwrap(), true);
        let mut behind = said();
        proxy.describe(&mut behind, &trusted, &ray);
        assert_eq!(behind[CONNECTING_IP], "1.2.3.4");
        assert_eq!(behind[FORWARDED_PROTO], "https");
        assert_eq!(behind[VISITOR], "{\"scheme\":\"https\"}");
        assert_eq!(
            behind[FORWARDED_FOR],
            "9.9.9.9, 5.6.7.8, 10.0.0.1, 10.1.1.1"
        );
        let mut listed = said();
        listed.remove(CONNECTING_IP);
        proxy.describe(&mut listed, &trusted, &ray);
        assert_eq!(
            listed[CONNECTING_IP], "5.6.7.8",
            "the last that is no proxy"
        );
    }

    #[test]
    fn cookies_are_one_header() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().count(), 1);
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let both = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&both).unwrap(), "websocket");
        assert!(upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&headers(&[("connection", "upgrade")])).is_none());
    }
}
