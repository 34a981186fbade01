//! Mistakes: one message with file, line, the text itself and a hint, and nothing left running.

use berth_test::{Failed, Project};

use crate::world;

/// Starts the hello example after one piece of text in a file was replaced by a mistake.
async fn mistake(file: &str, right: &str, wrong: &str) -> Failed {
    let project = Project::example("hello");
    project.replace(file, right, wrong);
    let failed = world().dev(&project).refused().await;
    assert!(!failed.status.success(), "{}", failed.message);
    failed
}

/// Every piece must be in the message.
#[track_caller]
fn says(failed: &Failed, pieces: &[&str]) {
    for piece in pieces {
        assert!(
            failed.message.contains(piece),
            "no `{piece}` in:\n{}",
            failed.message
        );
    }
}

#[tokio::test]
async fn mistakes_in_the_configuration() {
    let config = "wrangler.jsonc";
    let failed = mistake(config, "new_sqlite_classes", "new_classes").await;
    says(&failed, &[config, "new_classes", "new_sqlite_classes"]);

    let failed = mistake(config, "\"MyContainer\"] }]", "\"Other\"] }]").await;
    says(&failed, &[config, "MyContainer", "migration"]);

    let failed = mistake(config, "./Dockerfile", "./Dockerfil").await;
    says(&failed, &[config, "Dockerfil"]);

    let failed = mistake(config, "standard-1", "standrd-1").await;
    says(&failed, &[config, "standrd-1", "standard-1"]);

    let failed = mistake(config, "\"main\":", "main").await;
    says(&failed, &[config]);

    let failed = mistake(
        config,
        "\"MY_CONTAINER\", \"class_name\": \"MyContainer\"",
        "\"X\", \"class_name\": \"X\"",
    )
    .await;
    says(&failed, &[config, "MyContainer"]);
}

#[tokio::test]
async fn an_unknown_field_is_a_warning_with_the_nearest_name() {
    let project = Project::example("hello");
    project.replace("wrangler.jsonc", "\"max_instances\"", "\"max_instance\"");
    let session = world().dev(&project).start().await;
    let warning = session
        .event("a warning", |event| {
            event.kind() == "warning" && event.text("message").contains("max_instance")
        })
        .await;
    assert!(
        warning.text("message").contains("max_instances"),
        "{warning:?}"
    );
    session.stop().await;
}

#[tokio::test]
async fn mistakes_in_the_source_and_the_dockerfile() {
    let failed = mistake("src/index.ts", "defaultPort = 8080", "= 8080").await;
    says(&failed, &["src/index.ts", "= 8080"]);

    let failed = mistake(
        "src/index.ts",
        "export class MyContainer",
        "class MyContainer",
    )
    .await;
    says(&failed, &["MyContainer", "export"]);

    let failed = mistake("Dockerfile", "WORKDIR", "WORKDUR").await;
    says(&failed, &["Dockerfile", "WORKDUR"]);

    let failed = mistake("Dockerfile", "container/server.js", "missing.js").await;
    says(&failed, &["missing.js"]);

    let failed = mistake("Dockerfile", "EXPOSE 8080", "RUN echo before && exit 9").await;
    says(&failed, &["exit 9", "9"]);

    let failed = mistake("Dockerfile", "node:22-slim", "example.test/no:1").await;
    says(&failed, &["example.test/no:1", "berth images import"]);
}

#[tokio::test]
async fn what_does_not_run_yet_is_refused_by_name() {
    let failed = mistake("wrangler.jsonc", "\"containers\":", "\"vectorize\": [{ \"binding\": \"FILES\", \"index_name\": \"files\" }],\n  \"containers\":").await;
    says(&failed, &["wrangler.jsonc", "vectorize"]);
}
