//! The power goes at each named step of a deployment: what was not written to the disk is lost. The next server
//! has the old or the new version, whole, and everything that was kept, and the next deployment works. With the
//! real wrangler.

use std::path::Path;
use std::time::Duration;

use berth_test::{Disk, Project, ServerSession, World, reboot_store, run};
use serde_json::{Value, json};

use crate::serve_atomic;
use crate::serve_data::{self, after};
use crate::serve_kill::{live_version, versions};
use crate::serve_rollout::{answers, configure, project, until};
use crate::world;

/// A server that has killed itself is gone within this time.
const SOON: Duration = Duration::from_secs(5);

/// Asks for what it has of the variables, the secrets, KV, the objects' storage, and the containers.
pub(crate) const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Greeter extends Container {
  defaultPort = 8080;
  async count() {
    const count = ((await this.ctx.storage.get("count")) ?? 0) + 1;
    await this.ctx.storage.put("count", count);
    return count;
  }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/word") return new Response(env.WORD);
    if (pathname === "/kept") return new Response(`${env.TOKEN} ${await env.KV.get("key")}`);
    if (pathname === "/count") return new Response(await env.GREETER.getByName("c").count());
    return getContainer(env.GREETER, pathname).fetch(request);
  },
};
"#;

/// A project of [`WORKER`] that says this word by its variable and by its image.
pub(crate) fn say(project: &Project, word: &str, namespace: &str) {
    configure(project, &json!({"max_instances": 1}));
    let path = project.path().join("wrangler.jsonc");
    let config = std::fs::read_to_string(path).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["vars"] = json!({"WORD": word});
    config["kv_namespaces"] = json!([{"binding": "KV", "id": namespace}]);
    project.write("wrangler.jsonc", config.to_string());
    project.write("greeting", word);
}

/// One that says `word0` and keeps what [`kept`] asks for; the id of its KV namespace.
pub(crate) async fn deployed(world: &World, server: &ServerSession) -> (Project, String) {
    let project = project(world, &json!({}));
    project.write("index.js", WORKER);
    let created = ["kv", "namespace", "create", "kept"];
    let created = server.wrangler_ok(&project, created, "").await;
    let namespace = after(&created, "\"id\": \"").to_owned();
    say(&project, "word0", &namespace);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let put = ["secret", "put", "TOKEN"];
    server.wrangler_ok(&project, put, "secret0\n").await;
    let put = [
        "kv",
        "key",
        "put",
        "key",
        "value0",
        "--binding",
        "KV",
        "--remote",
    ];
    server.wrangler_ok(&project, put, "").await;
    assert_eq!(answers(server, &["/a"]).await, ["word0 1"]);
    (project, namespace)
}

/// Checks that secret and value are still there; how often the object has been counted.
pub(crate) async fn kept(server: &ServerSession, when: &str) -> u64 {
    // What has KV may just be starting again.
    serve_data::until(server, "greeter", "/kept", "secret0 value0").await;
    let count = server.text("greeter", "/count").await;
    count.parse().expect(when)
}

/// Deploys until the server comes to this point, where the power goes; the next server.
async fn loses_power(
    world: &World,
    disk: &mut Disk,
    points: &Path,
    (server, project): (ServerSession, &Project),
    point: &str,
) -> ServerSession {
    std::fs::write(points.join(point), "").unwrap();
    let deploy = run(server.wrangler_command(project, ["deploy"]), b"");
    let mut deploy = tokio::spawn(deploy);
    let data = server.data().to_owned();
    let crashed = server.crashed();
    tokio::pin!(crashed);
    let killed = tokio::select! {
        killed = &mut crashed => killed,
        output = &mut deploy => {
            // It has lost its server, or has not come so far.
            let output = output.unwrap();
            let killed = tokio::time::timeout(SOON, crashed).await;
            killed.unwrap_or_else(|_| panic!("{point} is not reached: {output:?}"))
        }
    };
    let remains = disk.remains();
    if !deploy.is_finished() {
        deploy.await.unwrap();
    }
    killed.footprint.lose_power();
    disk.go_on_with(remains);
    reboot_store(&data);
    world.server_that_crashes(&data, points).await
}

#[tokio::test]
async fn without_power_at_any_step_the_old_or_the_new_version_is_live_and_whole() {
    let world = world();
    let (mut disk, points) = (Disk::new(), tempfile::tempdir().unwrap());
    let data = disk.path().join("data");
    let mut server = world.server_that_crashes(&data, points.path()).await;
    let (project, namespace) = deployed(&world, &server).await;
    let mut word = "word0".to_owned();
    let mut known = versions(&server).await;
    // Whether the new Worker is live afterwards, and the new image.
    for (step, (point, worker_is_new, image_is_new)) in [
        ("deploy.tried", false, false),
        ("deploy.recorded", true, false),
        ("deploy.replacing", true, false),
        ("deploy.replaced", true, false),
        ("image.provided", true, false),
        ("rollout.recorded", true, true),
        ("rollout.ending", true, true),
    ]
    .into_iter()
    .enumerate()
    {
        // The containers run, so that a rollout has something to end.
        let image = answers(&server, &["/a"]).await[0][..5].to_owned();
        let count = kept(&server, point).await;
        let live = live_version(&server).await;
        let next = format!("word{}", step + 1);
        say(&project, &next, &namespace);
        let losing = (server, &project);
        server = loses_power(&world, &mut disk, points.path(), losing, point).await;

        if worker_is_new {
            word.clone_from(&next);
        }
        assert_eq!(server.text("greeter", "/word").await, word, "{point}");
        assert_eq!(kept(&server, point).await, count + 1, "{point}");
        let now = live_version(&server).await;
        assert_eq!(now != live, worker_is_new, "{point}");
        let expected = if image_is_new { &next } else { &image };
        until(&server, &["/a"], |answers, rollout| {
            answers[0].starts_with(expected.as_str()) && rollout["status"] != "progressing"
        })
        .await;
        let all = versions(&server).await;
        assert!(
            known.iter().all(|id| all.contains(id)),
            "{point}: a version is lost"
        );
        known = all;
    }
    // The next deployment does what was left undone.
    say(&project, "later", &namespace);
    server.wrangler_ok(&project, ["deploy"], "").await;
    until(&server, &["/a"], |answers, _| {
        answers[0].starts_with("later")
    })
    .await;
    assert_eq!(server.text("greeter", "/word").await, "later");
    server.stop().await;
}

#[tokio::test]
async fn without_power_a_worker_and_its_containers_change_together_or_not_at_all() {
    let world = world();
    let (mut disk, points) = (Disk::new(), tempfile::tempdir().unwrap());
    let data = disk.path().join("data");
    let mut server = world.server_that_crashes(&data, points.path()).await;
    let project = serve_atomic::project(&world);
    serve_atomic::say(&project, "word0", &serve_atomic::wrangler_says());
    server.wrangler_ok(&project, ["deploy"], "").await;
    let mut word = "word0".to_owned();
    for (step, (point, is_new)) in [
        ("image.provided", false),
        ("deploy.between", true),
        ("deploy.replaced", true),
    ]
    .into_iter()
    .enumerate()
    {
        let pair = format!("{word} {word} {word} ");
        let answer = server.text("greeter", "/a").await;
        assert!(answer.starts_with(&pair), "before {point}: {answer}");
        let next = format!("word{}", step + 1);
        serve_atomic::say(&project, &next, &serve_atomic::wrangler_says());
        let losing = (server, &project);
        server = loses_power(&world, &mut disk, points.path(), losing, point).await;
        if is_new {
            word = next;
        }
        let answer = server.text("greeter", "/a").await;
        let pair = format!("{word} {word} {word} ");
        assert!(answer.starts_with(&pair), "after {point}: {answer}");
    }
    server.stop().await;
}
