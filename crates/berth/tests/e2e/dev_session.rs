//! The dev session as a person uses it: reload, keys, leaving, being killed.

use std::time::{Duration, Instant};

use berth_test::{DevSession, PATIENCE, Project};
use rustix::process::Signal;

use crate::world;

async fn event_after(session: &DevSession, mark: usize, kind: &str) {
    session
        .events()
        .wait_after(mark, kind, PATIENCE, |event| event.kind() == kind)
        .await;
}

#[tokio::test]
async fn a_changed_source_is_served_while_containers_keep_running() {
    let project = Project::example("hello");
    let session = world().dev(&project).start().await;
    assert!(
        session
            .text("/container/a")
            .await
            .contains("answered 1 request")
    );

    let mark = session.events().mark();
    project.replace("src/index.ts", "Available routes:", "What you can ask for:");
    event_after(&session, mark, "reloaded").await;
    assert!(session.text("/").await.starts_with("What you can ask for:"));
    let after = session.text("/container/a").await;
    assert!(
        after.contains("answered 2 request"),
        "the same process answers: {after}"
    );

    // A mistake is told, and the session goes on with what it has; mended, it goes on for real.
    let mark = session.events().mark();
    project.replace("src/index.ts", "const HELP", "const const HELP");
    event_after(&session, mark, "error").await;
    project.replace("src/index.ts", "const const HELP", "const HELP");
    project.replace("src/index.ts", "What you can ask for:", "Routes:");
    event_after(&session, mark, "reloaded").await;
    assert!(session.text("/").await.starts_with("Routes:"));

    // The configuration is watched as well.
    let mark = session.events().mark();
    project.replace(
        "wrangler.jsonc",
        "\"containers\":",
        "\"vars\": { \"NEW\": \"1\" },\n  \"containers\":",
    );
    event_after(&session, mark, "reloaded").await;
    let last = session.text("/container/a").await;
    assert!(last.contains("answered 3 request"), "{last}");
    session.stop().await;
}

#[tokio::test]
async fn requests_during_a_reload_are_answered() {
    let project = Project::example("hello");
    let session = world().dev(&project).start().await;
    session.text("/container/a").await;
    let mark = session.events().mark();
    project.replace("src/index.ts", "Available routes:", "Routes:");
    let reloaded = event_after(&session, mark, "reloaded");
    let requests = async {
        let mut answered = 0;
        loop {
            let text = session.text("/").await;
            answered += 1;
            if text.starts_with("Routes:") {
                return answered;
            }
        }
    };
    let requests = tokio::time::timeout(PATIENCE, requests);
    let (answered, ()) = tokio::join!(requests, reloaded);
    assert!(answered.expect("the new source is served") >= 1);
    session.stop().await;
}

#[tokio::test]
async fn keys_rebuild_and_leave() {
    let project = Project::example("hello");
    let mut session = world().dev(&project).with_terminal().start().await;
    assert!(
        session
            .text("/container/a")
            .await
            .contains("Hi, I'm a container")
    );
    project.replace("container/server.js", "Hi, I'm a container", "Rebuilt");
    let mark = session.events().mark();
    session.terminal.as_mut().unwrap().press("r");
    event_after(&session, mark, "rebuilt").await;
    let rebuilt = session.text("/container/a").await;
    assert!(rebuilt.starts_with("Rebuilt"), "{rebuilt}");
    assert!(
        rebuilt.contains("answered 1 request"),
        "a new process: {rebuilt}"
    );
    session.terminal.as_mut().unwrap().press("x");
    let status = session.ended().await;
    assert!(status.success(), "{status}");
}

/// Requests come all the while; none is lost, and from some moment on the new image answers.
#[tokio::test]
async fn a_rebuild_under_load_loses_no_request() {
    let project = Project::example("hello");
    let mut session = world().dev(&project).with_terminal().start().await;
    session.text("/container/a").await;
    project.replace("container/server.js", "Hi, I'm a container", "Rebuilt");
    session.terminal.as_mut().unwrap().press("r");
    let driven = &session;
    let clients = (0..6).map(|number| async move {
        // Two clients ask each instance.
        let path = format!("/container/{}", ["a", "b", "c"][number % 3]);
        let mut answered = 0;
        loop {
            // Anything but 200 ends the test.
            let text = driven.text(&path).await;
            answered += 1;
            if text.starts_with("Rebuilt") {
                return answered;
            }
        }
    });
    let all = tokio::time::timeout(PATIENCE, futures_util::future::join_all(clients));
    let answered: u32 = all.await.expect("the new image answers").iter().sum();
    assert!(
        answered > 6,
        "{answered}: there was no load before the rebuild"
    );
    session.stop().await;
}

#[tokio::test]
async fn a_key_opens_the_browser() {
    let project = Project::example("hello");
    let (browser, pipe) = (
        project.path().join("browser"),
        project.path().join("opened"),
    );
    project.write(
        "browser",
        format!("#!/bin/sh\necho \"$1\" > '{}'\n", pipe.display()),
    );
    for (program, argument) in [("chmod", "755"), ("mkfifo", "-m600")] {
        let file = if program == "chmod" { &browser } else { &pipe };
        let status = std::process::Command::new(program)
            .arg(argument)
            .arg(file)
            .status();
        assert!(status.unwrap().success());
    }
    let mut session = world()
        .dev(&project)
        .env("BROWSER", &browser)
        .with_terminal()
        .start()
        .await;
    session.terminal.as_mut().unwrap().press("co");
    let opened = tokio::task::spawn_blocking(move || std::fs::read_to_string(pipe)).await;
    assert_eq!(opened.unwrap().unwrap().trim(), session.url());
    session.terminal.as_mut().unwrap().press("x");
    assert!(session.ended().await.success());
}

#[tokio::test]
async fn a_second_ctrl_c_leaves_at_once() {
    let project = Project::example("hello");
    // A program that ignores SIGTERM, so that an ordered end has something to wait for.
    project.replace(
        "container/server.js",
        "process.on(\"SIGTERM\", () => {",
        "process.on(\"SIGTERM\", () => {\n  return;",
    );
    let session = world().dev(&project).start().await;
    session.text("/container/a").await;
    let began = Instant::now();
    session.signal(Signal::INT);
    session
        .event("leaving", |event| event.kind() == "leaving")
        .await;
    session.signal(Signal::INT);
    session.ended().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn sigterm_ends_a_session_in_order() {
    let session = world().dev(&Project::example("hello")).start().await;
    session.text("/container/a").await;
    session.signal(Signal::TERM);
    session.ended().await;
}

#[tokio::test]
async fn a_killed_session_is_cleaned_up_by_the_next_one() {
    let project = Project::example("hello");
    let session = world().dev(&project).start().await;
    session.text("/container/a").await;
    session.text("/container/b").await;
    let killed = session.kill().await;
    let next = world().dev(&project).start().await;
    killed.footprint.assert_gone();
    assert!(
        next.text("/container/a")
            .await
            .contains("answered 1 request")
    );
    next.stop().await;
}

#[tokio::test]
async fn a_project_runs_once_at_a_time() {
    let project = Project::example("hello");
    let session = world().dev(&project).start().await;
    // Not as a session of its own: that would wait for a place that the first one may keep taken.
    let directory = project.path().display().to_string();
    let second = world().run(["dev", &directory, "--port", "0"]).await;
    assert!(!second.status.success());
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("another `berth dev`"), "{message}");
    assert!(message.contains("--persist-to"), "{message}");
    assert!(session.text("/container/a").await.contains("answered"));
    session.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_said_plainly() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let project = Project::example("hello");
    let failed = world()
        .dev(&project)
        .args(["--port", &port])
        .refused()
        .await;
    assert!(failed.message.contains(&port), "{}", failed.message);
    assert!(failed.message.contains("in use"), "{}", failed.message);
    assert!(
        failed.message.contains("--port"),
        "the hint names the option: {}",
        failed.message
    );
}

#[tokio::test]
async fn nothing_remains_of_a_session_that_never_became_ready() {
    let project = Project::example("hello");
    project.replace("Dockerfile", "EXPOSE 8080", "RUN false");
    let failed = world().dev(&project).refused().await;
    assert!(failed.message.contains("false"), "{}", failed.message);
    let project = project.path().display().to_string();
    for session in std::fs::read_dir(world().data_dir().join("sessions")).unwrap() {
        // Other tests' sessions come and go meanwhile.
        let record = std::fs::read_to_string(session.unwrap().path().join("session.json"));
        assert!(!record.is_ok_and(|record| record.contains(&project)));
    }
}
