//! Requests as workerd makes them, and some that it would not.

use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::support::Server;

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn metadata(&self) -> Value {
        let size: usize = self.headers["cf-r2-metadata-size"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        serde_json::from_slice(&self.body[..size]).unwrap()
    }

    fn rest(&self) -> &[u8] {
        let size: usize = self.headers["cf-r2-metadata-size"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        &self.body[size..]
    }

    fn error(&self) -> Value {
        serde_json::from_slice(self.headers["cf-r2-error"].as_bytes()).unwrap()
    }
}

async fn send(server: &Server, request: http::Request<Full<bytes::Bytes>>) -> Answer {
    let socket = tokio::net::UnixStream::connect(&server.socket)
        .await
        .unwrap();
    let io = hyper_util::rt::TokioIo::new(socket);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    let (head, body) = answer.into_parts();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

async fn get(server: &Server, request: Value) -> Answer {
    let mut request = request;
    request["version"] = 1.into();
    let header = http::HeaderValue::from_bytes(request.to_string().as_bytes()).unwrap();
    let request = http::Request::get("/")
        .header("host", "fake-host")
        .header("berth-r2-bucket", "b_");
    send(
        server,
        request
            .header("cf-r2-request", header)
            .body(Full::default())
            .unwrap(),
    )
    .await
}

async fn put(server: &Server, request: Value, body: &[u8]) -> Answer {
    let json = request.to_string();
    let all = [json.as_bytes(), body].concat();
    let request = http::Request::put("/")
        .header("host", "fake-host")
        .header("berth-r2-bucket", "b_");
    let request = request.header("cf-r2-metadata-size", json.len());
    send(server, request.body(Full::from(all)).unwrap()).await
}

#[tokio::test]
async fn what_workerd_says_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), None, None);
    let key = "a/ü\n";
    let stored = put(&server, json!({"method": "put", "object": key, "sha1": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
        "customFields": [{"k": "ключ", "v": "€"}], "httpFields": {"contentType": "text/plain", "cacheExpiry": "86400000"}}), b"hello").await;
    assert_eq!(stored.status, 200);
    let object = stored.metadata();
    assert_eq!(
        (&object["name"], &object["size"], &object["storageClass"]),
        (&key.into(), &5.into(), &"Standard".into())
    );
    assert_eq!(object["checksums"]["0"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(
        object["checksums"]["1"],
        "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
    );
    assert_eq!(object["customFields"], json!([{"k": "ключ", "v": "€"}]));

    let found = get(
        &server,
        json!({"method": "get", "object": key, "range": {"suffix": "3"}}),
    )
    .await;
    assert_eq!(
        (found.metadata()["range"].clone(), found.rest()),
        (json!({"offset": 2, "length": 3}), &b"llo"[..])
    );
    let found = get(
        &server,
        json!({"method": "get", "object": key, "rangeHeader": "bytes=1-2"}),
    )
    .await;
    assert_eq!(found.rest(), b"el");
    let unmet = json!({"method": "get", "object": key, "onlyIf": {"etagMatches": [{"value": "x", "type": "strong"}]}});
    let unmet = get(&server, unmet).await;
    assert_eq!(
        (
            unmet.status,
            &unmet.error()["v4code"],
            &unmet.metadata()["name"]
        ),
        (412, &10031.into(), &key.into())
    );
    let missing = get(&server, json!({"method": "head", "object": "none"})).await;
    assert_eq!(
        (missing.status, &missing.error()["v4code"]),
        (404, &10007.into())
    );
    let bad = put(
        &server,
        json!({"method": "put", "object": "x", "md5": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        b"hello",
    )
    .await;
    assert_eq!((bad.status, &bad.error()["v4code"]), (400, &10037.into()));
    for (request, code) in [
        (json!({"method": "list", "limit": 1001}), 10022),
        (json!({"method": "list", "cursor": "?"}), 10029),
        (
            json!({"method": "get", "object": key, "range": {"offset": "5"}}),
            10039,
        ),
        (
            json!({"method": "get", "object": key, "ssec": {"key": "00"}}),
            10029,
        ),
        (json!({"method": "head", "object": "k".repeat(1025)}), 10020),
        (json!({"method": "dance"}), 10029),
        (json!({"method": "put", "object": "x"}), 10029),
    ] {
        let refused = get(&server, request.clone()).await;
        assert_eq!(refused.error()["v4code"], code, "{request}");
    }
    let wrong = http::Request::put("/")
        .header("host", "x")
        .header("berth-r2-bucket", "b_");
    let wrong = wrong
        .header("cf-r2-metadata-size", 5)
        .body(Full::from("{}"))
        .unwrap();
    assert_eq!(send(&server, wrong).await.error()["v4code"], 10013);
    let nobody = http::Request::get("/")
        .header("host", "x")
        .body(Full::default())
        .unwrap();
    assert_eq!(send(&server, nobody).await.status, 400);
}

/// workerd takes no more than 1 MiB of what is told about objects.
#[tokio::test]
async fn pages_are_not_too_large_for_workerd() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = berth_r2::R2::open(directory.path()).unwrap();
        store.ensure_bucket("b_").await.unwrap();
        for number in 0..1200 {
            let key = format!("{number:04}{}", "\u{1}".repeat(900));
            let body = Box::pin(futures_util::stream::empty());
            store
                .put("b_", &key, Default::default(), body)
                .await
                .unwrap();
        }
    }
    let server = Server::start(directory.path(), None, None);
    let (mut keys, mut cursor) = (0, Value::Null);
    loop {
        let mut request = json!({"method": "list"});
        if cursor.is_string() {
            request["cursor"] = cursor;
        }
        let page = get(&server, request).await;
        assert!(page.body.len() < 1 << 20, "{}", page.body.len());
        let page = page.metadata();
        keys += page["objects"].as_array().unwrap().len();
        cursor = page["cursor"].clone();
        if page["truncated"] == false {
            break;
        }
    }
    assert_eq!(keys, 1200);
}
