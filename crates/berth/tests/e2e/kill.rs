//! SIGKILL of every process of a session, and of a daemon at every named step of its API: what ran is
//! adopted or reaped, what is said is true, and nothing is left when the next session has started.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use berth_docker::EGRESS_IMAGE;
use berth_jail::API_CRASH_POINTS;
use berth_test::{DevSession, EngineSession, Killed, PATIENCE, Project, compile_static};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::images::SERVER;
use crate::{class_api, world};

/// The image of the engines that have a data directory of their own.
const IMAGE: &str = "kill-test:1";

#[track_caller]
fn assert_was_killed(killed: &Killed) {
    assert_eq!(killed.status.signal(), Some(Signal::KILL.as_raw()));
}

/// Display names of what runs, as `berth ps` has it.
async fn running(session: &DevSession) -> Vec<String> {
    let output = session.berth(["ps", "--json"]).await;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let running = rows.iter().filter(|row| row["state"] == "running");
    let mut names: Vec<String> = running
        .map(|row| row["instance"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_session_survives_its_workerd_and_its_zygote() {
    let session = class_api::start("0.3.7").await;
    let first = session.get("/fetch/Main/a/id").await.ok().json();
    session.get("/fetch/Short/s/id").await.ok();
    workerd_is_killed(&session, &first).await;
    zygote_is_killed(&session, &first).await;
    session.stop().await;
}

/// The next workerd adopts what runs; what nobody asks for again sleeps when its time has come.
async fn workerd_is_killed(session: &DevSession, first: &Value) {
    let mark = session.events().mark();
    session.kill_child("workerd").await;
    session
        .events()
        .wait_after(mark, "the end of workerd", PATIENCE, |event| {
            event.kind() == "error" && event.text("message").contains("workerd ended")
        })
        .await;
    let after = session.get("/fetch/Main/a/id").await.ok().json();
    assert_eq!(after["boot"], first["boot"], "the same process answers");
    session
        .events()
        .wait_after(mark, "the end of the idle container", PATIENCE, |event| {
            event.is_container("exited", "Short")
        })
        .await;
    let running = running(session).await;
    assert!(
        matches!(running.as_slice(), [only] if only.contains("Main")),
        "{running:?}"
    );
}

/// Every container ends, once and with a reason, and the next request is served by a new start.
async fn zygote_is_killed(session: &DevSession, first: &Value) {
    session.get("/fetch/Main/b/id").await.ok();
    let mark = session.events().mark();
    session.kill_child("berth-zygote").await;
    for _ in ["a", "b"] {
        session
            .events()
            .wait_after(mark, "the hook of a lost container", PATIENCE, |event| {
                event.is_log("hook on")
            })
            .await;
    }
    let second = session.get("/fetch/Main/a/id").await.ok().json();
    assert_ne!(first["boot"], second["boot"]);
    session.get("/fetch/Main/b/id").await.ok();
    assert_eq!(running(session).await.len(), 2);
    let events = session.events().all();
    let count = |wanted: &dyn Fn(&berth_test::Event) -> bool| {
        events[mark..].iter().filter(|event| wanted(event)).count()
    };
    assert_eq!(count(&|event| event.is_container("exited", "Main")), 2);
    assert_eq!(count(&|event| event.is_container("started", "Main")), 2);
    let reason = "the helper process that ran it had ended";
    assert_eq!(count(&|event| event.is_log(reason)), 2);
}

#[tokio::test]
async fn a_cold_request_outlives_the_zygote_and_the_next_one_workerd() {
    let points = tempfile::tempdir().unwrap();
    let world = world();
    let session = world
        .dev(&class_api::project(&world, "0.3.7"))
        .env(berth_crash::VARIABLE, points.path())
        .start()
        .await;
    for (point, instance) in [("zygote.spawn", "a"), ("zygote.runs", "b")] {
        std::fs::write(points.path().join(point), "").unwrap();
        let path = format!("/fetch/Main/{instance}/id");
        session.get(&path).await.ok();
        assert_eq!(entries(points.path()), [""; 0], "{point} is not reached");
    }
    let running_now = running(&session).await;
    assert_eq!(
        running_now.len(),
        1,
        "the other's zygote ended: {running_now:?}"
    );

    let mark = session.events().mark();
    let killed = async {
        let started = |event: &berth_test::Event| event.is_container("started", "Main");
        let events = session.events();
        events.wait_after(mark, "a start", PATIENCE, started).await;
        session.kill_child("workerd").await;
    };
    tokio::join!(ask(&session, "/fetch/Main/c/id"), killed);
    session.get("/fetch/Main/c/id").await.ok();
    assert_eq!(running(&session).await.len(), 2);
    session.stop().await;
}

/// `GET path`, whether it is answered or not.
async fn ask(session: &DevSession, path: &str) {
    let (_, address) = session.url().split_once("//").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // Reset, or closed without an answer.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_session_that_dies_in_a_cold_request_is_cleaned_up_by_the_next_one() {
    let project = Project::example("hello");
    let points = tempfile::tempdir().unwrap();
    let mut dead: Option<Killed> = None;
    for point in ["sidecar.listens", "start.running", "exit.told"] {
        let session = world()
            .dev(&project)
            .env(berth_crash::VARIABLE, points.path())
            .start()
            .await;
        if let Some(dead) = dead.take() {
            dead.footprint.assert_gone();
        }
        // One that runs, and one to which it happens.
        assert!(session.text("/container/a").await.contains("1 request"));
        std::fs::write(points.path().join(point), "").unwrap();
        let path = if point == "exit.told" {
            "/error"
        } else {
            "/container/b"
        };
        ask(&session, path).await;
        let killed = session.crashed().await;
        assert_was_killed(&killed);
        dead = Some(killed);
    }
    let session = world().dev(&project).start().await;
    dead.unwrap().footprint.assert_gone();
    assert!(session.text("/container/a").await.contains("1 request"));
    assert_eq!(running(&session).await.len(), 1);
    session.stop().await;
}

/// Engines that run one after the other in a data directory of their own.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("points")).unwrap();
        Self { directory }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn points(&self) -> PathBuf {
        self.directory.path().join("points")
    }

    async fn engine(&self) -> EngineSession {
        world().engine_in(&self.data(), &self.points()).await
    }

    /// The first one, with an image and something that it keeps.
    async fn first_engine(&self) -> EngineSession {
        let engine = self.engine().await;
        let context = Project::empty();
        context.copy(&compile_static(&world(), SERVER), "tiny-server");
        let dockerfile = "FROM scratch\nCOPY tiny-server /bin/tiny-server\n\
                          ENTRYPOINT [\"/bin/tiny-server\"]\nCMD [\"8080\"]\n";
        let path = context.path().to_str().unwrap();
        let build = ["build", "--tag", IMAGE, "--file", "-", path];
        engine.docker_ok(build, dockerfile).await;
        answers(&engine, "POST", "/volumes/create", json!({"Name": "mine"})).await;
        engine
    }

    /// An engine has just started: only what is to be kept is there.
    async fn assert_clean(&self, engine: &EngineSession, dead: &Killed) {
        dead.footprint.assert_gone();
        assert_eq!(entries(&self.data().join("sessions")), [engine.id()]);
        assert_eq!(entries(&self.data().join("volumes")), ["mine"]);
        // The engine's own, and nothing in it.
        let scratch = self.data().join("scratch");
        let own = entries(&scratch);
        assert_eq!(
            (own.len(), entries(&self.data().join("leases"))),
            (1, own.clone())
        );
        assert_eq!(entries(&scratch.join(&own[0])), [""; 0]);
        assert_eq!(engine.docker_ok(["ps", "-aq"], "").await, "");
        let images = ["image", "inspect", IMAGE, "--format", "{{.RepoTags}}"];
        assert!(engine.docker_ok(images, "").await.contains(IMAGE));
        let half = engine.docker(["image", "inspect", "half:1"], "").await;
        assert!(!half.status.success());
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A request that must be answered well.
async fn answers(engine: &EngineSession, method: &str, path: &str, body: Value) -> String {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = engine.request(method, path, body.as_bytes()).await;
    let (status, text) = answer.unwrap_or_else(|| panic!("{method} {path}: no answer"));
    assert!(
        (200..300).contains(&status),
        "{method} {path}: {status} {text}"
    );
    text
}

#[tokio::test]
async fn an_engine_that_dies_at_any_step_of_its_api_leaves_nothing() {
    let machine = Machine::new();
    let mut engine = machine.first_engine().await;
    for point in API_CRASH_POINTS {
        engine
            .docker_ok(["run", "--detach", "--name", "app", IMAGE], "")
            .await;
        let (method, path, body) = reach(&engine, point).await;
        std::fs::write(machine.points().join(point), "").unwrap();
        let answer = engine.request(method, &path, &body).await;
        assert_eq!(answer, None, "{point}: {method} {path} is answered");
        let dead = engine.crashed().await;
        assert_was_killed(&dead);
        engine = machine.engine().await;
        machine.assert_clean(&engine, &dead).await;
    }
    engine.stop().await;
    assert_eq!(entries(&machine.data().join("volumes")), ["mine"]);
}

/// Does what comes before a point; the request that reaches it.
async fn reach(engine: &EngineSession, point: &str) -> (&'static str, String, Vec<u8>) {
    const VOLUME: &str = "/volumes/create";
    const SIDECAR: &str = "/containers/create?name=app-proxy";
    let volume = json!({"Name": "workerd-snap-half"});
    let sidecar = json!({"Image": EGRESS_IMAGE, "ExposedPorts": {"39001/tcp": {}}});
    let (method, path, body) = match point {
        "sidecar.network" => ("POST", SIDECAR, sidecar),
        "sidecar.listens" | "sidecar.removed" => {
            answers(engine, "POST", SIDECAR, sidecar).await;
            if point == "sidecar.listens" {
                ("POST", "/containers/app-proxy/start", Value::Null)
            } else {
                answers(engine, "POST", "/containers/app-proxy/start", Value::Null).await;
                ("DELETE", "/containers/app-proxy?force=true", Value::Null)
            }
        }
        "volume.made" | "volume.created" => ("POST", VOLUME, volume),
        "volume.moved" => {
            answers(engine, "POST", VOLUME, volume).await;
            ("DELETE", "/volumes/workerd-snap-half", Value::Null)
        }
        "archive.half" => {
            answers(engine, "POST", VOLUME, volume).await;
            let binds = json!({"Binds": ["workerd-snap-half:/mnt"]});
            let helper = json!({"Image": EGRESS_IMAGE, "HostConfig": binds});
            answers(engine, "POST", "/containers/create?name=helper", helper).await;
            let path = "/containers/helper/archive?path=/mnt".to_owned();
            return ("PUT", path, archive());
        }
        "commit.copied" | "commit.layered" => {
            let file = "/containers/app/archive?path=/";
            let (status, text) = engine.request("PUT", file, &archive()).await.unwrap();
            assert_eq!(status, 200, "{text}");
            ("POST", "/commit?container=app&repo=half&tag=1", Value::Null)
        }
        other => panic!("how is {other} reached?"),
    };
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    (method, path.to_owned(), body.into_bytes())
}

/// A file of four MiB, which is many pieces.
fn archive() -> Vec<u8> {
    let directory = Project::empty();
    directory.write("big", vec![b'x'; 4 << 20]);
    let tar = Command::new("tar")
        .args(["--create", "--file", "-", "--directory"])
        .arg(directory.path())
        .arg("big")
        .output()
        .unwrap();
    assert!(tar.status.success(), "{tar:?}");
    tar.stdout
}

/// A process that is none of ours and does not outlive the test.
struct Stranger(Child);

impl Stranger {
    fn spawn() -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_engine_starts_clean_after_kills_and_after_a_reboot() {
    let machine = Machine::new();
    let engine = machine.first_engine().await;
    let run = ["run", "--detach", "--name", "app", IMAGE];
    engine.docker_ok(run, "").await;
    let host = engine.host().to_owned();
    let dead = engine.kill().await;
    let engine = machine.engine().await;
    assert_eq!(engine.host(), host);
    machine.assert_clean(&engine, &dead).await;

    // The zygote goes before the engine has a chance to notice, and nobody is left to reap.
    engine.docker_ok(run, "").await;
    engine.signal(Signal::STOP);
    engine.kill_child("berth-zygote").await;
    let dead = engine.kill().await;
    let engine = machine.engine().await;
    machine.assert_clean(&engine, &dead).await;

    // A reboot: no process is left, their numbers are others', and files stay as they were.
    engine.docker_ok(run, "").await;
    let session = machine.data().join("sessions").join(engine.id());
    let dead = engine.kill().await;
    dead.footprint.assert_processes_end();
    let mut stranger = Stranger::spawn();
    let record = session.join("session.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    value["pid"] = stranger.0.id().into();
    std::fs::write(&record, value.to_string()).unwrap();
    let disk = session.join("containers/0123/disk");
    std::fs::create_dir_all(disk.parent().unwrap()).unwrap();
    std::fs::write(disk, vec![0; 1 << 20]).unwrap();
    assert!(session.join("docker.sock").exists(), "the socket is stale");
    let engine = machine.engine().await;
    assert_eq!(engine.host(), host);
    machine.assert_clean(&engine, &dead).await;
    assert!(
        stranger.0.try_wait().unwrap().is_none(),
        "it is none of ours"
    );
    engine.docker_ok(run, "").await;
    let names = ["ps", "--format", "{{.Names}} {{.State}}"];
    assert_eq!(engine.docker_ok(names, "").await, "app running\n");
    engine.stop().await;
}
