//! Containers that fail, each in its way: one clear answer to the caller and one in the log, in time.

use std::path::Path;
use std::time::{Duration, Instant};

use berth_test::{DevSession, PATIENCE, Project, World};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::class_api::call;
use crate::world;

/// The class tries for an instance for 8 s and for a port for 20 s more; nothing may take longer
/// than that and one attempt (5 s).
const CALLERS_PATIENCE: Duration = Duration::from_secs(33);

fn project(world: &World) -> Project {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::copy_of(&manifest.join("tests/fixtures/faults"));
    project.write("app/foreign", foreign_program());
    project.install(world, "@cloudflare/containers", "0.3.7");
    project
}

/// This very program, said to be for a machine that nobody has (`e_machine` 0xBEEF).
fn foreign_program() -> Vec<u8> {
    let mut program = std::fs::read("/proc/self/exe").unwrap();
    program.truncate(4096);
    program[18..20].copy_from_slice(&0xBEEF_u16.to_le_bytes());
    program
}

/// One fault: class, the answer's status and a part of its text (or one of two), a part of what is
/// shown.
const FAULTS: [(&str, u16, &str, &str); 6] = [
    (
        "Missing",
        500,
        "executable `/no/such/program` not found in the image",
        "executable `/no/such/program` not found in the image",
    ),
    (
        "Foreign",
        500,
        "`/app/foreign` is not a program that this machine can run",
        "`/app/foreign` is not a program that this machine can run",
    ),
    // The class (0.3.7) has no word for a program that ends well before it listens.
    ("Quits", 500, "Failed to start container", "nothing to do"),
    // On a busy machine the class may hear of the port before it hears of the exit.
    (
        "Fails",
        500,
        "unexpected exit code: 3|not listening in the TCP address",
        "no database",
    ),
    ("Mute", 500, "Failed to start container", ""),
    ("Late", 200, "fine", ""),
];

#[tokio::test]
async fn each_fault_is_one_clear_error_in_time() {
    let world = world();
    let session = world.dev(&project(&world)).start().await;
    let (first, rest) = FAULTS.split_first().unwrap();
    fault_is_told(&session, *first).await;
    // The container that failed is kept for `berth logs` until its object is evicted or starts anew.
    let failed = session
        .container("failed", "Missing")
        .await
        .text("name")
        .to_owned();
    let output = session.berth(["logs", &failed]).await;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("/no/such/program"), "{text}");
    join_all(rest.iter().map(|fault| fault_is_told(&session, *fault))).await;
    session.stop().await;
}

async fn fault_is_told(session: &DevSession, fault: (&str, u16, &str, &str)) {
    let (class, status, answer, shown) = fault;
    let began = Instant::now();
    let reply = session.get(&format!("/fetch/{class}/it/")).await;
    let took = began.elapsed();
    assert_eq!(reply.status.as_u16(), status, "{class}: {}", reply.text());
    let told = answer.split('|').any(|text| reply.text().contains(text));
    assert!(told, "{class}: {}", reply.text());
    assert!(took < CALLERS_PATIENCE, "{class}: {took:?}");
    if !shown.is_empty() {
        let what = format!("{shown} of {class}");
        session
            .event(&what, |event| {
                event.is_log(shown)
                    || (event.is_container("failed", class) && event.text("reason").contains(shown))
            })
            .await;
    }
}

#[tokio::test]
async fn a_port_that_closes_is_an_error_and_the_container_stays() {
    let world = world();
    let session = world.dev(&project(&world)).start().await;
    session.get("/fetch/Closes/it/").await.ok();
    assert_eq!(session.text("/fetch/Closes/it/close").await, "closing");
    let began = Instant::now();
    let reply = session.get("/fetch/Closes/it/").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!reply.text().is_empty());
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("exited", "Closes")),
        0
    );
    session.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_the_program_s_to_handle_and_no_neighbour_s() {
    let world = world();
    let session = world.dev(&project(&world)).start().await;
    session.get("/fetch/Full/neighbour/").await.ok();
    assert_eq!(session.text("/fetch/Full/it/fill").await, "ENOSPC");
    assert_eq!(session.text("/fetch/Full/it/").await, "fine");
    assert_eq!(session.text("/fetch/Full/neighbour/").await, "fine");
    session.stop().await;
}

/// `onStop` of the instance, once more than before, with this exit code.
async fn stopped_once(session: &DevSession, mark: usize, instance: &str, code: i32, all: usize) {
    let wanted = format!(r#""exitCode":{code}"#);
    session
        .events()
        .wait_after(mark, &wanted, PATIENCE, |event| {
            event.is_log("hook onStop") && event.text("message").contains(&wanted)
        })
        .await;
    let hooks = call(session, &format!("{instance}/hooks"), json!([])).await;
    let stops: Vec<&Value> = hooks
        .as_array()
        .unwrap()
        .iter()
        .filter(|hook| hook["hook"] == "onStop")
        .collect();
    assert_eq!(stops.len(), all, "{hooks}");
    assert_eq!(stops[all - 1]["detail"]["reason"], "exit");
}

#[tokio::test]
async fn on_stop_comes_once_however_the_container_ends() {
    let world = world();
    let session = world
        .dev(&project(&world))
        .args(["--stop-grace", "1"])
        .start()
        .await;
    let begin = async |instance: &str| {
        session.get(&format!("/fetch/{instance}/")).await.ok();
        session.events().mark()
    };
    // Out of memory: said as such, and the next request has a new process.
    let mark = begin("Hungry/it").await;
    assert!(
        session
            .get("/fetch/Hungry/it/hog")
            .await
            .status
            .is_server_error()
    );
    stopped_once(&session, mark, "Hungry/it", 137, 1).await;
    session.log("killed: out of memory (limit 128 MiB)").await;
    let exited = session.container("exited", "Hungry").await;
    assert_eq!(exited.text("reason"), "out of memory");
    // A signal.
    let mark = begin("Hungry/it").await;
    call(&session, "Hungry/it/stop", json!(["SIGKILL"])).await;
    stopped_once(&session, mark, "Hungry/it", 137, 2).await;
    // Asked to stop.
    let mark = begin("Closes/it").await;
    call(&session, "Closes/it/stop", json!([])).await;
    stopped_once(&session, mark, "Closes/it", 0, 1).await;
    // Killed by the class.
    let mark = begin("Closes/it").await;
    call(&session, "Closes/it/destroy", json!([])).await;
    stopped_once(&session, mark, "Closes/it", 137, 2).await;
    // Asked to stop, deaf, and killed when the grace is over.
    let mark = begin("Deaf/it").await;
    call(&session, "Deaf/it/stop", json!([])).await;
    session.log("got SIGTERM").await;
    stopped_once(&session, mark, "Deaf/it", 137, 1).await;
    session.stop().await;
}

#[tokio::test]
async fn a_rebuild_stops_once_and_the_next_request_has_the_new_image() {
    let world = world();
    let mut session = world.dev(&project(&world)).with_terminal().start().await;
    session.get("/fetch/Closes/it/").await.ok();
    let mark = session.events().mark();
    session.terminal.as_mut().unwrap().press("r");
    stopped_once(&session, mark, "Closes/it", 0, 1).await;
    assert_eq!(session.text("/fetch/Closes/it/").await, "fine");
    session.stop().await;
}
