//! `examples/code-sandbox`: two languages, time limits, users apart, no network, no privileges.

use std::time::{Duration, Instant};

use berth_test::{Client, Project, Reply};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world;

async fn post(client: &Client, user: Option<&str>, body: Value) -> Reply {
    let mut request = client.request(Method::POST, "/execute", body.to_string());
    if let Some(user) = user {
        request
            .headers_mut()
            .insert("X-User-ID", user.parse().unwrap());
    }
    client.send(request).await
}

async fn execute(client: &Client, user: &str, language: &str, code: &str) -> Value {
    let body = json!({ "language": language, "code": code, "timeout": 10_000 });
    post(client, Some(user), body).await.ok().json()
}

/// Two users, two languages.
pub(crate) async fn drive(client: &Client) {
    let nobody = post(client, None, json!({})).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);

    let python = execute(client, "alice", "python", "print(sum(range(100)))").await;
    assert_eq!(
        (&python["stdout"], &python["exitCode"]),
        (&json!("4950\n"), &json!(0)),
        "{python}"
    );
    let code = "console.error('oops'); process.exit(3)";
    let script = execute(client, "alice", "javascript", code).await;
    assert_eq!(
        (&script["stderr"], &script["exitCode"]),
        (&json!("oops\n"), &json!(3)),
        "{script}"
    );
    let reply = post(
        client,
        Some("alice"),
        json!({ "language": "cobol", "code": "" }),
    )
    .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);

    execute(
        client,
        "alice",
        "python",
        "open('note.txt', 'w').write('hers')",
    )
    .await;
    let read = "print(open('note.txt').read())";
    assert_eq!(
        execute(client, "alice", "python", read).await["stdout"],
        "hers\n"
    );
    let bob = execute(client, "bob", "python", read).await;
    assert!(
        bob["stderr"]
            .as_str()
            .unwrap()
            .contains("FileNotFoundError"),
        "{bob}"
    );
}

#[tokio::test]
async fn users_run_code_in_containers_of_their_own() {
    let session = world().dev(&Project::example("code-sandbox")).start().await;
    let nobody = post(session.client(), None, json!({})).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("started", "")),
        0
    );
    drive(session.client()).await;
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("started", "Sandbox")),
        2
    );
    session.stop().await;
}

/// What code may not do.
pub(crate) async fn drive_limits(client: &Client) {
    // Boots the container, so that the time below is the snippet's.
    let user = execute(
        client,
        "eve",
        "python",
        "import os; print(os.getuid() != 0)",
    )
    .await;
    assert_eq!(user["stdout"], "True\n", "it does not run as root");

    let began = Instant::now();
    let endless = json!({ "language": "javascript", "code": "for (;;) {}", "timeout": 500 });
    let endless = post(client, Some("eve"), endless).await.ok().json();
    assert_eq!(
        (&endless["timedOut"], &endless["signal"]),
        (&json!(true), &json!("SIGKILL"))
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );

    // With the internet off, a connection to a web port may be taken, but nobody answers through it.
    let request = "import urllib.request\n\
        try:\n    print(urllib.request.urlopen('http://192.0.2.1/', timeout=5).status)\n\
        except OSError:\n    print('refused')";
    let network = execute(client, "eve", "python", request).await;
    assert_eq!(network["stdout"], "refused\n", "{network}");
    let write = execute(client, "eve", "python", "open('/usr/evil', 'w')").await;
    assert!(
        write["stderr"]
            .as_str()
            .unwrap()
            .contains("PermissionError"),
        "{write}"
    );
}

#[tokio::test]
async fn code_has_limits() {
    let session = world().dev(&Project::example("code-sandbox")).start().await;
    drive_limits(session.client()).await;
    session.stop().await;
}
