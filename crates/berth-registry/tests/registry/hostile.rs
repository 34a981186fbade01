//! Hostile requests: every answer is an error of the client's, at once, and the server goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, IMAGE, INDEX, Image, Server, descriptor, sha256};

/// Sends bytes as they are; the status of the answer, 0 if there is none.
fn raw(server: &Server, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let _ = stream.write_all(request);
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(),
        Err(error) => {
            let slow = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            assert!(!slow, "no answer: {}", String::from_utf8_lossy(request));
            0
        }
    }
}

#[tokio::test]
async fn paths_lead_nowhere_but_to_what_they_name() {
    let server = Server::start(json!({}));
    server.push_image("a", "x", b"layer").await;
    let digest = sha256(b"layer");
    let long = "a/".repeat(5000);
    let huge = "a".repeat(300);
    let paths = [
        "/v2/../../etc/passwd",
        "/v2/%2e%2e/%2e%2e/blobs/uploads/",
        "/v2/..%2f..%2f/tags/list",
        "/v2/a/../b/tags/list",
        "/v2/a%00/tags/list",
        "/v2/a/_tags/x/tags/list",
        "/v2/_blobs/tags/list",
        "/v2/a/manifests/..%2f..%2f_tags%2fx",
        "/v2/a/manifests/%2e%2e",
        "/v2/a/manifests/.x",
        "/v2/a/manifests/",
        "/v2/a/manifests/x%0d%0aX-Injected:%20y",
        "/v2/a/manifests/sha256:..%2f..%2f..%2fkey",
        "/v2/a/manifests/sha256:",
        "/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e",
        "/v2/a/blobs/sha256:../../../../etc/passwd",
        "/v2/a/blobs/sha256:%2e%2e%2f%2e%2e",
        "/v2/a/blobs/sha512:abc",
        "/v2/a/blobs/key",
        "/v2/a/blobs/uploads/../../../../key",
        "/v2/a/blobs/uploads/..%2f..%2fkey",
        "/v2/a/blobs/uploads/00000000-0000-0000-0000-000000000000",
        "/v2/a/blobs/uploads/%ff%fe",
        "/v2/a/referrers/x",
        "/v2/a/referrers/sha256:x",
        "/v2/A/tags/list",
        "/v2/\u{e9}/tags/list",
        "/v2//tags/list",
        "/v2/tags/list",
        "/v2/a//tags/list",
        "/v2/a/tags/list/",
        "/v2/a/tags/list/x",
        "/v2/a/unknown/x",
        "/v2/a",
        "/v2/a/",
        "/v2/_catalog/x",
        "/v2/gc/layers/x",
        "/v3/",
        "/",
        "/v2/a/tags/list?last=%ff%00&n=1",
        "/v2/a/tags/list?&&&===&n",
    ];
    let more = [
        format!("/v2/{long}tags/list"),
        format!("/v2/{huge}/tags/list"),
        format!("/v2/a/manifests/{huge}"),
        format!("/v2/a/blobs/sha256:{}", digest.hex().to_uppercase()),
        format!("/v2/a/blobs/{digest}x"),
        format!("/v2/a/tags/list?{}", "n=1&".repeat(4000)),
        format!("/v2/a/manifests/x?{}", "a".repeat(100_000)),
    ];
    let all = paths.iter().map(|path| (*path).to_owned()).chain(more);
    for path in all {
        for method in [
            "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW",
        ] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let status = raw(&server, request.as_bytes());
            let fine = (400..500).contains(&status)
                || (path.starts_with("/v2/a/tags/list?") && status == 200)
                // A server of HTTP need not answer what is not HTTP.
                || status == 0;
            assert!(fine, "{method} {path:.100}: {status}");
        }
    }
    server.check_image("a", "x").await;
    assert!(!server.data().join("../x").exists());
}

#[tokio::test]
async fn headers_that_are_nonsense_are_refused_or_ignored() {
    let server = Server::start(json!({}));
    server.push_image("a", "x", b"layer").await;
    let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
    for range in [
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "lines=1-2",
        "bytes=0-1,2-3",
        "\u{e9}",
        "bytes=--1",
    ] {
        let answer = server
            .request("GET", &blob)
            .header("range", range)
            .send()
            .await
            .unwrap();
        let answer = Answer::of(answer).await.expect(200);
        assert_eq!(answer.body, b"layer", "{range}");
    }
    for range in [
        "bytes=5-",
        "bytes=9999999999999999999999-",
        "bytes=3-1",
        "bytes=-0",
    ] {
        let answer = server
            .request("GET", &blob)
            .header("range", range)
            .send()
            .await
            .unwrap();
        Answer::of(answer).await.error(416, "RANGE_INVALID");
    }
    let location = server.begin("a").await;
    for (header, value) in [
        ("Content-Range", "0-18446744073709551615"),
        ("Content-Range", "18446744073709551614-18446744073709551614"),
        ("Content-Range", "x"),
        ("Content-Length", "-1"),
        ("Content-Length", "99999999999999999999999"),
        ("Content-Length", "1, 2"),
        ("Transfer-Encoding", "gzip, x"),
    ] {
        let request = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\n{header}: {value}\r\n\r\n");
        let status = raw(&server, request.as_bytes());
        assert!((400..500).contains(&status), "{header}: {value}: {status}");
    }
    let chunked = format!(
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
    );
    assert!((400..500).contains(&raw(&server, chunked.as_bytes())));
    let many = format!(
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X-Y: z\r\n".repeat(2000)
    );
    assert!((400..500).contains(&raw(&server, many.as_bytes())));
    for garbage in [&b"\x16\x03\x01\x02\x00"[..], b"GET\r\n\r\n", &[0xff; 4096]] {
        let status = raw(&server, &[garbage, b"\r\n\r\n"].concat());
        assert!(status == 0 || (400..500).contains(&status), "{status}");
    }
    server.check_image("a", "x").await;
}

#[tokio::test]
async fn manifests_that_are_no_manifests_are_refused() {
    let server = Server::start(json!({}));
    let image = Image::new(b"layer");
    image.push_blobs(&server, "a").await;
    let put = async |kind: &str, body: Vec<u8>| {
        let request = server
            .request("PUT", "/v2/a/manifests/x")
            .header("content-type", kind);
        Answer::of(request.body(body).send().await.unwrap()).await
    };
    // CVE-2021-41190: one document, two meanings.
    let mut both = image.manifest.clone();
    both["manifests"] = json!([descriptor(IMAGE, b"child")]);
    let index = json!({"schemaVersion": 2, "manifests": []});
    for (kind, body) in [
        (IMAGE, both.to_string()),
        (INDEX, both.to_string()),
        (INDEX, image.manifest.to_string()),
        (
            IMAGE,
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string(),
        ),
        (IMAGE, index.to_string()),
        ("application/json", index.to_string()),
        ("", index.to_string()),
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "{}".to_owned(),
        ),
        (IMAGE, String::new()),
        (IMAGE, "null".to_owned()),
        (IMAGE, "[".repeat(1_000_000)),
        (
            IMAGE,
            format!("{{\"annotations\":{}", "{\"a\":".repeat(500_000)),
        ),
        (IMAGE, format!("\"{}\"", "\\u0000".repeat(100_000))),
        (IMAGE, "\u{feff}{}".to_owned()),
    ] {
        put(kind, body.into_bytes())
            .await
            .error(400, "MANIFEST_INVALID");
    }
    put(IMAGE, vec![b' '; 4 * 1024 * 1024 + 1])
        .await
        .error(413, "MANIFEST_INVALID");
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65536]));
    let request = server
        .request("PUT", "/v2/a/manifests/x")
        .header("content-type", IMAGE);
    match request
        .body(reqwest::Body::wrap_stream(endless))
        .send()
        .await
    {
        Ok(answer) => drop(Answer::of(answer).await.error(413, "MANIFEST_INVALID")),
        // The connection may be closed before the client has read the answer.
        Err(error) => assert!(error.is_request(), "{error}"),
    }
    server
        .get("/v2/a/manifests/x")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    // The largest that must be taken.
    let mut large = image.manifest.clone();
    let room = 4 * 1024 * 1024 - large.to_string().len() - 40;
    large["annotations"] = json!({"a": "x".repeat(room)});
    put(IMAGE, large.to_string().into_bytes()).await.expect(201);
}

#[tokio::test]
async fn a_push_of_too_many_tags_is_refused() {
    let server = Server::start(json!({}));
    let image = Image::new(b"layer");
    image.push_blobs(&server, "a").await;
    let tags = |n: usize| {
        (0..n)
            .map(|i| format!("tag=t{i}"))
            .collect::<Vec<_>>()
            .join("&")
    };
    let digest = image.digest();
    let answer = server
        .push_manifest("a", &format!("{digest}?{}", tags(101)), &image.manifest)
        .await;
    answer.error(414, "TAG_INVALID");
    let answer = server
        .push_manifest("a", &format!("{digest}?tag=ok&tag=..%2fx"), &image.manifest)
        .await;
    answer.error(400, "TAG_INVALID");
    server
        .get("/v2/a/manifests/ok")
        .await
        .error(404, "MANIFEST_UNKNOWN");
    let answer = server
        .push_manifest("a", &format!("{digest}?{}", tags(100)), &image.manifest)
        .await;
    answer.expect(201);
}
