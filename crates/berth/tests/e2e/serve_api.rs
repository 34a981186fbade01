//! `berth serve`: who reaches the API, and that no request, however bad, breaks it or leaves half a change.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use berth_test::{Client, Program, Project, ServerSession, World, compile_static};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::world;

/// Connects to `/connect/<IPv4 address>/<port>`, asks for who it is, and answers with what it was told.
const PROBER: Program = Program {
    name: "prober",
    source: r#"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
static void probe(const char *address, int port, char *said, int room) {
    const char *question = "GET /client/v4/user HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = 5};
    int connection = socket(AF_INET, SOCK_STREAM, 0), length;
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) snprintf(said, room, "no address");
    else if (connect(connection, (struct sockaddr *)&peer, sizeof peer))
        snprintf(said, room, "not connected: %s", strerror(errno));
    else if (write(connection, question, strlen(question)) < 0)
        snprintf(said, room, "not sent: %s", strerror(errno));
    else if ((length = read(connection, said, room - 1)) < 0)
        snprintf(said, room, "not answered: %s", strerror(errno));
    else said[length] = 0;
    close(connection);
}
int main(void) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(8080)};
    char request[4096], address[64], said[2048], answer[4096];
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, port;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, 16)) return 1;
    for (;;) {
        int peer = accept(listener, 0, 0), length = read(peer, request, sizeof request - 1);
        snprintf(said, sizeof said, "here");
        if (length > 0) {
            request[length] = 0;
            if (sscanf(request, "GET /connect/%63[^/]/%d", address, &port) == 2) {
                /* Its own port is asked by another process: this one answers one at a time. */
                int pipes[2];
                if (pipe(pipes)) return 2;
                if (!fork()) {
                    probe(address, port, said, sizeof said);
                    if (write(pipes[1], said, strlen(said)) < 0) return 3;
                    _exit(0);
                }
                close(pipes[1]);
                if (!fork()) {
                    int got = read(pipes[0], said, sizeof said - 1);
                    said[got < 0 ? 0 : got] = 0;
                    length = snprintf(answer, sizeof answer,
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(said), said);
                    _exit(write(peer, answer, length) != length);
                }
                close(pipes[0]);
                close(peer);
                continue;
            }
            length = snprintf(answer, sizeof answer,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(said), said);
            if (write(peer, answer, length) != length) return 4;
        }
        close(peer);
    }
}
"#,
};

const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Prober extends Container {
  defaultPort = 8080;
  enableInternet = true;
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/connect/")) return getContainer(env.PROBER, "one").fetch(request);
    return new Response(`the Worker: ${pathname}`);
  },
};
"#;

/// A Worker with a container that connects to where it is told.
pub(crate) fn prober(world: &World) -> Project {
    let project = Project::empty();
    project.write(
        "wrangler.jsonc",
        r#"{
          "name": "prober",
          "main": "index.js",
          "compatibility_date": "2026-11-01",
          "containers": [{ "class_name": "Prober", "image": "./Dockerfile", "max_instances": 2 }],
          "durable_objects": { "bindings": [{ "name": "PROBER", "class_name": "Prober" }] },
          "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Prober"] }]
        }"#,
    );
    project.write("index.js", WORKER);
    project.write(
        "Dockerfile",
        "FROM scratch\nCOPY prober /prober\nCMD [\"/prober\"]\n",
    );
    project.copy(&compile_static(world, PROBER), "prober");
    project.install(world, "@cloudflare/containers", "0.3.7");
    project
}

/// What the API says of itself.
fn description() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every operation: method, path below `/client/v4`, with `account` and something for all else, and whether a
/// token is needed.
fn operations(account: &str) -> Vec<(Method, String, bool)> {
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, methods) in paths {
        let path = path.replace("{account}", account);
        let segments = path
            .split('/')
            .map(|segment| match segment.strip_prefix('{') {
                Some(_) => "x",
                None => segment,
            });
        let path = segments.collect::<Vec<_>>().join("/");
        for (method, operation) in methods.as_object().unwrap() {
            if method != "parameters" {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let guarded = operation["security"] != json!([]);
                operations.push((method, path.clone(), guarded));
            }
        }
    }
    operations
}

async fn ask(
    client: &Client,
    method: &Method,
    path: &str,
    token: Option<&str>,
) -> (StatusCode, Value) {
    let mut request = client.request(method.clone(), &format!("/client/v4{path}"), "");
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let reply = client.send(request).await;
    let body = if *method == Method::HEAD {
        Value::Null
    } else {
        reply.json()
    };
    (reply.status, body)
}

/// An address of this machine that is not loopback; nothing is sent.
pub(crate) fn own_address() -> std::net::IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

fn api_port(server: &ServerSession) -> u16 {
    let url: http::Uri = server.variable("CLOUDFLARE_API_BASE_URL").parse().unwrap();
    url.port_u16().unwrap()
}

#[tokio::test]
async fn only_who_has_a_token_reaches_the_api() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    // On every address of this machine: else nobody could reach it anyway.
    let server = world
        .server_with(data.path(), &["--api", "0.0.0.0:0", "--insecure"])
        .await;
    let (port, own) = (api_port(&server), own_address());
    let account = server.variable("CLOUDFLARE_ACCOUNT_ID").to_owned();
    let token = server.variable("CLOUDFLARE_API_TOKEN").to_owned();
    let api = Client::new(&format!("http://{}", SocketAddr::from((own, port))));

    let operations = operations(&account);
    assert!(operations.len() > 50);
    // Their addresses are their secrets: one that was guessed leads to nothing.
    let open = |(method, path, guarded): &(Method, String, bool)| {
        (!guarded).then(|| format!("{method} {path}"))
    };
    let open: Vec<String> = operations.iter().filter_map(open).collect();
    assert_eq!(open, ["GET /transfers/x", "PUT /transfers/x"]);
    for (method, path, guarded) in &operations {
        for token in [None, Some("nobody"), Some("a.b.c")] {
            let (status, body) = ask(&api, method, path, token).await;
            if !guarded {
                assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path} {token:?}");
                continue;
            }
            assert_eq!(
                status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} {token:?}"
            );
            if *method != Method::HEAD {
                assert_eq!(body["errors"][0]["code"], 10000, "{method} {path}");
                assert_eq!(body["result"], Value::Null);
            }
        }
    }
    let (status, _) = ask(&api, &Method::GET, "/no/such/thing", None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = ask(&api, &Method::GET, "/user", Some(&token)).await;
    assert_eq!(status, StatusCode::OK);
    let foreign = format!("/accounts/{}/workers/scripts", "0".repeat(32));
    let (status, _) = ask(&api, &Method::GET, &foreign, Some(&token)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    // Not by the gateway, whatever host a client names.
    let project = prober(&world);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let gateway = server.client("prober");
    let hosts = [
        format!("{own}:{port}"),
        format!("127.0.0.1:{port}"),
        "localhost".to_owned(),
        "api.localhost".to_owned(),
        "0.0.0.0".to_owned(),
    ];
    for host in hosts {
        let client = gateway.clone().of_host(&host);
        let mut request = client.request(Method::GET, "/client/v4/user", "");
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        let reply = client.send(request).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{host}");
        assert!(
            !reply.text().contains("success"),
            "{host}: {}",
            reply.text()
        );
    }
    let worker = server.text("prober", "/client/v4/user").await;
    assert_eq!(worker, "the Worker: /client/v4/user");

    // Not from a container: its loopback is its own, and this machine's addresses are refused.
    let probe = async |address: &str, port: u16| {
        let path = format!("/connect/{address}/{port}");
        server.text("prober", &path).await
    };
    let itself = probe("127.0.0.1", 8080).await;
    assert!(
        itself.contains("200 OK") && itself.ends_with("here"),
        "{itself}"
    );
    for address in [
        own.to_string().as_str(),
        "127.0.0.1",
        "0.0.0.0",
        "127.0.0.2",
    ] {
        let told = probe(address, port).await;
        let refused = told.is_empty() || told.starts_with("not ");
        assert!(refused, "{address}: {told}");
    }
    server.stop().await;
}

/// The description as it is tried out: with names of what there is, so that requests get somewhere; only
/// what is called otherwise is deleted.
fn aimed(account: &str, known: &Value) -> Value {
    let mut description = description();
    let paths = description["paths"].as_object_mut().unwrap();
    let mut aimed = serde_json::Map::new();
    for (path, mut methods) in std::mem::take(paths) {
        let parameters = methods["parameters"].take();
        let methods = methods.as_object_mut().unwrap();
        methods.remove("parameters");
        for (method, operation) in methods.iter_mut() {
            let own = parameters.as_array().unwrap().iter();
            let own = own
                .filter(|parameter| parameter["name"] != "account")
                .cloned();
            let mut own: Vec<Value> = own.collect();
            for parameter in &mut own {
                let name = parameter["name"].as_str().unwrap();
                if method == "delete" {
                    parameter["schema"] = json!({"enum": ["other", "nobody"]});
                } else if let Some(values) = known.get(name) {
                    parameter["schema"] = json!({"enum": values});
                }
            }
            let also = operation.get("parameters").and_then(Value::as_array);
            let also = also.into_iter().flatten();
            // An answer that goes on until the client leaves is no hang.
            own.extend(also.filter(|one| one["name"] != "follow").cloned());
            operation["parameters"] = own.into();
        }
        aimed.insert(
            path.replace("{account}", account),
            Value::Object(methods.clone()),
        );
    }
    *paths = aimed;
    description
}

#[tokio::test]
async fn bad_requests_break_nothing_and_leave_no_half_of_anything() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = prober(&world);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let list = ["containers", "list", "--json"];
    let applications = server.wrangler_ok(&project, list, "").await;
    let applications: Value = serde_json::from_str(&applications).unwrap();
    let list = ["versions", "list", "--json"];
    let versions = server.wrangler_ok(&project, list, "").await;
    let versions: Value = serde_json::from_str(&versions).unwrap();

    let account = server.variable("CLOUDFLARE_ACCOUNT_ID");
    let known = json!({
        "name": ["prober", "other"],
        "id": [applications[0]["id"], "other"],
        "version": [versions[0]["id"], "other"],
        "secret": ["KEY", "other"],
        "domain": [server.variable("CLOUDFLARE_CONTAINER_REGISTRY"), "docker.io"],
    });
    let file = data.path().join("aimed.json");
    std::fs::write(&file, aimed(account, &known).to_string()).unwrap();
    let seconds = std::env::var("BERTH_FUZZ_SECONDS").unwrap_or_else(|_| "20".to_owned());
    let run = world
        .schemathesis(
            &file,
            server.variable("CLOUDFLARE_API_BASE_URL"),
            server.variable("CLOUDFLARE_API_TOKEN"),
            &[
                "--seed=1",
                "--phases=coverage,fuzzing,stateful",
                &format!("--max-time={seconds}"),
                // A deployment that starts a Worker takes its time, also on a machine that is busy.
                "--request-timeout=30",
                "--continue-on-failure",
                "--no-shrink",
                "--warnings=off",
                "--checks=not_a_server_error,status_code_conformance,\
                 content_type_conformance,response_schema_conformance",
            ],
        )
        .await;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success(),
        "{said}\n{}\n{}",
        String::from_utf8_lossy(&run.stderr),
        server.transcript()
    );
    assert!(
        !server.transcript().contains("panicked"),
        "{}",
        server.transcript()
    );

    // What it has made of everything is still a whole: all of it can be read, and deployed over.
    let read = async |server: &ServerSession| {
        for path in [
            "/workers/scripts",
            "/containers/applications",
            "/containers/registries",
        ] {
            server.api(Method::GET, path, Value::Null).await.ok();
        }
    };
    read(&server).await;
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("prober", "/x").await, "the Worker: /x");
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    read(&server).await;
    let itself = server.text("prober", "/connect/127.0.0.1/8080").await;
    assert!(itself.contains("200 OK"), "{itself}");
    server.stop().await;
}
