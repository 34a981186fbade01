//! Commands on a terminal: questions and answers, and progress that is redrawn in place.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use berth_test::{DockerRegistry, Ended, Frame, Program, Project, Screen, compile_static};
use serde_json::Value;

use crate::image_store::Store;
use crate::world;

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

pub(crate) const CHATTY: Program = Program {
    name: "chatty",
    source: include_str!("../fixtures/chatty.c"),
};

/// `berth` on a terminal, with the data directory of a store.
fn berth(store: &Store, arguments: &[&str], columns: u16) -> Screen {
    let mut command = world().command();
    command
        .args(arguments)
        .env("BERTH_DATA_DIR", store.data())
        .env_remove("NO_COLOR");
    Screen::start(command, ROWS, columns)
}

/// No row that is redrawn was too long, and what `is_once` says was never on the screen twice.
fn assert_tidy(ended: &Ended, is_redrawn: impl Fn(&str) -> bool, is_once: impl Fn(&str) -> bool) {
    for frame in &ended.frames {
        let wrapped = frame.wrapped.iter().any(|row| is_redrawn(row));
        let once = frame.rows.iter().filter(|row| is_once(row)).count();
        assert!(!wrapped && once <= 1, "{frame:#?}");
    }
    let once = ended.rows.iter().filter(|row| is_once(row)).count();
    assert_eq!(once, 1, "{:#?}", ended.rows);
}

/// A way to a registry on which a megabyte takes a tenth of a second, so that there is something to
/// see. It ends with the process.
fn slow_way(registry: &str) -> String {
    fn copy(mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            std::thread::sleep(Duration::from_nanos(100 * count as u64));
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let registry = registry.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(&registry).unwrap();
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || copy(client, server));
            std::thread::spawn(move || copy(back, forth));
        }
    });
    host
}

/// A line of a layer.
fn is_layer(row: &str) -> bool {
    row.split_once(": ").is_some_and(|(short, _)| {
        short.len() == 12 && short.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_what_is_needed_is_asked_about() {
    let store = Store::new();
    let engine = store.running_server().await;

    // Whatever is not a yes is a no.
    for answer in ["n\n", "\n", "\u{4}"] {
        let mut screen = berth(&store, &["images", "delete", "server:1"], COLUMNS);
        screen.wait_for("Delete it? [y/N]");
        screen.press(answer);
        let ended = screen.end();
        assert!(ended.status.success(), "{ended:?}");
        let text = ended.rows.join("\n");
        assert!(text.contains("is needed by container `one`"), "{text}");
        assert!(text.contains("kept server:1"), "{text}");
        assert_eq!(store.names().await, ["server:1"]);
    }
    // Where nobody can be asked it wants to be told.
    let message = store.refused(&["delete", "server:1"]).await;
    assert!(message.contains("--force"), "{message}");
    assert_eq!(store.names().await, ["server:1"]);
    let mut screen = berth(&store, &["images", "delete", "server:1"], COLUMNS);
    screen.wait_for("Delete it? [y/N]");
    screen.press("y\n");
    let ended = screen.end();
    assert!(
        ended.rows.join("\n").contains("removed server:1"),
        "{ended:?}"
    );
    assert!(store.names().await.is_empty());
    // What runs goes on.
    let listing = engine.docker_ok(["ps", "--quiet"], "").await;
    assert_eq!(listing.lines().count(), 1, "{listing}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_and_a_pull_are_redrawn_in_place() {
    let registry = DockerRegistry::start();
    let (here, there) = (Store::new(), Store::new());
    let host = slow_way(registry.host());
    let name = format!("{host}/team/app:1");
    // Bytes that do not compress, so that there is something to see.
    let project = Project::empty();
    let mut dockerfile = "FROM scratch\n".to_owned();
    for layer in 0..4_u64 {
        let mut state = layer + 1;
        let bytes: Vec<u8> = (0..3_000_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        project.write(&format!("file{layer}"), bytes);
        dockerfile.push_str(&format!("COPY file{layer} /\n"));
    }
    project.write("Dockerfile", dockerfile);
    let path = project.path().to_str().unwrap().to_owned();
    let built = berth(&here, &["containers", "build", &path, "-t", &name], COLUMNS).end();
    assert!(built.status.success(), "{built:?}");
    let is_head = |row: &str| row.starts_with("[+] Building");
    assert_tidy(&built, |_| true, is_head);

    let image = here.json(&["inspect", &name]).await;
    let push = berth(&here, &["images", "push", &name], COLUMNS).end();
    assert!(push.status.success(), "{push:?}");
    // Narrower than the bars.
    let pull = berth(&there, &["images", "pull", &name], 40).end();
    assert!(pull.status.success(), "{pull:?}");
    let pushed = here.json(&["inspect", &name]).await;
    for layer in pushed[0]["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        let short = &digest["sha256:".len()..][..12];
        assert!(
            layer["mediaType"].as_str().unwrap().ends_with("gzip"),
            "{layer}"
        );
        for ended in [&push, &pull] {
            let row = |row: &str| row.starts_with(short);
            assert_tidy(ended, is_layer, row);
            let row = ended.rows.iter().find(|line| row(line)).unwrap();
            assert!(row.contains("Done"), "{row}");
        }
    }
    let bars = |frames: &[Frame], what: &str| {
        let rows = frames.iter().flat_map(|frame| &frame.rows);
        rows.filter(|row| row.contains(what)).count()
    };
    assert!(bars(&push.frames, "Pushing") > 0, "{:#?}", push.frames);
    assert!(bars(&pull.frames, "Downloading") > 0, "{:#?}", pull.frames);
    assert_eq!(
        there.json(&["inspect", &name]).await[0]["id"],
        image[0]["id"]
    );

    // The former manifest still leads to it, and it is listed by the digest that it is asked for by.
    let digest = pushed[0]["digest"].as_str().unwrap();
    let by_digest = format!("{host}/team/app@{digest}");
    there.ok(&["pull", &by_digest]).await;
    there.ok(&["delete", &name]).await;
    there.ok(&["prune"]).await;
    assert_eq!(there.names().await, [by_digest.as_str()]);
    let deleted = there.json(&["delete", &by_digest]).await;
    assert_eq!(deleted[0]["image"], true);
    assert!(there.names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_redrawn_in_place_whatever_it_prints() {
    let world = world();
    let store = Store::new();
    let project = Project::empty();
    project.copy(&compile_static(&world, CHATTY), "chatty");
    let dockerfile = |end: &str| {
        let mut text = "FROM scratch AS one\nCOPY chatty /bin/chatty\n".to_owned();
        text.push_str("RUN [\"/bin/chatty\"]\n");
        // More steps than the terminal has rows.
        for step in 0..30 {
            text.push_str(&format!("FROM one AS s{step}\nCOPY chatty /copy{step}\n"));
        }
        text.push_str("FROM one\n");
        for step in 0..30 {
            text.push_str(&format!("COPY --from=s{step} /copy{step} /\n"));
        }
        text.push_str(end);
        project.write("Dockerfile", text);
    };
    let path = project.path().to_str().unwrap().to_owned();
    let build = |columns| {
        berth(
            &store,
            &["containers", "build", &path, "-t", "chatty:1"],
            columns,
        )
        .end()
    };
    let is_head = |row: &str| row.starts_with("[+] Building");
    dockerfile("");
    let ended = build(COLUMNS);
    assert!(ended.status.success(), "{ended:#?}");
    assert_tidy(&ended, |_| true, is_head);
    let head = ended.rows.iter().find(|row| is_head(row)).unwrap();
    assert!(head.ends_with("FINISHED"), "{head}");
    // While it worked, the last lines of the command were to be seen.
    let saw = |what: &str| {
        let rows = ended.frames.iter().flat_map(|frame| &frame.rows);
        rows.filter(|row| row.contains(what)).count()
    };
    assert!(
        saw(" => => # line ") > 0 && saw("\u{5668}") > 0,
        "{:#?}",
        ended.frames
    );
    // Every step once, with its time at the end.
    let steps: Vec<&String> = ended
        .rows
        .iter()
        .filter(|row| row.starts_with(" => "))
        .collect();
    assert!(steps.len() > 60, "{steps:#?}");
    for step in &steps {
        assert!(step.ends_with('s'), "{step}");
        assert_eq!(
            steps.iter().filter(|other| other == &step).count(),
            1,
            "{step}"
        );
    }

    dockerfile("RUN [\"/bin/chatty\", \"fail\"]\n");
    let failed = build(50);
    assert!(!failed.status.success());
    let text = failed.rows.join("\n");
    assert!(
        text.contains("CACHED") && text.contains(" => ERROR "),
        "{text}"
    );
    let once = failed.rows.iter().filter(|row| is_head(row)).count();
    assert_eq!(once, 1, "{text}");
}

/// `docker builder prune`: what no image needs of the build cache goes, if somebody says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_build_cache_is_pruned_when_somebody_agrees() {
    let store = Store::new();
    let engine = store.engine().await;
    let project = Project::empty();
    project.write("kept", "1".repeat(1_000_000));
    project.write("gone", "2".repeat(1_000_000));
    project.write(
        "Dockerfile",
        "FROM scratch AS unused\nCOPY gone /\nFROM scratch\nCOPY kept /\nCOPY --from=unused gone /other\n",
    );
    let path = project.path().to_str().unwrap();
    engine.docker_ok(["build", "-t", "app:1", path], "").await;
    engine.docker_ok(["tag", "app:1", "app:2"], "").await;
    let cached = async || -> Value { store.json(&["df"]).await["buildCache"].clone() };
    let before = cached().await;
    assert!(before["bytes"].as_u64().unwrap() >= 1_000_000, "{before}");

    // Nobody is there to be asked.
    let output = engine.docker(["builder", "prune"], "y\n").await;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("--force"),
        "{message}"
    );
    let ask = |answer: &str| {
        let mut command = Command::new(engine.docker_path());
        command
            .args(["builder", "prune"])
            .env_remove("BERTH_DATA_DIR")
            .env("DOCKER_HOST", engine.host());
        let mut screen = Screen::start(command, ROWS, COLUMNS);
        screen.wait_for("Continue? [y/N]");
        screen.press(answer);
        screen.end()
    };
    let ended = ask("n\n");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    engine
        .docker_ok(["builder", "prune", "--force", "--filter", "until=1h"], "")
        .await;
    assert_eq!(cached().await, before, "too young, and not agreed to");
    let ended = ask("y\n");
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        ended
            .rows
            .join("\n")
            .contains("Total reclaimed space: 1.0 MB"),
        "{ended:?}"
    );
    let after = cached().await;
    assert_eq!(after["bytes"], 0, "{after}");
    // Named images keep what they are made of, and what is gone is made again.
    assert_eq!(store.names().await, ["app:1", "app:2"]);
    let output = engine
        .docker(["build", "--progress=plain", "-t", "app:1", path], "")
        .await;
    assert!(output.status.success());
    let printed = String::from_utf8_lossy(&output.stderr);
    let step = |what: &str| {
        let line = printed.lines().find(|line| line.ends_with(what)).unwrap();
        line.split(' ').next().unwrap().to_owned()
    };
    let cached = |step: &str| printed.lines().any(|line| line == format!("{step} CACHED"));
    assert!(
        cached(&step("COPY kept /")) && !cached(&step("COPY gone /")),
        "{printed}"
    );
    let again = store.json(&["df"]).await["buildCache"]["bytes"].clone();
    assert!(again.as_u64().unwrap() >= 1_000_000, "{again}");
    engine.docker_ok(["builder", "prune", "--force"], "").await;
    engine.stop().await;
}
