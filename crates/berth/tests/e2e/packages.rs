//! Package clients in `RUN` steps, against the registries that this machine reaches as it reaches them:
//! with its proxies and its own certificate authorities.

use berth_test::Project;

use crate::world;

/// Three stages that do not need each other, each with another client. The base images made here trust
/// what this machine trusts; that is taken out of them first, so that what works does so by what the
/// step is given.
const DOCKERFILE: &str = r#"
FROM python:3.11-slim AS python
RUN rm -rf /usr/local/share/ca-certificates /etc/ssl/certs && mkdir /etc/ssl/certs
RUN pip install --root-user-action=ignore --disable-pip-version-check iniconfig==2.0.0
RUN python -c 'import iniconfig; print(iniconfig.__name__)' > /result && test -z "$(ls /etc/ssl/certs)"

FROM node:22-slim AS node
RUN rm -rf /usr/local/share/ca-certificates /etc/ssl/certs && mkdir /etc/ssl/certs
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
RUN node -p 'require("is-number")(7)' > /result && test -z "$(ls /etc/ssl/certs)"

FROM debian:bookworm-slim AS debian
RUN apt-get update && apt-get install --yes --no-install-recommends hello
RUN hello > /result

FROM scratch
COPY --from=python /result /python
COPY --from=node /result /node
COPY --from=debian /result /debian
CMD ["none"]
"#;

#[tokio::test]
async fn pip_npm_and_apt_work_inside_of_a_build() {
    let world = world();
    let engine = world.engine().await;
    let project = Project::empty();
    project.write(
        "package.json",
        r#"{ "name": "app", "version": "1.0.0", "dependencies": { "is-number": "7.0.0" } }"#,
    );
    // Made here, so that it names the registry that this machine has.
    let lock = std::process::Command::new("npm")
        .args(["install", "--package-lock-only", "--no-audit", "--no-fund"])
        .current_dir(project.path())
        .output()
        .expect("the tests need npm");
    assert!(
        lock.status.success(),
        "{}",
        String::from_utf8_lossy(&lock.stderr)
    );
    project.write("Dockerfile", DOCKERFILE);
    let context = project.path().to_str().unwrap();
    let tag = "e2e-packages:1";
    engine
        .docker_ok(["build", "--progress", "plain", "-t", tag, context], "")
        .await;

    for target in ["python", "node"] {
        let build = [
            "build",
            "-q",
            "--target",
            target,
            "-t",
            "e2e-packages:2",
            context,
        ];
        engine.docker_ok(build, "").await;
        let env = [
            "image",
            "inspect",
            "e2e-packages:2",
            "--format",
            "{{json .Config.Env}}",
        ];
        let env = engine.docker_ok(env, "").await;
        assert!(!env.contains("/run/.berth"), "{env}");
    }
    engine.docker_ok(["rmi", tag], "").await;
    engine.docker_ok(["rmi", "e2e-packages:2"], "").await;
    engine.stop().await;
}
