//! A server that is killed, or replaced by another program: its containers run on, and the next server has
//! them.

use std::time::{Duration, Instant};

use berth_test::{PATIENCE, Project, ServerSession, World};
use http::Method;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::deployed::greeter;
use crate::world;

/// Counts in memory, says what it is told to, asks whom it is told to. Ends with 3 on SIGTERM, with 9 on
/// SIGUSR2.
const PROGRAM: &str = r#"
import http from "node:http";
let count = 0, tick = 0;
const boot = Math.random();
setInterval(() => console.log("tick", tick++), 20);
process.on("SIGTERM", () => { console.log("asked to end"); process.exit(3); });
process.on("SIGUSR1", () => console.log("said alone"));
process.on("SIGUSR2", () => process.exit(9));
http.createServer(async (request, response) => {
  const url = new URL(request.url, "http://me");
  let answer = {};
  if (url.pathname === "/count") answer = { count: ++count, boot };
  if (url.pathname === "/ask") {
    try {
      const asked = await fetch(url.searchParams.get("url"));
      answer = { text: `${asked.status} ${await asked.text()}` };
    } catch (error) {
      answer = { text: "refused" };
    }
  }
  response.end(JSON.stringify(answer));
}).listen(8080);
"#;

const CONFIG: &str = r#"{
  "name": "keeper",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "containers": [{ "class_name": "Keeper", "image": "./Dockerfile", "max_instances": 3 }],
  "durable_objects": { "bindings": [{ "name": "KEEPER", "class_name": "Keeper" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Keeper"] }]
}"#;

const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export { ContainerProxy } from "@cloudflare/containers";
export class Keeper extends Container {
  defaultPort = 8080;
  sleepAfter = "10m";
  enableInternet = false;
  interceptHttps = true;
  async onStart() { await this.note("onStart"); }
  async onStop(params) { await this.note(`onStop ${params.exitCode}`); }
  async note(hook) {
    await this.ctx.storage.put("hooks", [...(await this.hooks()), hook]);
  }
  async hooks() { return (await this.ctx.storage.get("hooks")) ?? []; }
}
Keeper.outboundByHost = {
  "static.example": () => new Response("intercepted"),
};
export default {
  async fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    const [, name, what] = pathname.split("/");
    const container = getContainer(env.KEEPER, name);
    if (what === "hooks") return Response.json(await container.hooks());
    if (what === "stop") { await container.stop(); return new Response("asked"); }
    return container.fetch(new Request(`http://me/${what}${search}`));
  },
};
"#;

fn project(world: &World) -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    project.write("program.mjs", PROGRAM);
    project.write(
        "Dockerfile",
        "FROM node:22-slim\nCOPY program.mjs /program.mjs\nCMD [\"node\", \"/program.mjs\"]\n",
    );
    project.install(world, "@cloudflare/containers", "0.3.7");
    project
}

/// A data directory that has the image which [`project`] builds on.
fn data(world: &World) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    world.add_base_images(data.path());
    data
}

async fn get(server: &ServerSession, path: &str) -> Value {
    server.get("keeper", path).await.ok().json()
}

async fn ask(server: &ServerSession, url: &str) -> String {
    let answer = get(server, &format!("/a/ask?url={url}")).await;
    answer["text"].as_str().unwrap().to_owned()
}

async fn list(server: &ServerSession, path: &str) -> Vec<Value> {
    let answer = server.api(Method::GET, path, Value::Null).await.ok().json();
    answer["result"].as_array().unwrap().clone()
}

async fn running(server: &ServerSession) -> Option<Value> {
    running_of(server, "keeper").await
}

/// The instance that runs, if one does.
async fn running_of(server: &ServerSession, app: &str) -> Option<Value> {
    let instances = list(server, &format!("/berth/instances?app={app}")).await;
    let mut running = instances
        .into_iter()
        .filter(|one| one["state"] == "running");
    let found = running.next();
    assert!(running.next().is_none(), "one instance");
    found
}

/// Lines and events whose text has this in it.
async fn logs(server: &ServerSession, text: &str) -> Vec<Value> {
    let text = text.replace(' ', "%20");
    let path = format!("/berth/logs?app=keeper&limit=1000&text={text}");
    list(server, &path).await
}

/// Asks until the answer is as wanted.
async fn until<T, F: Future<Output = T>>(
    what: &str,
    ask: impl Fn() -> F,
    done: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let begin = Instant::now();
    loop {
        let answer = ask().await;
        if done(&answer) {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {answer:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The process of the one container.
fn process(server: &ServerSession) -> i32 {
    let found = server.container_processes("program.mjs");
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn signal(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A pidfd, to see whether a process has ended whatever its number is given to.
struct Watched(std::os::fd::OwnedFd);

impl Watched {
    fn new(pid: i32) -> Self {
        let pid = Pid::from_raw(pid).unwrap();
        Self(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap())
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let mut fds = [rustix::event::PollFd::new(
            &self.0,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec::try_from(limit).unwrap();
        rustix::event::poll(&mut fds, Some(&limit)).unwrap() == 1
    }
}

/// What the container may do, and what not.
async fn egress_is_as_ever(server: &ServerSession) {
    assert_eq!(
        ask(server, "http://static.example/").await,
        "200 intercepted"
    );
    assert_eq!(
        ask(server, "https://static.example/").await,
        "200 intercepted"
    );
    let other = ask(server, "http://other.example/").await;
    assert!(other == "refused" || other.starts_with("520"), "{other}");
}

#[tokio::test]
async fn containers_outlive_a_server_that_is_killed() {
    let world = world();
    let data = data(&world);
    let server = world.server(data.path()).await;
    let project = project(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    let first = get(&server, "/a/count").await;
    assert_eq!(first["count"], 1);
    egress_is_as_ever(&server).await;
    let instance = running(&server).await.unwrap();
    let (session, pid) = (server.session().to_owned(), process(&server));
    let watched = Watched::new(pid);

    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    signal(pid, Signal::USR1);
    let server = world.server(data.path()).await;
    assert_eq!(server.session(), session);
    assert_eq!(process(&server), pid);
    let again = running(&server).await.unwrap();
    for same in ["id", "name", "since", "image", "version", "size", "created"] {
        assert_eq!(again[same], instance[same], "{same}");
    }
    let second = get(&server, "/a/count").await;
    assert_eq!(
        (&second["count"], &second["boot"]),
        (&json!(2), &first["boot"])
    );
    egress_is_as_ever(&server).await;
    let usage = running(&server).await.unwrap()["usage"].clone();
    for metered in ["cpu_ns", "egress_bytes", "ingress_bytes", "running_ms"] {
        let at_least = instance["usage"][metered].as_u64().unwrap();
        assert!(
            usage[metered].as_u64().unwrap() > at_least,
            "{metered}: {usage}"
        );
    }
    // What it said while nobody listened is there, once.
    until(
        "the line",
        || logs(&server, "said alone"),
        |lines| lines.len() == 1,
    )
    .await;
    let ticks = logs(&server, "tick").await;
    let mut ticks: Vec<u64> = ticks
        .iter()
        .map(|line| line["text"].as_str().unwrap()[5..].parse().unwrap())
        .collect();
    ticks.sort_unstable();
    let missing = ticks.windows(2).filter(|two| two[1] != two[0] + 1);
    // But for what the killed server had read and not yet kept, which is said.
    assert!(missing.count() <= 1, "{ticks:?}");
    assert_eq!(logs(&server, "runs on").await.len(), 1);

    // It ends as any other.
    assert!(!watched.ends_within(Duration::ZERO));
    assert_eq!(server.text("keeper", "/a/stop").await, "asked");
    let hooks = || get(&server, "/a/hooks");
    let ended = json!(["onStart", "onStop 3"]);
    until("the hooks", hooks, |hooks| *hooks == ended).await;
    assert!(watched.ends_within(PATIENCE));
    assert!(running(&server).await.is_none());
    let fresh = get(&server, "/a/count").await;
    assert_eq!(fresh["count"], 1);
    assert_ne!(fresh["boot"], first["boot"]);

    // It is as good the third time.
    let pid = process(&server);
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server(data.path()).await;
    assert_eq!(process(&server), pid);
    server.stop().await;
}

#[tokio::test]
async fn what_ends_between_two_servers_is_reported_with_its_code() {
    let world = world();
    let data = data(&world);
    let server = world.server(data.path()).await;
    let project = project(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    let first = get(&server, "/a/count").await;
    let pid = process(&server);
    let watched = Watched::new(pid);
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    signal(pid, Signal::USR2);
    assert!(watched.ends_within(PATIENCE));

    let server = world.server(data.path()).await;
    let stopped = || logs(&server, "stopped with exit code");
    let stopped = until("its end", stopped, |events| !events.is_empty()).await;
    assert_eq!(stopped.len(), 1, "{stopped:#?}");
    assert_eq!(stopped[0]["data"]["exit_code"], 9);
    let instances = list(&server, "/berth/instances?app=keeper").await;
    assert_eq!(instances[0]["state"], "failed");
    assert_eq!(instances[0]["reason"], "exit code 9");
    let fresh = get(&server, "/a/count").await;
    assert_eq!(fresh["count"], 1);
    assert_ne!(fresh["boot"], first["boot"]);

    server.stop().await;
}

#[tokio::test]
async fn what_is_idle_ends_under_the_next_server() {
    let world = world();
    let data = data(&world);
    let server = world.server(data.path()).await;
    let project = project(&world);
    project.replace("index.js", "sleepAfter = \"10m\"", "sleepAfter = \"8s\"");
    server.berth_ok(&project, ["deploy"], "").await;
    get(&server, "/a/count").await;
    let watched = Watched::new(process(&server));
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server(data.path()).await;
    // Nobody asks any more: its object's alarm has it end.
    assert!(watched.ends_within(PATIENCE));
    until(
        "its end",
        || logs(&server, "asked to end"),
        |lines| lines.len() == 1,
    )
    .await;
    server.stop().await;
}

/// The memory files in which records of containers are.
fn memos() -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        found.extend(fds.flatten().map(|fd| fd.path()).filter(|fd| {
            std::fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().contains("berth-memo"))
        }));
    }
    found
}

#[tokio::test]
async fn a_container_whose_record_is_damaged_is_ended_and_the_next_is_a_fresh_one() {
    let world = world();
    let data = data(&world);
    let server = world.server(data.path()).await;
    let project = project(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    let first = get(&server, "/a/count").await;
    let object = running(&server).await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let watched = Watched::new(process(&server));
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let mut damaged = 0;
    for memo in memos() {
        // Tests of others run beside this one.
        let bytes = std::fs::read(&memo).unwrap_or_default();
        if String::from_utf8_lossy(&bytes).contains(&object) {
            std::fs::write(&memo, b"nonsense").unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);

    let server = world.server(data.path()).await;
    assert!(watched.ends_within(Duration::ZERO), "before anybody asks");
    let said = list(&server, "/berth/logs?limit=1000&text=taken%20over").await;
    let text = said[0]["text"].as_str().unwrap();
    assert!(text.contains("its record cannot be read"), "{said:#?}");
    let fresh = get(&server, "/a/count").await;
    assert_eq!(fresh["count"], 1);
    assert_ne!(fresh["boot"], first["boot"]);
    server.stop().await;
}

#[tokio::test]
async fn a_program_is_replaced_in_place_and_its_containers_run_on() {
    let world = world();
    let data = data(&world);
    let settings = "[containers]\nkeep_on_stop = true\nkeep_for = \"60s\"\n";
    std::fs::write(data.path().join("berth.toml"), settings).unwrap();
    let program = data.path().join("berth");
    let install = || {
        let new = data.path().join("new");
        std::fs::copy(world.binary(), &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
    };
    install();
    let server = world.server_from(&program, data.path()).await;
    let project = project(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    let first = get(&server, "/a/count").await;
    let pid = process(&server);

    install();
    let ended = server.terminate().await;
    assert!(ended.status.success(), "{:?}", ended.status);
    ended.footprint.assert_server_ends();
    let server = world.server_from(&program, data.path()).await;
    assert_eq!(process(&server), pid);
    let second = get(&server, "/a/count").await;
    assert_eq!(
        (&second["count"], &second["boot"]),
        (&json!(2), &first["boot"])
    );
    assert_eq!(get(&server, "/a/hooks").await, json!(["onStart"]));
    egress_is_as_ever(&server).await;
    // SIGINT ends everything.
    server.stop().await;
}

#[tokio::test]
async fn containers_of_a_program_that_speaks_otherwise_are_ended_and_that_is_said() {
    let world = world();
    let (data, points) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = world.server_that_crashes(data.path(), points.path()).await;
    let project = greeter(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("greeter", "/a").await, "hello 1");
    let found = server.container_processes("greeter");
    let watched = Watched::new(found[0]);
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    std::fs::write(points.path().join("zygote.protocol"), "3").unwrap();

    let server = world.server_that_crashes(data.path(), points.path()).await;
    assert!(watched.ends_within(Duration::ZERO), "before anybody asks");
    killed.footprint.assert_gone();
    let transcript = server.transcript();
    assert!(transcript.contains("speaks version 3"), "{transcript}");
    let said = list(&server, "/berth/logs?limit=1000&text=have%20been%20ended").await;
    let text = said[0]["text"].as_str().unwrap();
    assert!(text.contains("speaks version 3"), "{said:#?}");
    std::fs::remove_file(points.path().join("zygote.protocol")).unwrap();
    assert_eq!(server.text("greeter", "/a").await, "hello 1");
    server.stop().await;
}

/// Wherever a server is killed while a container starts or ends: the next one has it, or has ended it.
#[tokio::test]
async fn killed_at_any_step_of_a_container_the_next_server_has_it_whole_or_not_at_all() {
    let world = world();
    let (data, points) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = world.server_that_crashes(data.path(), points.path()).await;
    let project = greeter(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    for point in [
        "sidecar.network",
        "create.made",
        "start.launched",
        "start.left",
        "start.running",
        "exit.seen",
        "exit.told",
    ] {
        if point.starts_with("exit") {
            std::fs::write(points.path().join(point), "").unwrap();
            end_containers(&server);
        } else {
            end_containers(&server);
            until(
                "its end",
                || running_of(&server, "greeter"),
                Option::is_none,
            )
            .await;
            std::fs::write(points.path().join(point), "").unwrap();
            let client = server.client("greeter");
            // Nobody answers.
            tokio::spawn(async move { client.get("/a").await });
        }
        let killed = server.crashed().await;
        killed.footprint.assert_server_ends();
        server = world.server_that_crashes(data.path(), points.path()).await;
        // It answers for the first time, whatever there was of it.
        assert_eq!(server.text("greeter", "/a").await, "hello 1", "{point}");
    }
    server.stop().await;
}

fn end_containers(server: &ServerSession) {
    let found = server.container_processes("greeter");
    found.into_iter().for_each(|pid| signal(pid, Signal::TERM));
}

#[tokio::test]
async fn nobody_comes_for_containers_that_end_when_their_time_is_over() {
    let world = world();
    let data = data(&world);
    std::fs::write(
        data.path().join("berth.toml"),
        "[containers]\nkeep_for = \"2s\"\n",
    )
    .unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world);
    server.berth_ok(&project, ["deploy"], "").await;
    get(&server, "/a/count").await;
    let watched = Watched::new(process(&server));
    let killed = server.kill().await;
    assert!(watched.ends_within(PATIENCE));
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    killed.footprint.assert_gone();
    assert_eq!(get(&server, "/a/count").await["count"], 1);
    server.stop().await;
}
