//! `examples/cron-batch-job`: a container that does its work, reports and exits.

use berth_test::{Client, DevSession, Project};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world;

/// The runs of a job, once the exit code of the last one is recorded.
async fn finished_runs(session: &DevSession, job: &str, exit_code: i32) -> Value {
    session
        .log(&format!("Job ended with exit code {exit_code}"))
        .await;
    session.get(&format!("/runs/{job}")).await.ok().json()
}

/// A run by hand, which reports.
pub(crate) async fn drive(client: &Client) {
    let report = client.post("/trigger", "").await.ok().json();
    assert_eq!(report["total_revenue"], "202.45");
    assert_eq!(report["currency"], "EUR");
    assert_eq!(report["trigger"], "manual");
    assert_eq!(report["products"][0]["name"], "Fountain pen");
}

/// One that cannot be done, which says where.
pub(crate) async fn drive_broken(client: &Client) {
    let broken = "product,quantity,unit_price\nTea,two,3.50\n";
    let reply = client.post("/trigger", broken).await;
    assert_eq!(
        reply.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        reply.text()
    );
    assert!(reply.text().contains("line 2"), "{}", reply.text());
}

#[tokio::test]
async fn a_manual_run_reports_and_exits() {
    let session = world()
        .dev(&Project::example("cron-batch-job"))
        .start()
        .await;
    drive(session.client()).await;
    assert_eq!(
        session.container("exited", "BatchJob").await.0["exit_code"],
        0
    );
    let runs = finished_runs(&session, "manual", 0).await;
    assert_eq!(runs[0]["exitCode"], 0, "{runs}");

    drive_broken(session.client()).await;
    let runs = finished_runs(&session, "manual", 2).await;
    assert_eq!(runs[1]["exitCode"], 2, "{runs}");
    session.log("Job failed: line 2").await;
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("started", "BatchJob")),
        2,
        "each run has a container of its own"
    );
    session.stop().await;
}

#[tokio::test]
async fn the_cron_trigger_runs_the_job() {
    let session = world()
        .dev(&Project::example("cron-batch-job"))
        .start()
        .await;
    session
        .text("/cdn-cgi/handler/scheduled?cron=0+2+*+*+*")
        .await;
    session.log("Cron trigger 0 2 * * *").await;
    session.log("Job done: 4 products, 202.45 EUR").await;
    let runs = finished_runs(&session, "nightly", 0).await;
    assert_eq!(runs[0]["trigger"], "cron 0 2 * * *");
    assert_eq!(runs[0]["report"]["total_revenue"], json!("202.45"));
    session.stop().await;
}
