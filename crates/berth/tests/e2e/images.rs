//! Images: `FROM scratch` with a static program, import of a root file system, listing.

use berth_test::{Program, Project, World, compile_static};
use serde_json::Value;

use crate::terminal::CHATTY;
use crate::world;

/// An HTTP server of one answer, for images without anything else in them.
pub(crate) const SERVER: Program = Program {
    name: "tiny-server",
    source: include_str!("../fixtures/tiny-server.c"),
};

/// The hello example with another image behind it.
fn project(world: &World, dockerfile: &str) -> Project {
    let project = Project::example("hello");
    project.write("Dockerfile", dockerfile);
    project.write(".dockerignore", "");
    project.copy(&compile_static(world, SERVER), "tiny-server");
    project
}

#[tokio::test]
async fn a_static_program_runs_from_scratch() {
    let world = world();
    let project = project(
        &world,
        "FROM scratch\nCOPY tiny-server /bin/tiny-server\nENTRYPOINT [\"/bin/tiny-server\"]\nCMD [\"8080\"]\n",
    );
    let session = world.dev(&project).start().await;
    assert_eq!(session.text("/container/a").await, "tiny\n");
    session.stop().await;
}

/// The Dockerfile is elsewhere, and only the configuration says what to copy from where.
#[tokio::test]
async fn the_configurations_context_and_variables_reach_the_build() {
    let world = world();
    let project = project(&world, "FROM scratch\n");
    project.write(
        "docker/Dockerfile",
        "FROM scratch\nARG PROGRAM=missing\nCOPY ${PROGRAM} /bin/tiny-server\n\
         ENTRYPOINT [\"/bin/tiny-server\"]\nCMD [\"8080\"]\n",
    );
    project.replace(
        "wrangler.jsonc",
        "\"image\": \"./Dockerfile\"",
        "\"image\": \"./docker/Dockerfile\", \"image_build_context\": \".\",\n\
         \"image_vars\": { \"PROGRAM\": \"tiny-server\" }",
    );
    let session = world.dev(&project).start().await;
    assert_eq!(session.text("/container/a").await, "tiny\n");
    session.stop().await;
}

#[tokio::test]
async fn an_imported_root_file_system_is_a_base_image() {
    let world = world();
    let project = project(
        &world,
        "FROM e2e-imported:1\nCMD [\"/bin/tiny-server\", \"8080\"]\n",
    );
    let tree = Project::empty();
    tree.copy(&project.path().join("tiny-server"), "bin/tiny-server");
    let tar = Project::empty();
    let tar = tar.path().join("rootfs.tar");
    let status = std::process::Command::new("tar")
        .args(["--create", "--file"])
        .arg(&tar)
        .arg("--directory")
        .arg(tree.path())
        .arg(".")
        .status()
        .unwrap();
    assert!(status.success());
    let output = world
        .run(["images", "import", tar.to_str().unwrap(), "e2e-imported:1"])
        .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let output = world.run(["images", "list", "--json"]).await;
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(list.to_string().contains("e2e-imported:1"), "{list}");
    let session = world.dev(&project).start().await;
    assert_eq!(session.text("/container/a").await, "tiny\n");
    session.stop().await;

    let nameless = world.run(["images", "import", tar.to_str().unwrap()]).await;
    assert!(!nameless.status.success());
    let message = String::from_utf8_lossy(&nameless.stderr).into_owned();
    assert!(message.contains("carries no name"), "{message}");

    // By its id, as the listing gives it.
    let mut images = list.as_array().unwrap().iter();
    let imported = images.find(|image| image["name"] == "e2e-imported:1");
    let id = imported.unwrap()["id"].as_str().unwrap();
    let output = world.run(["images", "remove", id]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = world.run(["images", "list", "--json"]).await;
    assert!(!String::from_utf8_lossy(&output.stdout).contains("e2e-imported:1"));
    let output = world.run(["images", "remove", "e2e-imported:1"]).await;
    assert!(!output.status.success(), "it is gone already");
}

#[tokio::test]
async fn an_unchanged_image_comes_from_the_cache() {
    let world = world();
    let project = Project::example("frontend-backend");
    let output_lines = |events: &berth_test::Events| {
        events.count(|event| event.kind() == "build" && event.0["message"] == "compiling")
    };
    // A step whose output shows that it was run.
    project.replace(
        "backend/Dockerfile",
        "RUN python",
        "RUN echo compiling && python",
    );
    let stamp = format!("# {:?}\n", std::time::SystemTime::now());
    project.write("backend/stamp.py", stamp);
    let session = world.dev(&project).start().await;
    assert!(
        output_lines(session.events()) > 0,
        "{}",
        session.events().transcript()
    );
    session.stop().await;
    let session = world.dev(&project).start().await;
    assert_eq!(
        output_lines(session.events()),
        0,
        "{}",
        session.events().transcript()
    );
    session.stop().await;
}

/// How much a step may write is said by a flag or by the environment; what is no limit is refused.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_build_are_flags_and_variables() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let project = Project::empty();
    project.copy(&compile_static(&world, CHATTY), "chatty");
    let dockerfile = "FROM scratch\nCOPY chatty /bin/chatty\nRUN [\"/bin/chatty\"]\n";
    project.write("Dockerfile", dockerfile);
    let path = project.path().to_str().unwrap().to_owned();
    let build = |flags: &[&str], limit: &str| {
        let mut command = world.command();
        command
            .args(["containers", "build", &path, "-t", "chatty:1", "--no-cache"])
            .args(flags)
            .env("BERTH_DATA_DIR", data.path())
            .env("BERTH_BUILD_OUTPUT_LIMIT", limit);
        command.output().unwrap()
    };
    let lines = |flags: &[&str], limit: &str| {
        let output = build(flags, limit);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines = events.filter_map(|event: serde_json::Value| {
            // The export tells what it made as well.
            let is_step = event["event"] == "output" && event["step"] == 2;
            is_step.then(|| event["line"].as_str().unwrap().to_owned())
        });
        lines.collect::<Vec<_>>()
    };
    let cut = |bytes: u64| format!("[more than {bytes} bytes: the rest is not shown]");
    // Three lines each time, 40 times.
    assert_eq!(lines(&["--json"], "1MiB").len(), 120);
    assert_eq!(lines(&["--json"], "0"), [cut(0)]);
    let some = lines(&["--json", "--output-limit=1k"], "1MiB");
    assert!((3..12).contains(&some.len()), "{some:#?}");
    assert_eq!(some.last(), Some(&cut(1024)));

    for (flags, limit, named) in [
        (["--memory=1m"].as_slice(), "1MiB", "--memory"),
        (&["--pids-limit=0"], "1MiB", "--pids-limit"),
        (&["--timeout=soon"], "1MiB", "--timeout"),
        (&[], "much", "--output-limit"),
    ] {
        let refused = build(flags, limit);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && text.contains(named), "{text}");
    }
}
