//! Rollouts of containers: in steps, by hand, given up when the new instances fail, and through a restart of
//! the server; with the real wrangler.

use std::time::Duration;

use berth_test::{Project, ServerSession, World};
use http::Method;
use serde_json::{Value, json};

use crate::deployed::greeter;
use crate::world;

/// Longest wait for something that takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// A project whose container has these settings beside its class, image and `max_instances`.
pub(crate) fn project(world: &World, settings: &Value) -> Project {
    let project = greeter(world);
    configure(&project, settings);
    project
}

pub(crate) fn configure(project: &Project, settings: &Value) {
    let mut container =
        json!({"class_name": "Greeter", "image": "./Dockerfile", "max_instances": 4});
    let settings = settings.as_object().unwrap().clone();
    container.as_object_mut().unwrap().extend(settings);
    let config = json!({
        "name": "greeter", "main": "index.js", "compatibility_date": "2026-11-01",
        "containers": [container],
        "durable_objects": {"bindings": [{"name": "GREETER", "class_name": "Greeter"}]},
        "migrations": [{"tag": "v1", "new_sqlite_classes": ["Greeter"]}],
    });
    project.write("wrangler.jsonc", config.to_string());
}

/// Deploys with this greeting in the image.
pub(crate) async fn deploy(server: &ServerSession, project: &Project, greeting: &str) {
    project.write("greeting", greeting);
    server.wrangler_ok(project, ["deploy"], "").await;
}

pub(crate) async fn application(server: &ServerSession) -> Value {
    let path = "/containers/applications";
    let listed = server.api(Method::GET, path, Value::Null).await.ok().json();
    listed["result"][0].clone()
}

/// The newest rollout.
pub(crate) async fn rollout(server: &ServerSession) -> Value {
    let application = application(server).await;
    let id = application["id"].as_str().unwrap();
    let path = format!("/containers/applications/{id}/rollouts");
    let listed = server
        .api(Method::GET, &path, Value::Null)
        .await
        .ok()
        .json();
    listed["result"][0].clone()
}

async fn act(server: &ServerSession, action: &str) -> Value {
    let application = application(server).await;
    let (id, rollout) = (&application["id"], &rollout(server).await["id"]);
    let (id, rollout) = (id.as_str().unwrap(), rollout.as_str().unwrap());
    let path = format!("/containers/applications/{id}/rollouts/{rollout}");
    let acted = server
        .api(Method::POST, &path, json!({"action": action}))
        .await;
    acted.ok().json()["result"]["rollout"].clone()
}

/// What the instances of some objects answer.
pub(crate) async fn answers(server: &ServerSession, objects: &[&str]) -> Vec<String> {
    let mut answers = Vec::new();
    for object in objects {
        // One whose container has just been told to end may fail.
        let answer = server.get("greeter", object).await;
        answers.push(answer.text());
    }
    answers
}

pub(crate) fn with<'a>(answers: &'a [String], greeting: &str) -> Vec<&'a str> {
    let answers = answers.iter().map(String::as_str);
    answers
        .filter(|answer| answer.starts_with(greeting))
        .collect()
}

/// Asks the objects until `done` says so of their answers and the newest rollout.
pub(crate) async fn until(
    server: &ServerSession,
    objects: &[&str],
    done: impl Fn(&[String], &Value) -> bool,
) -> (Vec<String>, Value) {
    let asked = async {
        loop {
            let answers = answers(server, objects).await;
            let rollout = rollout(server).await;
            if done(&answers, &rollout) {
                return (answers, rollout);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(done) => done,
        Err(_) => panic!(
            "{:?}\n{}",
            answers(server, objects).await,
            rollout(server).await
        ),
    }
}

#[tokio::test]
async fn by_hand_a_share_of_the_instances_changes_also_after_a_kill() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let settings = json!({"rollout_step_percentage": [50, 100], "rollout_kind": "full_manual"});
    let project = project(&world, &settings);
    let objects = ["/a", "/b"];
    deploy(&server, &project, "hello").await;
    assert_eq!(answers(&server, &objects).await, ["hello 1", "hello 1"]);

    deploy(&server, &project, "howdy").await;
    let waiting = rollout(&server).await;
    assert_eq!(
        (&waiting["status"], &waiting["kind"]),
        (&json!("pending"), &json!("full_manual"))
    );
    assert_eq!(answers(&server, &objects).await, ["hello 2", "hello 2"]);

    act(&server, "next").await;
    let (first, half) = until(&server, &objects, |answers, rollout| {
        !with(answers, "howdy").is_empty() && rollout["steps"][0]["status"] == "completed"
    })
    .await;
    assert_eq!(
        (with(&first, "howdy").len(), with(&first, "hello").len()),
        (1, 1)
    );
    assert_eq!(half["status"], "progressing");
    let progress =
        json!({"total_steps": 2, "current_step": 1, "updated_instances": 1, "total_instances": 2});
    assert_eq!(half["progress"], progress);
    let id = application(&server).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let instances = ["containers", "instances", &id, "--json"];
    let listed = server.wrangler_ok(&project, instances, "").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut versions: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["version"].clone())
        .collect();
    versions.sort_by_key(Value::to_string);
    assert_eq!(versions, [1, 2], "{listed}");

    // The server dies; each object has the image that it had.
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server(data.path()).await;
    assert_eq!(rollout(&server).await["progress"]["current_step"], 1);
    let again = answers(&server, &objects).await;
    let greetings = |answers: &[String]| -> Vec<String> {
        answers
            .iter()
            .map(|answer| answer[..5].to_owned())
            .collect()
    };
    assert_eq!(greetings(&again), greetings(&first));

    // Back and forth.
    act(&server, "previous").await;
    until(&server, &objects, |answers, _| {
        with(answers, "hello").len() == 2
    })
    .await;
    act(&server, "next").await;
    until(&server, &objects, |answers, rollout| {
        !with(answers, "howdy").is_empty() && rollout["steps"][0]["status"] == "completed"
    })
    .await;
    act(&server, "next").await;
    let (_, done) = until(&server, &objects, |answers, rollout| {
        with(answers, "howdy").len() == 2 && rollout["status"] == "completed"
    })
    .await;
    assert_eq!(done["progress"]["updated_instances"], 2);
    server.stop().await;
}

#[tokio::test]
async fn a_rollout_whose_instances_fail_is_given_up() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world, &json!({"rollout_step_percentage": [50, 100]}));
    let objects = ["/a", "/b"];
    deploy(&server, &project, "hello").await;
    assert_eq!(answers(&server, &objects).await, ["hello 1", "hello 1"]);
    let image = application(&server).await["configuration"]["image"].clone();

    deploy(&server, &project, "crash").await;
    let failed = given_up(&server, &objects).await;
    let reason = failed["steps"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("ended with code 7"), "{reason}");
    assert_eq!(failed["steps"][1]["status"], "pending");
    assert_eq!(application(&server).await["configuration"]["image"], image);
    let (answers, _) = until(&server, &objects, |answers, _| {
        with(answers, "hello").len() == 2
    })
    .await;
    let untouched = answers.iter().filter(|answer| !answer.ends_with(" 1"));
    assert!(
        untouched.count() > 0,
        "one of them was never ended: {answers:?}"
    );

    // It is asked for again, and given up again.
    let again = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(again.contains("Modified application"), "{again}");
    assert_ne!(given_up(&server, &objects).await["id"], failed["id"]);
    until(&server, &objects, |answers, _| {
        with(answers, "hello").len() == 2
    })
    .await;

    // Young instances are left alone until another rollout takes the place of the one that waits.
    configure(&project, &json!({"rollout_active_grace_period": 3600}));
    project.write("greeting", "howdy");
    let immediate = ["deploy", "--containers-rollout=immediate"];
    server.wrangler_ok(&project, immediate, "").await;
    let waiting = rollout(&server).await;
    assert_eq!(waiting["steps"].as_array().unwrap().len(), 1);
    assert_eq!(answers_of(&server, &objects, "hello").await, 2);
    assert_eq!(rollout(&server).await["status"], "progressing");

    // Without the protection they go at once.
    configure(&project, &json!({"rollout_active_grace_period": 0}));
    server.wrangler_ok(&project, immediate, "").await;
    until(&server, &objects, |answers, rollout| {
        with(answers, "howdy").len() == 2 && rollout["status"] == "completed"
    })
    .await;

    let same = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(!same.contains("Modified application"), "{same}");

    // Nothing of the containers changes.
    project.write("greeting", "later");
    let none = ["deploy", "--containers-rollout=none"];
    server.wrangler_ok(&project, none, "").await;
    assert_eq!(rollout(&server).await["status"], "completed");
    assert_eq!(answers_of(&server, &objects, "howdy").await, 2);
    server.stop().await;
}

/// Asks the objects until the newest rollout is given up.
async fn given_up(server: &ServerSession, objects: &[&str]) -> Value {
    let (_, rollout) = until(server, objects, |_, rollout| {
        rollout["status"] == "reverted"
    })
    .await;
    rollout
}

async fn answers_of(server: &ServerSession, objects: &[&str], greeting: &str) -> usize {
    with(&answers(server, objects).await, greeting).len()
}
