//! `berth serve`: log lines on their way out: to a file, to a URL, to a bucket, and over HTTP as they come.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_test::{Client, Moto, PATIENCE, Project, ServerSession};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::world;

const CONFIG: &str = r#"{"name": "sayer", "main": "index.js", "compatibility_date": "2026-11-01"}"#;

const WORKER: &str = r#"
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/warn")) console.warn("careful:", pathname);
    else console.log("asked for", pathname);
    return new Response("said");
  },
};
"#;

/// Takes log lines by POST: refuses the first time, then keeps them.
#[derive(Clone, Default)]
struct Sink {
    refused: Arc<Mutex<usize>>,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Sink {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = self.clone();
        let take = move |headers: HeaderMap, body: String| {
            let sink = sink.clone();
            async move { sink.take(&headers, &body) }
        };
        let router = axum::Router::new().route("/ingest", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/ingest")
    }

    fn take(&self, headers: &HeaderMap, body: &str) -> StatusCode {
        if headers
            .get(AUTHORIZATION)
            .is_none_or(|sent| sent != "Bearer of logs")
        {
            return StatusCode::UNAUTHORIZED;
        }
        let mut refused = self.refused.lock().unwrap();
        *refused += 1;
        if *refused == 1 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let lines = body.lines().map(|line| serde_json::from_str(line).unwrap());
        self.lines.lock().unwrap().extend(lines);
        StatusCode::OK
    }
}

/// Asks until everything that was said is there.
async fn until(what: &str, asked: usize, mut lines: impl AsyncFnMut() -> Vec<Value>) {
    let began = Instant::now();
    loop {
        let said = lines().await;
        let count = |text: &str| {
            let found = said.iter().filter(|line| line["text"] == *text);
            found.count()
        };
        let all = (0..asked).all(|number| count(&format!("asked for /{number}")) == 1);
        if all {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {said:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn lines_reach_a_file_a_url_and_a_bucket_once_also_over_a_restart() {
    let world = world();
    let s3 = Moto::start("logs").await;
    let (data, sink) = (tempfile::tempdir().unwrap(), Sink::default());
    let url = sink.start().await;
    std::fs::write(data.path().join("token"), "Bearer of logs\n").unwrap();
    let settings = format!(
        "[[logs.export]]\nfile = \"apps.jsonl\"\n\
         [[logs.export]]\nurl = \"{url}\"\nauthorization_file = \"token\"\n\
         [[logs.export]]\nbucket = \"logs\"\nprefix = \"of/berth\"\nendpoint = \"{}\"\nevery = \"200ms\"\n",
        s3.endpoint()
    );
    std::fs::write(data.path().join("berth.toml"), settings).unwrap();
    let start = async || world.server_in(data.path(), &[], &s3.variables()).await;
    let server = start().await;
    let project = Project::empty();
    project.write("wrangler.json", CONFIG);
    project.write("index.js", WORKER);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let ask = async |server: &ServerSession, number: usize| {
        assert_eq!(server.text("sayer", &format!("/{number}")).await, "said");
    };
    let everywhere = async |asked: usize| {
        until("the file", asked, async || {
            let text = std::fs::read_to_string(data.path().join("apps.jsonl"));
            parsed(&text.unwrap_or_default())
        })
        .await;
        until("the URL", asked, async || {
            sink.lines.lock().unwrap().clone()
        })
        .await;
        until("the bucket", asked, async || {
            let mut lines = Vec::new();
            for key in s3.keys().await {
                assert!(key.starts_with("of/berth/20"), "{key}");
                lines.extend(parsed(&s3.object(&key).await));
            }
            lines
        })
        .await;
    };
    for number in 0..3 {
        ask(&server, number).await;
    }
    everywhere(3).await;
    assert!(
        *sink.refused.lock().unwrap() > 1,
        "what was refused came again"
    );
    server.stop().await;
    let server = start().await;
    ask(&server, 3).await;
    everywhere(4).await;
    server.stop().await;
}

#[tokio::test]
async fn lines_come_over_http_as_they_are_said() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.json", CONFIG);
    project.write("index.js", WORKER);
    server.wrangler_ok(&project, ["deploy"], "").await;
    server.text("sayer", "/warn/before").await;

    let api = server.variable("CLOUDFLARE_API_BASE_URL");
    let (base, prefix) = api.split_at(api.find("/client").unwrap());
    let account = server.variable("CLOUDFLARE_ACCOUNT_ID");
    let path = format!("{prefix}/accounts/{account}/berth/logs?app=sayer&level=warn&follow=true");
    let client = Client::new(base);
    let mut request = client.request(Method::GET, &path, "");
    let token = format!("Bearer {}", server.variable("CLOUDFLARE_API_TOKEN"));
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, token.parse().unwrap());
    let mut followed = client.exchange(request).await;
    assert_eq!(followed.status(), StatusCode::OK);
    let mut seen = String::new();
    let mut line_with = async |text: &str| {
        let read = async {
            while !seen.contains(text) {
                let frame = followed.body_mut().frame().await.expect("it has no end");
                let bytes = frame.unwrap().into_data().unwrap_or_default();
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        let found = tokio::time::timeout(PATIENCE, read).await;
        assert!(found.is_ok(), "no {text}");
        seen.clone()
    };
    line_with("careful: /warn/before").await;
    server.text("sayer", "/quiet").await;
    server.text("sayer", "/warn/after").await;
    let seen = line_with("careful: /warn/after").await;
    assert!(!seen.contains("/quiet"), "{seen}");
    let lines = parsed(&seen);
    assert!(lines.iter().all(|line| line["level"] == "warn"), "{seen}");

    // Without a token there is nothing to follow.
    let refused = client.get(&path).await;
    assert_eq!(
        refused.status,
        StatusCode::UNAUTHORIZED,
        "{}",
        refused.text()
    );
    // The stream ends with the server.
    let ended = async { while let Some(Ok(_)) = followed.body_mut().frame().await {} };
    tokio::join!(server.stop(), ended);
}
