//! What the first bytes of a request or an answer say of it, for the tunnel that carries them.

/// Longest request line.
const LINE: usize = 16 << 10;

/// Whether a piece is the beginning of an HTTP/1.1 request.
pub(crate) fn is_request(piece: &[u8]) -> bool {
    let mut line = piece
        .get(..LINE)
        .unwrap_or(piece)
        .split(|byte| *byte == b'\r');
    let Some(line) = line.next().and_then(|line| line.strip_suffix(b" HTTP/1.1")) else {
        return false;
    };
    let method = line.iter().position(|byte| *byte == b' ');
    method.is_some_and(|end| end > 0 && line[..end].iter().all(u8::is_ascii_uppercase))
}

/// Whether a piece begins with the head of an answer that tells where its body ends, and after which the
/// connection goes on.
pub(crate) fn is_delimited_answer(piece: &[u8]) -> bool {
    let end = piece.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(head) = end.and_then(|end| std::str::from_utf8(&piece[..end]).ok()) else {
        return false;
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let Some(status) = status.and_then(|status| status.get(..3)) else {
        return false;
    };
    let mut delimited = matches!(status, "204" | "304");
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return false;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => delimited = true,
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => delimited = true,
            "connection" if !value.eq_ignore_ascii_case("keep-alive") => return false,
            _ => {}
        }
    }
    delimited && !status.starts_with('1')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_begin_with_a_method_and_end_with_the_version() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a?b HTTP/1.1\r\n",
        ] {
            assert!(is_request(request.as_bytes()), "{request}");
        }
        for other in [
            "",
            "GET / HTTP/1.0\r\n",
            "get / HTTP/1.1\r\n",
            " HTTP/1.1\r\n",
            "\x01\x02",
            "GET",
        ] {
            assert!(!is_request(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn answers_that_the_end_of_the_connection_ends_are_told() {
        for delimited in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        ] {
            assert!(is_delimited_answer(delimited.as_bytes()), "{delimited}");
        }
        for open in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(!is_delimited_answer(open.as_bytes()), "{open}");
        }
    }
}
