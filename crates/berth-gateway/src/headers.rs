//! What the gateway removes from and adds to a message's headers.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The header that workerd turns into `request.cf` (`cfBlobHeader` in the configuration that
/// `berth-workerd` writes, under the same name).
pub(crate) const CF: HeaderName = HeaderName::from_static("berth-cf");
/// What `request.cf` says on one's own machine: the place where wrangler's is, too.
const CF_VALUE: HeaderValue = HeaderValue::from_static(
    "{\"asOrganization\":\"\",\"asn\":395747,\"colo\":\"DFW\",\"city\":\"Austin\",\"region\":\"Texas\",\
     \"regionCode\":\"TX\",\"metroCode\":\"635\",\"postalCode\":\"78701\",\"country\":\"US\",\
     \"continent\":\"NA\",\"timezone\":\"America/Chicago\",\"latitude\":\"30.27130\",\
     \"longitude\":\"-97.74260\",\"clientTcpRtt\":0,\"httpProtocol\":\"HTTP/1.1\",\
     \"tlsCipher\":\"AEAD-AES128-GCM-SHA256\",\"tlsVersion\":\"TLSv1.3\"}",
);

const CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

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

/// Adds what Cloudflare tells a Worker about the client, unless the client says it itself.
pub(crate) fn add_client(headers: &mut HeaderMap, client: &HeaderValue) {
    for name in [CONNECTING_IP, REAL_IP, FORWARDED_FOR] {
        headers.entry(name).or_insert_with(|| client.clone());
    }
    let proto = HeaderValue::from_static("http");
    headers.entry(FORWARDED_PROTO).or_insert(proto);
    headers.insert(CF, CF_VALUE);
}

/// A client's address as a header.
pub(crate) fn client_value(address: IpAddr) -> HeaderValue {
    let text = address.to_canonical().to_string();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("127.0.0.1"))
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
    fn the_client_is_named_once_and_cannot_set_cf() {
        let mut headers = headers(&[("cf-connecting-ip", "1.2.3.4"), ("berth-cf", "{}")]);
        add_client(
            &mut headers,
            &client_value("::ffff:127.0.0.1".parse().unwrap()),
        );
        assert_eq!(headers[CONNECTING_IP], "1.2.3.4");
        assert_eq!(headers[REAL_IP], "127.0.0.1");
        let cf: &str = headers[CF].to_str().unwrap();
        assert!(cf.contains("\"country\":\"US\""));
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
