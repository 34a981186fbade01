//! `berth engine` and `berth docker`: an unmodified wrangler runs a project on Berth, and the docker
//! commands that it and its like call.

use berth_test::Project;

use crate::world;

/// The class's version in the examples.
const CONTAINERS: (&str, &str) = ("@cloudflare/containers", "0.3.7");

#[tokio::test]
async fn an_unmodified_wrangler_runs_a_project() {
    let world = world();
    let engine = world.engine().await;
    let project = Project::example("hello");
    project.install(&world, CONTAINERS.0, CONTAINERS.1);
    let wrangler = engine.wrangler(&project).await;

    let alice = wrangler.text("/container/alice").await;
    assert!(
        alice.contains("I was passed in via the container class!"),
        "{alice}"
    );
    let again = wrangler.text("/container/alice").await;
    assert!(again.contains("answered 2 request"), "{again}");
    let bob = wrangler.text("/container/bob").await;
    assert!(bob.contains("answered 1 request"), "{bob}");

    // The engine's own view of what wrangler started.
    let images = engine.docker_ok(["ps", "--format", "{{.Image}}"], "").await;
    let built: Vec<_> = images
        .lines()
        .filter(|image| image.starts_with("cloudflare-dev/mycontainer:"))
        .collect();
    assert_eq!(built.len(), 2, "{images}");
    let mut ps = world.command();
    ps.arg("ps").current_dir(project.path());
    let ps = tokio::process::Command::from(ps).output().await.unwrap();
    let ps = String::from_utf8(ps.stdout).unwrap();
    assert_eq!(ps.matches("hello-MyContainer/").count(), 2, "{ps}");

    // As wrangler and the vite plugin clean up: the containers of an image, by its name.
    let filter = format!("ancestor={}", built[0]);
    let ids = engine
        .docker_ok(["ps", "-a", "--filter", &filter, "--format", "{{.ID}}"], "")
        .await;
    assert_eq!(ids.lines().count(), 2, "{ids}");

    wrangler.stop().await;
    let left = engine.docker_ok(["ps", "--all", "--quiet"], "").await;
    assert_eq!(left, "", "workerd or miniflare removes what it started");
    engine.docker_ok(["rmi", built[0]], "").await;
    engine.stop().await;
}

#[tokio::test]
async fn the_docker_command_builds_looks_runs_and_removes() {
    let world = world();
    let engine = world.engine().await;
    let project = Project::empty();
    project.write("message", "from the context");
    let context = project.path().to_str().unwrap();
    let tag = "cloudflare-dev/engine-test:12ab34cd";
    let dockerfile = "FROM debian:bookworm-slim\nARG GREETING\nENV GREETING=$GREETING\n\
                      COPY message /message\nEXPOSE 8080\nCMD [\"sleep\", \"1000\"]\n";
    let build = [
        "build",
        "--load",
        "-t",
        tag,
        "--platform",
        "linux/amd64",
        "--provenance=false",
        "--build-arg",
        "GREETING=hello",
        "--network",
        "host",
        "-f",
        "-",
        context,
    ];
    engine.docker_ok(build, dockerfile).await;

    let inspect = async |format: &str| {
        let out = engine.docker_ok(["image", "inspect", tag, "--format", format], "");
        out.await.trim().to_owned()
    };
    assert_eq!(inspect("{{ len .Config.ExposedPorts }}").await, "1");
    assert_eq!(inspect("{{ json .RepoDigests }}").await, "[]");
    assert_eq!(
        inspect("{{ range .RepoTags }}{{ . }}\n{{ end }}").await,
        tag
    );
    assert_eq!(
        inspect("{{ .Os }}/{{ .Architecture }}").await,
        "linux/amd64"
    );
    let size = inspect("{{ .Size }} {{ len .RootFS.Layers }}").await;
    let numbers: Vec<u64> = size
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers[0] > 1_000_000 && numbers[1] == 2, "{size}");
    let refused = engine
        .docker(["image", "inspect", tag, "--format", "{{.Colour}}"], "")
        .await;
    assert!(!refused.status.success());

    let script = "cat /message; echo \" $GREETING\"; exit 7";
    let ran = engine
        .docker(["run", "--rm", tag, "sh", "-c", script], "")
        .await;
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "from the context hello\n"
    );

    let id = engine
        .docker_ok(["run", "--detach", "--name", "sleeper", tag], "")
        .await;
    let printed = engine
        .docker_ok(["exec", "sleeper", "cat", "/message"], "")
        .await;
    assert_eq!(printed, "from the context");
    let names = engine
        .docker_ok(["ps", "--format", "{{.Names}} {{.State}}"], "")
        .await;
    assert_eq!(names, "sleeper running\n");
    engine.docker_ok(["rm", "--force", id.trim()], "").await;
    assert_eq!(engine.docker_ok(["ps", "-aq"], "").await, "");

    let second = "registry.test/someone/engine-test:1";
    engine.docker_ok(["tag", tag, second], "").await;
    assert_eq!(
        engine.docker_ok(["rmi", second], "").await,
        format!("Untagged: {second}\n")
    );
    assert!(
        engine
            .docker_ok(["rmi", tag], "")
            .await
            .contains("Deleted: sha256:")
    );
    assert!(
        !engine
            .docker(["image", "inspect", tag], "")
            .await
            .status
            .success()
    );
    engine.stop().await;
}

#[tokio::test]
async fn the_docker_command_answers_what_wrangler_asks_around_a_build() {
    let world = world();
    let engine = world.engine().await;
    engine.docker_ok(["info"], "").await;
    let host = engine.host().to_owned();
    let security = [
        "--host",
        &host,
        "info",
        "--format",
        "{{json .SecurityOptions}}",
    ];
    let security = engine.docker_ok(security, "").await;
    let security: Vec<String> = serde_json::from_str(&security).unwrap();
    assert!(!security.iter().any(|option| option.contains("rootless")));
    let context = engine
        .docker_ok(["context", "ls", "--format", "json"], "")
        .await;
    let context: serde_json::Value = serde_json::from_str(&context).unwrap();
    assert_eq!(context["Current"], true);
    assert_eq!(context["DockerEndpoint"], host);

    let sidecar = "cloudflare/proxy-everything:3cb1195@sha256:\
                   0ef6716c52430096900b150d84a3302057d6cd2319dae7987128c85d0733e3c8";
    engine.docker_ok(["pull", sidecar], "").await;
    engine
        .docker_ok(["image", "inspect", sidecar, "--format", "{{.Id}}"], "")
        .await;
    engine
        .docker_ok(
            ["pull", "debian:bookworm-slim", "--platform", "linux/amd64"],
            "",
        )
        .await;
    for (refused, expected) in [
        (
            ["pull", "127.0.0.1:1/nowhere:1"],
            "the registry `127.0.0.1:1` cannot be reached",
        ),
        (
            ["push", "127.0.0.1:1/nowhere:1"],
            "there is no image `127.0.0.1:1/nowhere:1`",
        ),
        (["login", "127.0.0.1:1"], "who logs in?"),
    ] {
        let output = engine.docker(refused, "").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{refused:?}");
        assert!(said.contains(expected), "{refused:?}: {said}");
    }
    let platform = ["build", "--platform", "linux/riscv64", "-f", "-", "/"];
    assert!(
        !engine
            .docker(platform, "FROM scratch\n")
            .await
            .status
            .success()
    );

    let second = world.run(["engine"]).await;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains("another `berth engine`"), "{said}");
    let docker = engine.docker_path().to_owned();
    engine.stop().await;

    let alone = std::process::Command::new(docker)
        .arg("info")
        .env("DOCKER_HOST", &host)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(
        !alone.status.success() && said.contains("berth engine"),
        "{said}"
    );
}
