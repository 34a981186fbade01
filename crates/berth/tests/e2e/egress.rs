//! What leaves a container, with the class from npm deciding: `fixtures/egress` has a class per way
//! of deciding, and a program that connects to wherever it is told.

use std::net::SocketAddr;
use std::path::Path;

use berth_test::{DevSession, Project};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world;

/// Somewhere in "the internet": never reached, only named in the first bytes or in an address.
const ELSEWHERE: &str = "198.51.100.9";

async fn start() -> DevSession {
    let world = world();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::copy_of(&manifest.join("tests/fixtures/egress"));
    project.install(&world, "@cloudflare/containers", "0.3.7");
    world.dev(&project).start().await
}

/// Has the program of an instance do something.
async fn ask(session: &DevSession, instance: &str, task: &str, arguments: Value) -> Value {
    let path = format!("/fetch/{instance}/{task}");
    let reply = session.client().post(&path, arguments.to_string()).await;
    reply.ok().json()
}

async fn call(session: &DevSession, target: &str, arguments: Value) -> Value {
    let path = format!("/call/{target}");
    let reply = session.client().post(&path, arguments.to_string()).await;
    reply.ok().json()
}

/// What `http://<host>/` gives the program, as `<status> <body>`, or its error.
async fn get(session: &DevSession, instance: &str, url: &str) -> String {
    let answer = ask(session, instance, "get", json!({ "url": url })).await;
    text(&answer)
}

fn text(answer: &Value) -> String {
    match answer["status"].as_u64() {
        Some(status) => format!("{status} {}", answer["body"].as_str().unwrap_or_default()),
        None => answer["error"].as_str().unwrap_or("end").to_owned(),
    }
}

/// Requests one after the other on one connection to `to`; each answer, or how it ended.
async fn exchange(
    session: &DevSession,
    instance: &str,
    to: Value,
    requests: &[String],
) -> Vec<String> {
    let arguments = json!({ "to": to, "requests": requests });
    let answers = ask(session, instance, "exchange", arguments).await;
    answers.as_array().unwrap().iter().map(text).collect()
}

fn request(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A web server of the host that says `origin`, in place of the internet.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\norigin";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

const DENIED: &str = "520 Origin is disallowed";

#[tokio::test]
async fn the_nine_steps_in_their_order() {
    let session = start().await;
    let origin = origin().await;
    let answer = |which: &str, host: &str, class: &str| format!("200 {which} {host}/ {class} 64");
    let (gate, open, closed, all) = ("Gate/g", "Open/o", "Closed/c", "CatchAll/a");

    let steps = [
        (
            "1 denied, although allowed and handled",
            gate,
            "denied.example",
            DENIED.to_owned(),
        ),
        (
            "1 denied by a glob",
            gate,
            "x.bad.example",
            DENIED.to_owned(),
        ),
        (
            "2 handled, but not among the allowed",
            gate,
            "ungated.example",
            DENIED.to_owned(),
        ),
        (
            "4 the class's handler of a host",
            gate,
            "static.example",
            answer("static", "static.example", "Gate"),
        ),
        (
            "4 by a glob",
            gate,
            "a.b.glob.example",
            answer("glob", "a.b.glob.example", "Gate"),
        ),
        (
            "6 the class's handler of the rest",
            all,
            "any.example",
            answer("outbound", "any.example", "CatchAll"),
        ),
        (
            "4 before 6",
            all,
            "static.example",
            answer("static", "static.example", "CatchAll"),
        ),
        ("1 before 6", all, "denied.example", DENIED.to_owned()),
        ("1 before 8", open, "denied.example", DENIED.to_owned()),
        (
            "9 nothing allows it",
            closed,
            "any.example",
            DENIED.to_owned(),
        ),
    ];
    for (step, instance, host, expected) in steps {
        let url = format!("http://{host}/");
        assert_eq!(get(&session, instance, &url).await, expected, "{step}");
    }
    // 7 and 8: on to the internet, for which a server of this host stands.
    let to = json!({ "host": ELSEWHERE, "port": 80 });
    for (instance, expected) in [(gate, "200 origin"), (open, "200 origin"), (closed, DENIED)] {
        let requests = [request("/", &origin.to_string())];
        let answers = exchange(&session, instance, to.clone(), &requests).await;
        assert_eq!(answers, [expected], "{instance}");
    }

    // 3 before 4, 5 before 6, with what the caller gave; taken back again.
    call(
        &session,
        &format!("{gate}/setOutboundByHost"),
        json!(["static.example", "named", { "n": 1 }]),
    )
    .await;
    assert_eq!(
        get(&session, gate, "http://static.example/").await,
        r#"200 named static.example/ {"n":1} Gate 64"#
    );
    call(
        &session,
        &format!("{gate}/removeOutboundByHost"),
        json!(["static.example"]),
    )
    .await;
    assert_eq!(
        get(&session, gate, "http://static.example/").await,
        answer("static", "static.example", "Gate")
    );
    call(
        &session,
        &format!("{all}/setOutboundHandler"),
        json!(["named", 7]),
    )
    .await;
    assert_eq!(
        get(&session, all, "http://any.example/x").await,
        "200 named any.example/x 7 CatchAll 64"
    );
    // The instance that asks is the one that the handler is told.
    call(
        &session,
        &format!("{all}/setOutboundHandler"),
        json!(["id"]),
    )
    .await;
    let id = call(&session, &format!("{all}/identity"), json!([])).await;
    assert_eq!(
        get(&session, all, "http://any.example/").await,
        format!("200 {}", id.as_str().unwrap())
    );
    lists_change_while_it_runs(&session).await;
    session.stop().await;
}

/// Allowed and denied hosts of a running container.
async fn lists_change_while_it_runs(session: &DevSession) {
    let gate = "Gate/g";
    let handled = "200 static ungated.example/ Gate 64";
    for (method, argument, expected) in [
        ("allowHost", json!("ungated.example"), handled),
        ("denyHost", json!("ungated.example"), DENIED),
        ("removeDeniedHost", json!("ungated.example"), handled),
        ("removeAllowedHost", json!("ungated.example"), DENIED),
        ("setAllowedHosts", json!(["*.example"]), handled),
        ("setDeniedHosts", json!(["ungated.*"]), DENIED),
        ("setDeniedHosts", json!([]), handled),
    ] {
        call(session, &format!("{gate}/{method}"), json!([argument])).await;
        let got = get(session, gate, "http://ungated.example/").await;
        assert_eq!(got, expected, "{method}");
    }
}

#[tokio::test]
async fn a_host_is_the_same_however_it_is_written() {
    let session = start().await;
    let handled = "200 static static.example/ Gate 64";
    let gate = "Gate/g";
    for url in ["http://STATIC.Example/", "http://static.example:80/"] {
        assert_eq!(get(&session, gate, url).await, handled, "{url}");
    }
    assert_eq!(get(&session, gate, "http://denied.example./").await, DENIED);
    assert_eq!(get(&session, gate, "http://DENIED.example/").await, DENIED);

    let to = json!({ "host": ELSEWHERE, "port": 80 });
    for (what, requests, expected) in [
        (
            "a request for a URL: the host in it counts",
            vec![request("http://denied.example/", "static.example")],
            vec![DENIED],
        ),
        (
            "the second request of a connection is judged as the first",
            vec![
                request("/", "static.example"),
                request("/", "denied.example"),
                request("/", "static.example"),
            ],
            vec![handled, DENIED, handled],
        ),
        (
            "a denied first request opens nothing for the second",
            vec![
                request("/", "denied.example"),
                request("/", "ungated.example"),
            ],
            vec![DENIED, DENIED],
        ),
    ] {
        let answers = exchange(&session, gate, to.clone(), &requests).await;
        assert_eq!(answers, expected, "{what}");
    }
    // A CONNECT of the program's own: no way out by way of an allowed host.
    let connect = "CONNECT denied.example:443 HTTP/1.1\r\nHost: static.example\r\n\r\n".to_owned();
    let answers = exchange(&session, gate, to, &[connect]).await;
    assert!(!answers[0].starts_with("200"), "{answers:?}");

    // HTTP/2 without TLS, whose `:authority` nobody here reads: no way out either.
    for instance in [gate, "Open/o", "CatchAll/a"] {
        let preface =
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}";
        let to = json!({ "host": ELSEWHERE, "port": 80 });
        let raw = ask(
            &session,
            instance,
            "raw",
            json!({ "to": to, "text": preface }),
        )
        .await;
        let answer = raw["answer"].as_str().unwrap_or_default();
        let refused = ["HTTP/1.1 400", "HTTP/1.1 501"]
            .iter()
            .any(|head| answer.starts_with(head));
        assert!(refused, "{instance}: {raw}");
    }

    // Addresses in any notation are hosts like others: not among the allowed.
    for address in [
        "2130706434",
        "0x7f000002",
        "017700000002",
        "[::ffff:198.51.100.9]",
        "198.51.100.9",
    ] {
        let answers = exchange(
            &session,
            gate,
            json!({ "host": ELSEWHERE, "port": 80 }),
            &[request("/", address)],
        )
        .await;
        assert_eq!(answers, [DENIED], "{address}");
    }
    session.stop().await;
}

#[tokio::test]
async fn without_internet_only_what_is_intercepted_leaves() {
    let session = start().await;
    let hosts = "Hosts/h";
    // Intercepted names resolve to an address that is nobody's, the rest does not exist.
    let resolved = ask(
        &session,
        hosts,
        "resolve",
        json!({ "name": "static.example" }),
    )
    .await;
    assert_eq!(resolved, json!({ "a": ["11.0.0.1"], "aaaa": ["fd00::1"] }));
    for name in [
        "static.example.evil.example",
        "evil.example",
        "c2VjcmV0.tunnel.example",
    ] {
        let resolved = ask(&session, hosts, "resolve", json!({ "name": name })).await;
        assert_eq!(
            resolved,
            json!({ "a": "ENOTFOUND", "aaaa": "ENOTFOUND" }),
            "{name}"
        );
    }
    assert_eq!(
        get(&session, hosts, "http://static.example/").await,
        "200 static static.example/ Hosts 64"
    );
    assert_eq!(
        get(&session, hosts, "http://x.glob.example/").await,
        "200 glob x.glob.example/ Hosts 64"
    );
    // Other hosts, other ports, other protocols: no way out.
    let requests = [request("/", "other.example")];
    for (port, host) in [(80, ELSEWHERE), (8080, ELSEWHERE), (80, "2001:db8::9")] {
        let to = json!({ "host": host, "port": port });
        let answers = exchange(&session, hosts, to, &requests).await;
        assert!(
            !answers[0].starts_with(char::is_numeric),
            "{host}:{port} {answers:?}"
        );
    }
    let raw = ask(
        &session,
        hosts,
        "raw",
        json!({ "to": { "host": ELSEWHERE, "port": 25 }, "text": "EHLO" }),
    )
    .await;
    assert!(
        raw["answer"].as_str().unwrap_or_default().is_empty(),
        "{raw}"
    );
    session.stop().await;
}

#[tokio::test]
async fn addresses_ranges_and_globs_are_intercepted_by_the_container_s_own_methods() {
    let session = start().await;
    let direct = "Direct/d";
    for (kind, to, label) in [
        ("Http", "203.0.113.7", "address"),
        ("Http", "203.0.113.8:9999", "port"),
        ("Http", "198.18.0.0/15", "range"),
        ("Http", "[2001:db8::7]", "six"),
        ("Http", "api.*.example", "glob"),
        ("Http", "169.254.169.254", "metadata"),
    ] {
        call(
            &session,
            &format!("{direct}/intercept"),
            json!([kind, to, label]),
        )
        .await;
    }
    for (url, expected) in [
        (
            "http://203.0.113.7/a?b=1",
            "200 address GET http://203.0.113.7/a?b=1 ",
        ),
        (
            "http://203.0.113.8:9999/",
            "200 port GET http://203.0.113.8:9999/ ",
        ),
        (
            "http://198.19.255.1/",
            "200 range GET http://198.19.255.1/ ",
        ),
        (
            "http://[2001:db8::7]/",
            "200 six GET http://[2001:db8::7]/ ",
        ),
        (
            "http://169.254.169.254/",
            "200 metadata GET http://169.254.169.254/ ",
        ),
        (
            "http://api.v1.example/",
            "200 glob GET http://api.v1.example/ ",
        ),
    ] {
        assert_eq!(get(&session, direct, url).await, expected, "{url}");
    }
    // Another mapping of the same address replaces the first while the container runs.
    let again = json!(["Http", "203.0.113.7", "replaced"]);
    call(&session, &format!("{direct}/intercept"), again).await;
    assert_eq!(
        get(&session, direct, "http://203.0.113.7/").await,
        "200 replaced GET http://203.0.113.7/ "
    );
    let answers = ask(
        &session,
        direct,
        "websocket",
        json!({ "url": "ws://203.0.113.7/", "messages": ["one", "two"] }),
    )
    .await;
    assert_eq!(
        answers["answers"],
        json!(["replaced: one", "replaced: two"])
    );
    session.stop().await;
}

/// The certificate authority of intercepted TLS, where Cloudflare puts it too.
const AUTHORITY: &str = "/etc/cloudflare/certs/cloudflare-containers-ca.crt";

#[tokio::test]
async fn tls_is_intercepted_with_an_authority_of_the_instance() {
    let session = start().await;
    let secure = "Secure/s";
    for (url, expected) in [
        (
            "https://static.example/",
            "200 static static.example/ Secure 64",
        ),
        (
            "https://STATIC.example:443/",
            "200 static static.example/ Secure 64",
        ),
        (
            "https://any.example/x",
            "200 outbound any.example/x Secure 64",
        ),
        ("https://denied.example/", DENIED),
        ("http://any.example/", "200 outbound any.example/ Secure 64"),
    ] {
        assert_eq!(get(&session, secure, url).await, expected, "{url}");
    }

    // Whom the request is for decides, not whom the hello named; also for a second request.
    let to = json!({ "host": ELSEWHERE, "port": 443, "sni": "static.example" });
    let requests = [
        request("/", "denied.example"),
        request("/", "any.example"),
        request("/", "static.example"),
    ];
    assert_eq!(
        exchange(&session, secure, to, &requests).await,
        [
            DENIED,
            "200 outbound any.example/ Secure 64",
            "200 static static.example/ Secure 64"
        ]
    );
    // A hello without a name, or to another port: nobody intercepts, and there is no internet.
    for (sni, port) in [("", 443), ("any.example", 8443)] {
        let to = json!({ "host": ELSEWHERE, "port": port, "sni": sni });
        let answers = exchange(&session, secure, to, &[request("/", "any.example")]).await;
        assert!(
            !answers[0].starts_with(char::is_numeric),
            "{sni}:{port} {answers:?}"
        );
    }
    // A client that speaks HTTP/2 and nothing else is told so in the handshake.
    let only = ask(
        &session,
        secure,
        "h2",
        json!({ "url": "https://any.example" }),
    )
    .await;
    assert_eq!(
        only["error"], "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        "{only}"
    );

    // Each instance has its own, and the next container of an object gets it again.
    let file = json!({ "path": AUTHORITY });
    let first = ask(&session, secure, "file", file.clone()).await;
    let other = ask(&session, "Secure/other", "file", file.clone()).await;
    let begin = "-----BEGIN CERTIFICATE-----";
    for authority in [&first, &other] {
        assert!(
            authority["text"].as_str().unwrap().starts_with(begin),
            "{authority}"
        );
    }
    assert_ne!(first, other);
    call(&session, &format!("{secure}/destroy"), json!([])).await;
    assert_eq!(
        get(&session, secure, "https://static.example/").await,
        "200 static static.example/ Secure 64"
    );

    websocket_through_tls(&session).await;
    session.stop().await;
}

async fn websocket_through_tls(session: &DevSession) {
    // Before the start: the authority is put in place when the container is made.
    let direct = "Direct/tls";
    let intercept = json!(["Https", "*.tls.example", "tls"]);
    call(session, &format!("{direct}/intercept"), intercept).await;
    assert_eq!(
        get(session, direct, "https://a.tls.example/p").await,
        "200 tls GET https://a.tls.example/p "
    );
    let arguments = json!({ "url": "wss://b.tls.example/", "messages": ["one", "two"] });
    let answers = ask(session, direct, "websocket", arguments).await;
    assert_eq!(
        answers["answers"],
        json!(["tls: one", "tls: two"]),
        "{answers}"
    );
}
