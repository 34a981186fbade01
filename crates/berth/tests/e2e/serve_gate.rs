//! `berth serve`: no request fails while a new version takes over.
#![allow(clippy::print_stderr, reason = "figures to look at")]

use std::time::{Duration, Instant};

use berth_test::{Project, ServerSession};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::deployed::COUNTER_CLASS;
use crate::world;

/// Between two requests: 200 in a second.
const PACE: Duration = Duration::from_millis(5);
/// A machine that cannot do so many gets no more while these wait.
const MOST_WAITING: usize = 200;

const STATEFUL: &str = r#"{
  "name": "busy",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "vars": { "VERSION": "one" },
  "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]
}"#;

const WORKER: &str = r#"
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/stream") {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      (async () => {
        for (let i = 0; i < 30; i++) {
          await writer.write(new TextEncoder().encode(`${env.VERSION} ${i}\n`));
          await new Promise((done) => setTimeout(done, 100));
        }
        await writer.close();
      })();
      return new Response(readable);
    }
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener("message", (event) => server.send(`${env.VERSION} ${event.data}`));
      return new Response(null, { status: 101, webSocket: client });
    }
    if (env.COUNTER) return new Response(`${env.VERSION} ${await env.COUNTER.getByName("a").next()}`);
    return new Response(`${env.VERSION} 0`);
  },
};
"#;

fn project(config: &str) -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", config);
    project.write("index.js", format!("{COUNTER_CLASS}{WORKER}"));
    project
}

/// What a client saw that asked 200 times a second.
struct Seen {
    /// Of every answer: the version and what followed it.
    answers: Vec<(String, u64)>,
    longest: Duration,
    failed: Vec<String>,
}

async fn load(server: &ServerSession, until: CancellationToken) -> Seen {
    let mut seen = Seen {
        answers: Vec::new(),
        longest: Duration::ZERO,
        failed: Vec::new(),
    };
    let mut pace = tokio::time::interval(PACE);
    // Slow answers do not slow it down, nor does a machine that was busy.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = pace.tick(), if !until.is_cancelled() && waiting.len() < MOST_WAITING => waiting.push(async {
                let start = Instant::now();
                let reply = server.get("busy", "/").await;
                (reply, start.elapsed())
            }),
            Some((reply, took)) = waiting.next() => {
                seen.longest = seen.longest.max(took);
                let (status, text) = (reply.status, reply.text());
                match text.split_once(' ') {
                    Some((version, count)) if status == 200 => {
                        seen.answers.push((version.to_owned(), count.parse().unwrap()));
                    }
                    _ => seen.failed.push(format!("{status} {text}")),
                }
            }
            else => return seen,
        }
    }
}

/// Deploys a second version under load.
async fn deploy_under_load(server: &ServerSession, project: &Project, config: &str) -> Seen {
    let until = CancellationToken::new();
    let deploy = async {
        let stream = server.get("busy", "/stream");
        let deploy = async {
            project.write("wrangler.jsonc", config.replace("one", "two"));
            // The stream has begun before.
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.wrangler_ok(project, ["deploy"], "").await;
        };
        let (stream, ()) = tokio::join!(stream, deploy);
        until.cancel();
        stream
    };
    let (seen, stream) = tokio::join!(load(server, until.clone()), deploy);
    eprint!(
        "{} requests, the longest took {:?}; ",
        seen.answers.len(),
        seen.longest
    );
    let lines = stream.ok().text();
    assert_eq!(lines.lines().count(), 30, "it was cut off: {lines}");
    assert!(
        lines.lines().all(|line| line.starts_with("one ")),
        "{lines}"
    );
    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
    assert!(seen.answers.len() > 200, "{}", seen.answers.len());
    assert!(seen.answers.iter().any(|(version, _)| version == "two"));
    assert!(server.text("busy", "/").await.starts_with("two "));
    seen
}

#[tokio::test]
async fn no_request_fails_when_a_worker_with_objects_is_replaced() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    // The stream takes 3 s, and how much longer on a busy machine is not what is asked here.
    let settings = "[deploy]\ndrain = \"25s\"\n";
    std::fs::write(data.path().join("berth.toml"), settings).unwrap();
    let server = world.server(data.path()).await;
    let project = project(STATEFUL);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let seen = deploy_under_load(&server, &project, STATEFUL).await;
    // Each counted once: none was lost, and none was sent twice.
    let mut counts: Vec<u64> = seen.answers.iter().map(|(_, count)| *count).collect();
    counts.sort_unstable();
    let expected: Vec<u64> = (1..=counts.len() as u64).collect();
    assert_eq!(counts, expected);
    // One owner: what the former version counted is before what the next one did.
    let of = |version: &'static str| {
        let answers = seen.answers.iter();
        answers
            .filter(move |(one, _)| one == version)
            .map(|(_, count)| *count)
    };
    assert!(of("one").max().unwrap() < of("two").min().unwrap());
    server.stop().await;
}

#[tokio::test]
async fn nothing_waits_when_a_worker_without_state_is_replaced() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let config = r#"{
  "name": "busy", "main": "index.js", "compatibility_date": "2026-11-01", "vars": { "VERSION": "one" }
}"#;
    let project = project(config);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let mut socket = server.websocket("busy", "/ws").await;
    socket.send("a").await;
    assert_eq!(socket.text().await, "one a");
    deploy_under_load(&server, &project, config).await;
    // The WebSocket has its time, too.
    socket.send("b").await;
    assert_eq!(socket.text().await, "one b");
    server.stop().await;
}

#[tokio::test]
async fn routes_and_custom_domains_lead_to_their_workers() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let worker = |name: &str, places: &str| {
        let project = Project::empty();
        project.write(
            "wrangler.jsonc",
            format!(r#"{{ "name": "{name}", "main": "index.js", "compatibility_date": "2026-11-01", {places} }}"#),
        );
        project.write(
            "index.js",
            format!(
                "export default {{ fetch: (request) => new Response('{name} ' + request.url) }};"
            ),
        );
        project
    };
    let first = worker(
        "first",
        r#""routes": ["example.com/*", { "pattern": "*.example.com/api/*", "zone_name": "example.com" },
            { "pattern": "own.example.org", "custom_domain": true }]"#,
    );
    server.wrangler_ok(&first, ["deploy"], "").await;
    let at = async |host: &str, path: &str| server.get_at(host, path).await.text();
    assert_eq!(
        at("example.com", "/a?b").await,
        "first http://example.com/a?b"
    );
    assert!(at("x.example.com", "/api/").await.starts_with("first "));
    assert!(at("OWN.example.org", "/").await.starts_with("first "));
    // Routes without `workers_dev`: not at its own host.
    let own = server.get("first", "/").await;
    assert_eq!(own.status, 404, "{}", own.text());
    assert_eq!(server.get_at("x.example.com", "/").await.status, 404);

    // The most specific pattern wins; what is another Worker's is refused; a domain moves.
    let second = worker(
        "second",
        r#""workers_dev": true, "routes": ["example.com/b/*", { "pattern": "own.example.org", "custom_domain": true }]"#,
    );
    server.wrangler_ok(&second, ["deploy"], "").await;
    assert!(at("example.com", "/b/").await.starts_with("second "));
    assert!(at("example.com", "/b").await.starts_with("first "));
    assert!(at("own.example.org", "/").await.starts_with("second "));
    assert!(server.text("second", "/").await.starts_with("second "));
    let third = worker("third", r#""routes": ["example.com/*"]"#);
    let refused = server.wrangler(&third, ["deploy"], "").await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert!(
        !refused.status.success() && said.contains("\"first\" is already"),
        "{said}"
    );
    server.stop().await;
}
