//! `rollout: "atomic"`: an object sees new code only together with its new image. Every answer names the version
//! of the Worker, twice, and that of the image; with the real wrangler and with `berth deploy`.

use berth_test::{Project, ServerSession, World};
use http::Method;
use serde_json::{Value, json};

use crate::load::{Seen, during};
use crate::serve_rollout::{self, application};
use crate::world;

const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Greeter extends Container {
  defaultPort = 8080;
  async fetch(request) {
    const answer = await super.fetch(request);
    return new Response(`${this.env.WORD} ${await answer.text()}`);
  }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/word") return new Response(env.WORD);
    const answer = await getContainer(env.GREETER, pathname).fetch(request);
    return new Response(`${env.WORD} ${await answer.text()}`, answer);
  },
};
"#;

const OBJECTS: [&str; 3] = ["/a", "/b", "/c"];

pub(crate) fn project(world: &World) -> Project {
    let project = serve_rollout::project(world, &json!({}));
    project.write("index.js", WORKER);
    project
}

/// A Worker of this word, with these other fields of the configuration.
fn configure(project: &Project, word: &str, container: &Value, more: &Value) {
    serve_rollout::configure(project, container);
    let path = project.path().join("wrangler.jsonc");
    let config = std::fs::read_to_string(path).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    config["vars"] = json!({"WORD": word});
    project.write("wrangler.jsonc", config.to_string());
}

/// wrangler passes this on.
pub(crate) fn wrangler_says() -> Value {
    json!({"unsafe": {"metadata": {"berth": {"rollout": "atomic"}}}})
}

pub(crate) fn say(project: &Project, word: &str, more: &Value) {
    configure(project, word, &json!({}), more);
    project.write("greeting", word);
}

/// Of every answer the versions that it names: the Worker's, the object's, the image's.
fn assert_pairs(seen: &Seen, words: [&str; 2]) {
    seen.assert_whole();
    for (path, text) in &seen.answers {
        let named: Vec<&str> = text.split(' ').take(3).collect();
        assert!(
            named == [words[0]; 3] || named == [words[1]; 3],
            "mixed at {path}: {text}"
        );
    }
    for object in OBJECTS {
        let mut answers = seen.of(object);
        assert!(answers.next().unwrap().starts_with(words[0]), "{object}");
        assert!(
            answers.next_back().unwrap().starts_with(words[1]),
            "{object}"
        );
    }
}

/// One more answer of each object, after a change.
async fn ask_all(server: &ServerSession) {
    for object in OBJECTS {
        server.text("greeter", object).await;
    }
}

async fn deployments(server: &ServerSession) -> Value {
    let path = "/workers/scripts/greeter/deployments";
    let listed = server.api(Method::GET, path, Value::Null).await.ok().json();
    listed["result"].clone()
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn wrangler_deploys_a_worker_and_its_image_at_the_same_moment() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world);
    say(&project, "word1", &wrangler_says());
    server.wrangler_ok(&project, ["deploy"], "").await;
    ask_all(&server).await;

    // Both change.
    say(&project, "word2", &wrangler_says());
    let deploy = async {
        server.wrangler_ok(&project, ["deploy"], "").await;
        ask_all(&server).await;
    };
    let ((), seen) = during(&server, "greeter", &OBJECTS, deploy).await;
    assert_pairs(&seen, ["word1", "word2"]);
    serve_rollout::until(&server, &["/a"], |_, rollout| {
        rollout["status"] == "completed"
    })
    .await;
    let first = deployments(&server).await["deployments"][1].clone();

    // Its image cannot be had: it ends half-way, and what was live is, whole, also after a restart.
    let unknown = format!(
        "{}/nothing:here",
        server.variable("CLOUDFLARE_CONTAINER_REGISTRY")
    );
    configure(
        &project,
        "word3",
        &json!({"image": unknown}),
        &wrangler_says(),
    );
    let (failed, seen) = during(&server, "greeter", &OBJECTS, async {
        server.wrangler(&project, ["deploy"], "").await
    })
    .await;
    assert!(!failed.status.success(), "{}", said(&failed));
    assert_pairs(&seen, ["word2", "word2"]);
    let waiting = deployments(&server).await["pending"]["version_id"].clone();
    let waiting = waiting.as_str().unwrap();
    let listed = server.berth_ok(&project, ["deployments", "list"], "").await;
    assert!(listed.contains(&format!("Version {waiting}")), "{listed}");
    assert!(listed.contains("waits for its containers"), "{listed}");
    let status = server.berth_ok(&project, ["status"], "").await;
    assert!(
        status.contains(&format!("Waiting     version {waiting}")),
        "{status}"
    );
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server(data.path()).await;
    let answer = server.text("greeter", "/a").await;
    assert!(answer.starts_with("word2 word2 word2 "), "{answer}");

    // Without a look at the containers nothing goes live.
    say(&project, "word4", &wrangler_says());
    let none = server
        .wrangler(&project, ["deploy", "--containers-rollout=none"], "")
        .await;
    let none_said = said(&none);
    assert!(!none.status.success(), "{none_said}");
    assert!(none_said.contains("versions deploy"), "{none_said}");
    assert_eq!(server.text("greeter", "/word").await, "word2");

    // The next deployment does it, and nothing waits any more.
    server.wrangler_ok(&project, ["deploy"], "").await;
    let answer = server.text("greeter", "/a").await;
    assert!(answer.starts_with("word4 word4 word4 "), "{answer}");
    assert_eq!(deployments(&server).await["pending"], Value::Null);

    // The image stays: the containers do, too.
    configure(&project, "word5", &json!({}), &wrangler_says());
    let counted = server.text("greeter", "/b").await;
    let count: u64 = counted.rsplit_once(' ').unwrap().1.parse().unwrap();
    server.wrangler_ok(&project, ["deploy"], "").await;
    let answer = server.text("greeter", "/b").await;
    assert_eq!(answer, format!("word5 word5 word4 {}", count + 1));

    // Going back is at the same moment, too.
    say(&project, "word6", &wrangler_says());
    server.wrangler_ok(&project, ["deploy"], "").await;
    ask_all(&server).await;
    let version = first["versions"][0]["version_id"].clone();
    let back = json!({
        "strategy": "percentage", "versions": [{"version_id": version, "percentage": 100}],
    });
    let path = "/workers/scripts/greeter/deployments";
    let ((), seen) = during(&server, "greeter", &OBJECTS, async {
        server.api(Method::POST, path, back).await.ok();
        ask_all(&server).await;
    })
    .await;
    assert_pairs(&seen, ["word6", "word1"]);
    server.stop().await;
}

#[tokio::test]
async fn a_deployment_whose_new_instances_fail_goes_back_whole() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world);
    let own = json!({"containers": {"Greeter": {"rollout": "atomic"}}});
    project.write("berth.jsonc", own.to_string());
    say(&project, "word1", &json!({}));
    server.berth_ok(&project, ["deploy"], "").await;
    ask_all(&server).await;
    let first = deployments(&server).await["deployments"][0].clone();

    // There is no such program in the new image.
    say(&project, "word2", &json!({}));
    let dockerfile = project.read("Dockerfile");
    let broken = dockerfile.replace("CMD [\"/", "CMD [\"/not-");
    assert_ne!(dockerfile, broken);
    project.write("Dockerfile", broken);
    let (output, seen) = during(&server, "greeter", &OBJECTS, async {
        server.berth(&project, ["deploy", "--wait"], "", &[]).await
    })
    .await;
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    for needle in [
        "`reverted`",
        "did not start",
        "the version before is live again",
    ] {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    // While it was tried there was no answer of a container; none came from one of them with the other.
    for (path, text) in &seen.answers {
        let whole = ["word1 word1 word1 ", "word2 word2 Failed to start"];
        assert!(
            whole.iter().any(|whole| text.starts_with(whole)),
            "{path}: {text}"
        );
    }
    let (_, rollout) = serve_rollout::until(&server, &OBJECTS, |answers, _| {
        answers
            .iter()
            .all(|answer| answer.starts_with("word1 word1 word1 "))
    })
    .await;
    assert_eq!(rollout["status"], "completed", "{rollout}");
    let all = deployments(&server).await["deployments"].clone();
    assert_eq!(all[0]["versions"], first["versions"], "{all}");
    let message = all[0]["annotations"]["workers/message"].as_str().unwrap();
    assert!(message.contains("did not start"), "{message}");
    let logs = server
        .berth_ok(&project, ["logs", "--app", "greeter"], "")
        .await;
    assert!(logs.contains("the deployment is given up"), "{logs}");

    // The next one is as any.
    project.write("Dockerfile", dockerfile);
    say(&project, "word3", &json!({}));
    let text = server.berth_ok(&project, ["deploy", "--wait"], "").await;
    assert!(text.contains("1 of 1"), "{text}");
    assert!(
        server
            .text("greeter", "/a")
            .await
            .starts_with("word3 word3 word3 ")
    );
    server.stop().await;
}

/// Starts its container with the one image that there is.
const BOXES: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Box extends DurableObject {
  async ask() {
    const { container } = this.ctx;
    if (!container.running) {
      container.start({ image: container.images.only, enableInternet: false });
      container.monitor().catch(() => {});
    }
    for (let tries = 0; ; tries++) {
      try {
        return `${this.env.WORD} ${await (await container.getTcpPort(8080).fetch("http://box/x")).text()}`;
      } catch (error) {
        if (tries > 20) throw error;
      }
    }
  }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    return new Response(`${env.WORD} ${await env.BOX.getByName(pathname).ask()}`);
  },
};
"#;

/// A Worker `greeter` whose objects choose their images themselves.
pub(crate) fn choosing(world: &World) -> Project {
    let project = serve_rollout::project(world, &json!({}));
    project.write("index.js", BOXES);
    project
}

pub(crate) fn say_choosing(project: &Project, word: &str) {
    let mut config = json!({
        "name": "greeter", "main": "index.js", "compatibility_date": "2026-11-01",
        "containers": [{"class_name": "Box", "scheduling_policy": "durable_object",
            "images": {"only": {"dockerfile": "./Dockerfile"}}}],
        "durable_objects": {"bindings": [{"name": "BOX", "class_name": "Box"}]},
        "migrations": [{"tag": "v1", "new_sqlite_classes": ["Box"]}],
        "vars": {"WORD": word},
    });
    let atomic = wrangler_says().as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(atomic);
    project.write("wrangler.jsonc", config.to_string());
    project.write("greeting", word);
}

#[tokio::test]
async fn objects_that_choose_have_new_code_and_new_images_at_the_same_moment() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = choosing(&world);
    say_choosing(&project, "word1");
    server.wrangler_ok(&project, ["deploy"], "").await;
    ask_all(&server).await;
    for (former, next) in [("word1", "word2"), ("word2", "word3")] {
        say_choosing(&project, next);
        let ((), seen) = during(&server, "greeter", &OBJECTS, async {
            server.wrangler_ok(&project, ["deploy"], "").await;
            ask_all(&server).await;
        })
        .await;
        assert_pairs(&seen, [former, next]);
    }
    // The code alone changes: the containers stay.
    let counted = server.text("greeter", "/a").await;
    let count: u64 = counted.rsplit_once(' ').unwrap().1.parse().unwrap();
    let config = project
        .read("wrangler.jsonc")
        .replace("\"WORD\":\"word3\"", "\"WORD\":\"word4\"");
    project.write("wrangler.jsonc", config);
    server.wrangler_ok(&project, ["deploy"], "").await;
    let answer = server.text("greeter", "/a").await;
    assert_eq!(answer, format!("word4 word4 word3 {}", count + 1));
    server.stop().await;
}

#[tokio::test]
async fn berth_deploys_them_at_the_same_moment() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project(&world);
    let own = json!({"containers": {"Greeter": {"rollout": "atomic"}}});
    project.write("berth.jsonc", own.to_string());
    say(&project, "word1", &json!({}));
    server.berth_ok(&project, ["deploy"], "").await;
    ask_all(&server).await;
    let refused = server
        .berth(&project, ["deploy", "--containers-rollout=none"], "", &[])
        .await;
    assert!(
        said(&refused).contains("`Greeter` change together"),
        "{}",
        said(&refused)
    );

    say(&project, "word2", &json!({}));
    let (text, seen) = during(&server, "greeter", &OBJECTS, async {
        let text = server.berth_ok(&project, ["deploy", "--wait"], "").await;
        ask_all(&server).await;
        text
    })
    .await;
    assert_pairs(&seen, ["word1", "word2"]);
    assert!(text.contains("changes with the Worker"), "{text}");

    // A class that comes with it has its containers from the beginning.
    let id = application(&server).await["id"].clone();
    let config = std::fs::read_to_string(project.path().join("wrangler.jsonc")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["vars"] = json!({"WORD": "word3"});
    let mut other = config["containers"][0].clone();
    other["class_name"] = json!("Other");
    config["containers"].as_array_mut().unwrap().push(other);
    let binding = json!({"name": "OTHER", "class_name": "Other"});
    config["durable_objects"]["bindings"]
        .as_array_mut()
        .unwrap()
        .push(binding);
    let migration = json!({"tag": "v2", "new_sqlite_classes": ["Other"]});
    config["migrations"].as_array_mut().unwrap().push(migration);
    project.write("wrangler.jsonc", config.to_string());
    project.write("greeting", "word3");
    let worker = WORKER.replace(
        "if (pathname === \"/word\")",
        "if (pathname === \"/other\") return getContainer(env.OTHER, \"o\").fetch(request);\n    if (pathname === \"/word\")",
    );
    project.write(
        "index.js",
        format!("{worker}\nexport class Other extends Greeter {{}}\n"),
    );
    let (_, seen) = during(&server, "greeter", &OBJECTS, async {
        server.berth_ok(&project, ["deploy"], "").await;
        ask_all(&server).await;
    })
    .await;
    assert_pairs(&seen, ["word2", "word3"]);
    assert_eq!(server.text("greeter", "/other").await, "word3 word3 1");
    assert_eq!(application(&server).await["id"], id);
    server.stop().await;
}
