//! The server killed at each named step of a deployment: the next one has the old or the new version, whole,
//! with what its containers ran with, and goes on with what was under way. The same for its workerds, killed all
//! the time. With the real wrangler.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use berth_test::{Project, ServerSession};
use http::Method;
use serde_json::{Value, json};

use crate::load::during;
use crate::serve_rollout::{answers, configure, project, until};
use crate::serve_versions::WORKER;
use crate::{serve_atomic, serve_power, world};

/// A project that says `word` by its variable, its secret's place and its container's image.
fn say(project: &Project, word: &str) {
    configure(project, &json!({"max_instances": 1}));
    let path = project.path().join("wrangler.jsonc");
    let config = std::fs::read_to_string(path).unwrap();
    let config = config.replacen('{', &format!("{{\"vars\": {{\"WORD\": \"{word}\"}},"), 1);
    project.write("wrangler.jsonc", config);
    project.write("greeting", word);
}

/// Without wrangler: it is asked for often.
pub(crate) async fn versions(server: &ServerSession) -> Vec<String> {
    let path = "/workers/scripts/greeter/versions";
    let listed = server.api(Method::GET, path, Value::Null).await.ok().json();
    let items = listed["result"]["items"].as_array().unwrap().iter();
    items
        .map(|version| version["id"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) async fn live_version(server: &ServerSession) -> String {
    let path = "/workers/scripts/greeter/deployments";
    let listed = server.api(Method::GET, path, Value::Null).await.ok().json();
    let live = &listed["result"]["deployments"][0]["versions"][0]["version_id"];
    live.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn killed_at_any_step_the_old_or_the_new_version_is_live_and_whole() {
    let world = world();
    let (data, points) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = world.server_that_crashes(data.path(), points.path()).await;
    let project = project(&world, &json!({}));
    project.write("index.js", WORKER);
    say(&project, "word0");
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(answers(&server, &["/a"]).await, ["word0 1"]);
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
        let live = live_version(&server).await;
        let next = format!("word{}", step + 1);
        say(&project, &next);
        std::fs::write(points.path().join(point), "").unwrap();
        // It loses its server, or is done before.
        let output = server.wrangler(&project, ["deploy"], "").await;
        println!(
            "{point}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let killed = server.crashed().await;
        killed.footprint.assert_server_ends();
        server = world.server_that_crashes(data.path(), points.path()).await;

        if worker_is_new {
            word.clone_from(&next);
        }
        assert_eq!(server.text("greeter", "/word").await, word, "{point}");
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
    say(&project, "later");
    server.wrangler_ok(&project, ["deploy"], "").await;
    until(&server, &["/a"], |answers, _| {
        answers[0].starts_with("later")
    })
    .await;
    assert_eq!(server.text("greeter", "/word").await, "later");
    server.stop().await;
}

#[tokio::test]
async fn a_worker_and_its_containers_change_together_or_not_at_all() {
    let world = world();
    let (data, points) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = world.server_that_crashes(data.path(), points.path()).await;
    let project = serve_atomic::project(&world);
    serve_atomic::say(&project, "word0", &serve_atomic::wrangler_says());
    server.wrangler_ok(&project, ["deploy"], "").await;
    let mut word = "word0".to_owned();
    for (step, (point, is_new)) in [
        ("deploy.tried", false),
        ("image.provided", false),
        ("deploy.replacing", true),
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
        std::fs::write(points.path().join(point), "").unwrap();
        server.wrangler(&project, ["deploy"], "").await;
        let killed = server.crashed().await;
        killed.footprint.assert_server_ends();
        server = world.server_that_crashes(data.path(), points.path()).await;
        if is_new {
            word = next;
        }
        let answer = server.text("greeter", "/a").await;
        let pair = format!("{word} {word} {word} ");
        assert!(answer.starts_with(&pair), "after {point}: {answer}");
    }
    server.stop().await;
}

/// Rhythms in which workerds are killed, in milliseconds: faster than they start, about as fast, and now and then.
const RHYTHMS: [&[u64]; 4] = [&[20], &[110, 50], &[230], &[50, 230, 20, 110]];

/// Deploys while every workerd is killed again and again, and clients ask for the Worker's word, which is always
/// one of these two.
async fn deploy_killing(
    server: &ServerSession,
    project: &Project,
    rhythm: &[u64],
    words: [&str; 2],
) -> (Output, String) {
    let deploy = async {
        let deploy = server.wrangler(project, ["deploy"], "");
        tokio::pin!(deploy);
        let mut killed = 0;
        for pause in rhythm.iter().cycle() {
            tokio::select! {
                output = &mut deploy => return (output, killed),
                () = tokio::time::sleep(Duration::from_millis(*pause)) => {
                    killed += server.kill_children("workerd");
                }
            }
        }
        unreachable!("the rhythm goes on");
    };
    let ((output, killed), seen) = during(server, "greeter", &["/word"], deploy).await;
    let mut failed = std::collections::BTreeMap::<_, usize>::new();
    for failure in seen.failed {
        *failed.entry(failure).or_default() += 1;
    }
    let said = format!(
        "{rhythm:?}: {killed} killed, {} answered, others {failed:#?}\n{}{}",
        seen.answers.len(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(killed > 3, "{killed}");
    let other = seen
        .answers
        .iter()
        .find(|(_, answer)| !words.contains(&answer.as_str()));
    assert_eq!(other, None, "{said}");
    (output, said)
}

/// It says that nothing is wrong.
async fn assert_healthy(server: &ServerSession, project: &Project) {
    let status = server.berth_ok(project, ["status", "--json"], "").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["problems"], json!([]), "{status}");
}

#[tokio::test]
async fn a_deployment_while_its_workerds_are_killed_leaves_a_version_whole() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let (project, namespace) = serve_power::deployed(&world, &server).await;
    for (round, rhythm) in RHYTHMS.into_iter().enumerate() {
        let former = format!("word{round}");
        let count = serve_power::kept(&server, &former).await;
        let next = format!("word{}", round + 1);
        serve_power::say(&project, &next, &namespace);
        let words = [former.as_str(), next.as_str()];
        let (output, said) = deploy_killing(&server, &project, rhythm, words).await;
        println!("{said}");
        let word = server.text("greeter", "/word").await;
        assert!(words.contains(&word.as_str()), "round {round}: {word}");
        // What was said to be done is; what was not is done by the next one.
        if output.status.success() {
            assert_eq!(word, next);
        }
        // The image is not newer than the Worker.
        until(&server, &["/a"], |answers, rollout| {
            let image = answers[0].split(' ').next().unwrap_or_default();
            (image == former || (image == next && word == next))
                && rollout["status"] != "progressing"
        })
        .await;
        assert_eq!(serve_power::kept(&server, &next).await, count + 1);
        server.wrangler_ok(&project, ["deploy"], "").await;
        assert_eq!(server.text("greeter", "/word").await, next);
        until(&server, &["/a"], |answers, rollout| {
            answers[0].starts_with(&next) && rollout["status"] != "progressing"
        })
        .await;
        assert_eq!(serve_power::kept(&server, &next).await, count + 2);
        assert_healthy(&server, &project).await;
    }
    server.stop().await;
}

/// A cache with the tools of the tests, in which a workerd kills itself at its start as long as the second file
/// is there.
fn mortal_tools(cache: &Path) -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let own = tempfile::tempdir().unwrap();
    let tools = Command::new("cp")
        .arg("-rs")
        .arg(cache.join("tools"))
        .arg(own.path())
        .status();
    assert!(tools.unwrap().success());
    let deadly = own.path().join("deadly");
    let entries = std::fs::read_dir(own.path().join("tools")).unwrap();
    for tools in entries {
        let packages = tools.unwrap().path().join("node_modules/@cloudflare");
        for package in std::fs::read_dir(packages).into_iter().flatten().flatten() {
            let program = package.path().join("bin/workerd");
            let is_it = package
                .file_name()
                .to_string_lossy()
                .starts_with("workerd-linux");
            let Ok(real) = std::fs::canonicalize(&program) else {
                continue;
            };
            if !is_it {
                continue;
            }
            std::fs::remove_file(&program).unwrap();
            let (deadly, real) = (deadly.display(), real.display());
            let script =
                format!("#!/bin/sh\n[ -e '{deadly}' ] && kill -9 $$\nexec '{real}' \"$@\"\n");
            std::fs::write(&program, script).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).unwrap();
        }
    }
    (own, deadly)
}

#[tokio::test]
async fn what_is_killed_while_the_server_starts_comes_by_itself() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let (project, _) = serve_power::deployed(&world, &server).await;
    server.stop().await;

    let (tools, deadly) = mortal_tools(&world.cache_dir());
    std::fs::write(&deadly, "").unwrap();
    let variables = [("BERTH_CACHE_DIR", tools.path().to_str().unwrap())];
    let server = world.server_in(data.path(), &[], &variables).await;
    let status = server.berth(&project, ["status", "--json"], "", &[]).await;
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.contains("was killed while starting"), "{status}");
    std::fs::remove_file(&deadly).unwrap();
    // Nobody deploys, and nobody asks the API for anything.
    assert_eq!(serve_power::kept(&server, "again").await, 1);
    assert_eq!(server.text("greeter", "/word").await, "word0");
    assert_healthy(&server, &project).await;
    server.stop().await;
}

#[tokio::test]
async fn an_atomic_deployment_while_its_workerds_are_killed_mixes_nothing() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = serve_atomic::project(&world);
    serve_atomic::say(&project, "word0", &serve_atomic::wrangler_says());
    server.wrangler_ok(&project, ["deploy"], "").await;
    let is_pair = |answer: &str, word: &str| answer.starts_with(&format!("{word} {word} {word} "));
    for (round, rhythm) in RHYTHMS.into_iter().enumerate() {
        let former = format!("word{round}");
        let answer = server.text("greeter", "/a").await;
        assert!(is_pair(&answer, &former), "round {round}: {answer}");
        let next = format!("word{}", round + 1);
        serve_atomic::say(&project, &next, &serve_atomic::wrangler_says());
        let words = [former.as_str(), next.as_str()];
        let (output, said) = deploy_killing(&server, &project, rhythm, words).await;
        println!("{said}");
        let answer = server.text("greeter", "/a").await;
        let is_new = is_pair(&answer, &next);
        assert!(
            is_new || is_pair(&answer, &former),
            "round {round}: {answer}"
        );
        assert!(
            is_new || !output.status.success(),
            "round {round}: {answer}"
        );
        server.wrangler_ok(&project, ["deploy"], "").await;
        let answer = server.text("greeter", "/a").await;
        assert!(is_pair(&answer, &next), "round {round}: {answer}");
        assert_healthy(&server, &project).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn objects_that_choose_never_have_an_old_image_with_new_code() {
    let world = world();
    let (data, points) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = world.server_that_crashes(data.path(), points.path()).await;
    let project = serve_atomic::choosing(&world);
    serve_atomic::say_choosing(&project, "word0");
    server.wrangler_ok(&project, ["deploy"], "").await;
    let mut word = "word0".to_owned();
    for (step, (point, is_new)) in [
        ("deploy.tried", false),
        ("deploy.replacing", true),
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
        serve_atomic::say_choosing(&project, &next);
        std::fs::write(points.path().join(point), "").unwrap();
        server.wrangler(&project, ["deploy"], "").await;
        let killed = server.crashed().await;
        killed.footprint.assert_server_ends();
        server = world.server_that_crashes(data.path(), points.path()).await;
        if is_new {
            word = next;
        }
        let answer = server.text("greeter", "/a").await;
        let pair = format!("{word} {word} {word} ");
        assert!(answer.starts_with(&pair), "after {point}: {answer}");
    }
    // A container with the image that is wanted is the next server's.
    let before = server.text("greeter", "/a").await;
    let count: u64 = before.rsplit_once(' ').unwrap().1.parse().unwrap();
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server_that_crashes(data.path(), points.path()).await;
    let answer = server.text("greeter", "/a").await;
    assert_eq!(answer, format!("{word} {word} {word} {}", count + 1));
    server.stop().await;
}
