//! The container class from npm, unmodified, in its newest release and in one of 0.0.x: properties,
//! hooks and methods, each on a class of `fixtures/class-api`.

use std::path::Path;
use std::time::{Duration, Instant};

use berth_test::{DevSession, PATIENCE, Project, World};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world;

/// The newest release and the last of the line that the first projects were written for.
const VERSIONS: [&str; 2] = ["0.3.7", "0.0.31"];

/// The fixture with one version of the class in its `node_modules`.
pub(crate) fn project(world: &World, version: &str) -> Project {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::copy_of(&manifest.join("tests/fixtures/class-api"));
    let websocket = Project::example("websocket-chat").read("server/websocket.mjs");
    project.write("app/websocket.mjs", websocket);
    project.install(world, "@cloudflare/containers", version);
    project
}

pub(crate) async fn start(version: &str) -> DevSession {
    let world = world();
    let project = project(&world, version);
    world.dev(&project).start().await
}

/// Calls a method of an instance over RPC; its result.
pub(crate) async fn call(session: &DevSession, target: &str, arguments: Value) -> Value {
    let path = format!("/call/{target}");
    session
        .client()
        .post(&path, arguments.to_string())
        .await
        .ok()
        .json()
}

async fn json_at(session: &DevSession, path: &str) -> Value {
    session.get(path).await.ok().json()
}

/// Waits for a hook of the fixture with `detail` in its text.
async fn hook(session: &DevSession, mark: usize, name: &str, detail: &str) {
    let text = format!("hook {name} ");
    let wanted = format!("hook {name} with `{detail}`");
    session
        .events()
        .wait_after(mark, &wanted, PATIENCE, |event| {
            event.is_log(&text) && event.text("message").contains(detail)
        })
        .await;
}

async fn status(session: &DevSession, instance: &str) -> String {
    let state = call(session, &format!("{instance}/getState"), json!([])).await;
    state["status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn ports_and_variables_0_3() {
    ports_and_variables(VERSIONS[0]).await;
}

#[tokio::test]
async fn ports_and_variables_0_0() {
    ports_and_variables(VERSIONS[1]).await;
}

async fn ports_and_variables(version: &str) {
    let session = start(version).await;
    // defaultPort, envVars over the image's, and the user's value over the platform's.
    let env = json_at(&session, "/fetch/Main/a/env").await;
    assert_eq!(env["FROM_CLASS"], "class");
    assert_eq!(env["FROM_IMAGE"], "image");
    assert_eq!(env["OVERRIDDEN"], "class");
    assert_eq!(env["CLOUDFLARE_LOCATION"], "user");
    // What the Worker sent is what the container gets.
    let seen = json_at(&session, "/fetch/Main/a/some/path?query=1").await;
    assert_eq!(
        (&seen["url"], &seen["method"]),
        (&json!("/some/path?query=1"), &json!("GET"))
    );

    // requiredPorts on 127.0.0.1, the second one late: answered when both are there.
    let first = json_at(&session, "/port/Ports/p/8080/id").await;
    let second = json_at(&session, "/port/Ports/p/8081/id").await;
    assert_eq!(first["boot"], second["boot"]);
    assert_eq!(
        (&first["port"], &second["port"]),
        (&json!(8080), &json!(8081))
    );
    let switched = json_at(&session, "/switch/Ports/p/8081/id").await;
    assert_eq!(switched["port"], 8081);

    // getRandom
    let random = json_at(&session, "/random/Main/2/id").await;
    assert!(random["boot"].is_string());

    // start options: variables and entrypoint of one instance, and a class's own entrypoint.
    let options = json!([{ "startOptions": {
        "envVars": { "ONLY": "here" },
        "entrypoint": ["node", "server.mjs", "--of", "options"],
    } }]);
    call(&session, "Main/options/startAndWaitForPorts", options).await;
    assert_eq!(
        json_at(&session, "/fetch/Main/options/env").await["ONLY"],
        "here"
    );
    let argv = json_at(&session, "/fetch/Main/options/argv").await;
    assert_eq!(argv, json!(["--of", "options"]));
    call(
        &session,
        "Manual/m/start",
        json!([{ "envVars": { "MANUAL": "yes" } }]),
    )
    .await;
    assert_eq!(
        json_at(&session, "/fetch/Manual/m/argv").await,
        json!(["from", "entrypoint"])
    );
    assert_eq!(
        json_at(&session, "/fetch/Manual/m/env").await["MANUAL"],
        "yes"
    );
    session.stop().await;
}

#[tokio::test]
async fn life_and_hooks_0_3() {
    life_and_hooks(VERSIONS[0]).await;
}

#[tokio::test]
async fn life_and_hooks_0_0() {
    life_and_hooks(VERSIONS[1]).await;
}

async fn life_and_hooks(version: &str) {
    let session = start(version).await;
    let first = json_at(&session, "/fetch/Main/life/id").await;
    assert_eq!(status(&session, "Main/life").await, "healthy");
    assert_eq!(call(&session, "Main/life/running", json!([])).await, true);

    let mark = session.events().mark();
    call(&session, "Main/life/stop", json!([])).await;
    hook(&session, mark, "onStop", r#""exitCode":0"#).await;
    session.log("got SIGTERM").await;
    let second = json_at(&session, "/fetch/Main/life/id").await;
    assert_ne!(
        first["boot"], second["boot"],
        "a start after a stop is a new process"
    );

    let mark = session.events().mark();
    call(&session, "Main/life/destroy", json!([])).await;
    hook(&session, mark, "onStop", r#""exitCode":137"#).await;

    // An exit of its own, in the middle of a request: the client gets an error, the hook the code.
    json_at(&session, "/fetch/Main/life/id").await;
    let mark = session.events().mark();
    let reply = session.get("/fetch/Main/life/exit?code=42").await;
    assert_eq!(
        reply.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{}",
        reply.text()
    );
    hook(&session, mark, "onStop", r#""exitCode":42"#).await;
    let hooks = call(&session, "Main/life/hooks", json!([])).await;
    let names: Vec<_> = hooks
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["hook"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "onStart", "onStop", "onStart", "onStop", "onStart", "onStop"
        ],
        "each end is told exactly once"
    );

    // A start without ports returns although nobody will ever listen.
    let took = call(&session, "Portless/quiet/timedStart", json!([])).await;
    assert!(took.as_u64().unwrap() < 2500, "start() took {took} ms");
    assert_eq!(
        call(&session, "Portless/quiet/running", json!([])).await,
        true
    );

    // schedule
    let mark = session.events().mark();
    call(&session, "Main/plan/later", json!([1, { "n": 5 }])).await;
    hook(&session, mark, "task", r#""n":5"#).await;
    session.stop().await;
}

#[tokio::test]
async fn sleep_and_activity_0_3() {
    sleep_and_activity(VERSIONS[0]).await;
}

#[tokio::test]
async fn sleep_and_activity_0_0() {
    sleep_and_activity(VERSIONS[1]).await;
}

async fn sleep_and_activity(version: &str) {
    let session = start(version).await;
    let first = json_at(&session, "/fetch/Short/s/id").await;
    // Renewed for longer than sleepAfter, it stays awake: this is about time passing.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        call(&session, "Short/s/touch", json!([])).await;
    }
    assert_eq!(
        json_at(&session, "/fetch/Short/s/id").await["boot"],
        first["boot"]
    );
    let mark = session.events().mark();
    hook(&session, mark, "onActivityExpired", "").await;
    // Its own exit code on SIGTERM, told to onStop: normally by an alarm of the class. The class loses
    // that alarm when it sets it in the millisecond that it runs for (workerd 1.20261117.1 sees no
    // change then), and says what is pending at its next start or stop.
    session
        .events()
        .wait_after(mark, "its exit", PATIENCE, |event| {
            event.is_container("exited", "Short")
        })
        .await;
    let told = async {
        while matches!(
            status(&session, "Short/s").await.as_str(),
            "running" | "healthy"
        ) {}
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("the class has not learned of the exit");
    call(&session, "Short/s/stop", json!([])).await;
    hook(&session, mark, "onStop", r#""exitCode":7"#).await;
    let second = json_at(&session, "/fetch/Short/s/id").await;
    assert_ne!(first["boot"], second["boot"]);
    session.stop().await;
}

#[tokio::test]
async fn egress_follows_enable_internet() {
    let session = start(VERSIONS[0]).await;
    // npm's registry is the one server that a machine which runs these tests must reach.
    for (class, reaches) in [("Main/on", true), ("Offline/off", false)] {
        json_at(&session, &format!("/fetch/{class}/id")).await;
        let name = class.split('/').next().unwrap();
        let instance = session
            .container("started", name)
            .await
            .text("name")
            .to_owned();
        let view = [
            "npm",
            "view",
            "is-number@7.0.0",
            "version",
            "--fetch-retries=0",
        ];
        let arguments = [
            "exec", &instance, "--", view[0], view[1], view[2], view[3], view[4],
        ];
        let output = session.berth(arguments).await;
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            (output.status.success(), stdout.contains("7.0.0")),
            (reaches, reaches),
            "{class}: {stdout}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    // Neither class reaches the host it runs on.
    let port = session.url().rsplit(':').next().unwrap();
    for class in ["Main/on", "Offline/off"] {
        for address in host_addresses() {
            let path = format!("/fetch/{class}/fetch?url=http://{address}:{port}/");
            let reply = json_at(&session, &path).await;
            assert_eq!(
                reply["status"],
                Value::Null,
                "{class} reached {address}: {reply}"
            );
        }
    }
    session.stop().await;
}

/// Loopback, and the address this machine uses towards the world.
fn host_addresses() -> Vec<String> {
    let mut addresses = vec!["127.0.0.1".to_owned()];
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connecting a datagram socket sends nothing; it only chooses the address.
    if socket.connect("198.51.100.1:9").is_ok() {
        addresses.push(socket.local_addr().unwrap().ip().to_string());
    }
    addresses
}
