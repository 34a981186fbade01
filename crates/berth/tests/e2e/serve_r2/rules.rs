//! Rules of buckets, set by wrangler: which other origins may ask, and what becomes of objects in time.

use std::time::{Duration, Instant};

use berth_test::{Client, Project, Reply, ServerSession};
use http::{Method, StatusCode};

use super::server;

const CORS: &str = r#"{
  "rules": [
    {
      "allowed": {
        "origins": ["https://app.example", "https://*.test.example"],
        "methods": ["GET", "PUT"],
        "headers": ["content-type", "x-amz-*"]
      },
      "exposeHeaders": ["ETag"],
      "maxAgeSeconds": 8640
    }
  ]
}"#;

async fn ask(client: &Client, method: Method, headers: &[(&'static str, &str)]) -> Reply {
    let mut request = client.request(method, "/files/key", "");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client.send(request).await
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name)?.to_str().ok()
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_as_the_rules_say() {
    let data = tempfile::tempdir().unwrap();
    let (server, endpoint) = server(data.path(), "").await;
    let project = Project::empty();
    let create = ["r2", "bucket", "create", "files"];
    server.wrangler_ok(&project, create, "").await;
    project.write("cors.json", CORS);
    let set = [
        "r2",
        "bucket",
        "cors",
        "set",
        "files",
        "--file",
        "cors.json",
        "-y",
    ];
    let client = Client::new(&endpoint);
    let preflight = async |origin: &str, method: &str, headers: &str| {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ];
        ask(&client, Method::OPTIONS, &asked).await
    };
    let before = preflight("https://app.example", "PUT", "content-type").await;
    assert_eq!(before.status, StatusCode::FORBIDDEN, "{}", before.text());
    server.wrangler_ok(&project, set, "").await;
    let list = ["r2", "bucket", "cors", "list", "files"];
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(
        listed.contains("https://app.example") && listed.contains("8640"),
        "{listed}"
    );

    let allowed = preflight("https://app.example", "PUT", "Content-Type, x-amz-date").await;
    assert_eq!(allowed.status, StatusCode::OK, "{}", allowed.text());
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "Content-Type, x-amz-date"),
        ("access-control-max-age", "8640"),
    ] {
        assert_eq!(header(&allowed, name), Some(value), "{name}");
    }
    for (origin, method, headers) in [
        ("https://evil.example", "PUT", "content-type"),
        ("https://app.example", "DELETE", "content-type"),
        ("https://app.example", "PUT", "authorization"),
    ] {
        let refused = preflight(origin, method, headers).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin} {method}");
        assert_eq!(header(&refused, "access-control-allow-origin"), None);
    }
    // A page reads the answer, whatever that is; the rules give nobody a right to the object.
    let origin = [("origin", "https://a.test.example")];
    let read = ask(&client, Method::GET, &origin).await;
    assert_eq!(read.status, StatusCode::FORBIDDEN, "it is not signed");
    assert_eq!(
        header(&read, "access-control-allow-origin"),
        Some("https://a.test.example")
    );
    assert_eq!(header(&read, "access-control-expose-headers"), Some("ETag"));
    let other = ask(&client, Method::GET, &[("origin", "https://evil.example")]).await;
    assert_eq!(header(&other, "access-control-allow-origin"), None);

    project.write(
        "wrong.json",
        r#"{ "rules": [{ "allowed": { "origins": ["*"], "methods": ["PATCH"] } }] }"#,
    );
    let wrong = [
        "r2",
        "bucket",
        "cors",
        "set",
        "files",
        "--file",
        "wrong.json",
        "-y",
    ];
    let refused = server.wrangler(&project, wrong, "").await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert!(
        !refused.status.success() && said.contains("`PATCH`"),
        "{said}"
    );
    let delete = ["r2", "bucket", "cors", "delete", "files", "-y"];
    server.wrangler_ok(&project, delete, "").await;
    let after = preflight("https://app.example", "PUT", "content-type").await;
    assert_eq!(after.status, StatusCode::FORBIDDEN);
    server.stop().await;
}

/// How many objects a bucket has.
async fn count(server: &ServerSession) -> String {
    let usage = server.api(
        Method::GET,
        "/r2/buckets/files/usage",
        serde_json::Value::Null,
    );
    let usage = usage.await.ok().json();
    usage["result"]["objectCount"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn objects_end_when_the_rules_say() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = server(data.path(), "").await;
    let project = Project::empty();
    let create = ["r2", "bucket", "create", "files"];
    server.wrangler_ok(&project, create, "").await;
    for key in ["files/tmp/a", "files/keep/b"] {
        let put = ["r2", "object", "put", key, "--pipe", "--remote"];
        server.wrangler_ok(&project, put, "bytes").await;
    }
    // In a year nothing is due; long ago everything was.
    let add = ["r2", "bucket", "lifecycle", "add", "files"];
    let [a, b, c, d, e] = add;
    let later = [
        a,
        b,
        c,
        d,
        e,
        "later",
        "keep/",
        "--expire-days",
        "365",
        "-y",
    ];
    server.wrangler_ok(&project, later, "").await;
    let past = [
        a,
        b,
        c,
        d,
        e,
        "past",
        "tmp/",
        "--expire-date",
        "2020-01-01",
        "-y",
    ];
    server.wrangler_ok(&project, past, "").await;
    let list = ["r2", "bucket", "lifecycle", "list", "files"];
    let listed = server.wrangler_ok(&project, list, "").await;
    for word in ["later", "past", "tmp/", "365 days", "2020-01-01"] {
        assert!(listed.contains(word), "{word} in {listed}");
    }
    let began = Instant::now();
    while count(&server).await != "1" {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            server.transcript()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kept = ["r2", "object", "get", "files/keep/b", "--pipe", "--remote"];
    assert_eq!(server.wrangler_ok(&project, kept, "").await, "bytes");
    let remove = [
        "r2",
        "bucket",
        "lifecycle",
        "remove",
        "files",
        "--name",
        "past",
    ];
    server.wrangler_ok(&project, remove, "").await;
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(
        listed.contains("later") && !listed.contains("2020"),
        "{listed}"
    );
    // From a file: in the place of all that were there.
    let rule = r#"{"rules": [{"id": "whole", "enabled": true, "conditions": {"prefix": "x/"},
        "abortMultipartUploadsTransition": {"condition": {"type": "Age", "maxAge": 86400}}}]}"#;
    project.write("rules.json", rule);
    let set = "r2 bucket lifecycle set files --file rules.json --force";
    server.wrangler_line(&project, set, "").await;
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(
        listed.contains("whole") && !listed.contains("later"),
        "{listed}"
    );
    server.stop().await;
}
