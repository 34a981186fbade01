//! `ctx.container` by itself, as the Durable Object Container API has it: `fixtures/container-api`.

use std::path::Path;
use std::time::{Duration, Instant};

use berth_test::{DevSession, PATIENCE, Project};
use serde_json::{Value, json};

use crate::world;

fn project() -> Project {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Project::copy_of(&manifest.join("tests/fixtures/container-api"))
}

async fn start() -> DevSession {
    world().dev(&project()).start().await
}

/// Calls a method of an object; its result.
async fn call(session: &DevSession, target: &str, arguments: Value) -> Value {
    let path = format!("/{target}");
    let reply = session.client().post(&path, arguments.to_string()).await;
    reply.ok().json()
}

/// Calls a method that throws; its message.
async fn error(session: &DevSession, target: &str, arguments: Value) -> String {
    let path = format!("/{target}");
    let reply = session.client().post(&path, arguments.to_string()).await;
    assert_eq!(reply.status.as_u16(), 500, "{}", reply.text());
    reply.json()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn commands_run_in_a_running_container() {
    let session = start().await;
    let options = json!([{ "env": { "FROM_START": "start", "OVERRIDDEN": "start" } }]);
    call(&session, "Box/e/up", options).await;
    let script = |text: &str| json!(["sh", "-c", text]);
    let show = script("printf '%s ' $FROM_IMAGE $FROM_START $OVERRIDDEN $ONLY_HERE");
    for (what, arguments, out, err, code) in [
        ("output", json!([["cat", "/etc/hostname"]]), None, "", 0),
        ("an exit code", json!([script("exit 7")]), Some(""), "", 7),
        (
            "both streams",
            json!([script("echo o; echo e >&2")]),
            Some("o\n"),
            "e\n",
            0,
        ),
        (
            "one stream of both",
            json!([script("echo o; echo e >&2"), { "stderr": "combined" }]),
            Some("o\ne\n"),
            "",
            0,
        ),
        (
            "nobody listens",
            json!([script("echo o; echo e >&2"), { "stdout": "ignore", "stderr": "ignore" }]),
            Some(""),
            "",
            0,
        ),
        ("no input", json!([["cat"]]), Some(""), "", 0),
        (
            "input",
            json!([["cat"], {}, "from the object"]),
            Some("from the object"),
            "",
            0,
        ),
        (
            "a directory",
            json!([["pwd"], { "cwd": "/tmp" }]),
            Some("/tmp\n"),
            "",
            0,
        ),
        (
            "the image's directory",
            json!([["pwd"]]),
            Some("/app\n"),
            "",
            0,
        ),
        (
            "a user",
            json!([["id", "-un"], { "user": "node" }]),
            Some("node\n"),
            "",
            0,
        ),
        (
            "the container's variables",
            json!([show]),
            Some("image start start "),
            "",
            0,
        ),
        (
            "variables of its own",
            json!([show, { "env": { "OVERRIDDEN": "exec", "ONLY_HERE": "yes" } }]),
            Some("image start exec yes "),
            "",
            0,
        ),
    ] {
        let result = call(&session, "Box/e/exec", arguments).await;
        if let Some(out) = out {
            assert_eq!(result["out"], out, "{what}: {result}");
        } else {
            assert!(!result["out"].as_str().unwrap().trim().is_empty(), "{what}");
        }
        assert_eq!(
            (&result["err"], &result["code"]),
            (&json!(err), &json!(code)),
            "{what}"
        );
        assert_eq!(
            (&result["pid"], &result["pty"]),
            (&json!(true), &json!(false)),
            "{what}"
        );
    }
    let missing = call(&session, "Box/e/exec", json!([["/no/such/program"]])).await;
    assert_eq!(missing["code"], 127, "{missing}");

    let spoken = call(
        &session,
        "Box/e/converse",
        json!([["cat"], ["one\n", "two\n"]]),
    )
    .await;
    assert_eq!(spoken, json!({ "answers": ["one\n", "two\n"], "code": 0 }));
    let flood = "head -c 20000000 /dev/zero & head -c 20000000 /dev/zero >&2; wait";
    let lengths = call(&session, "Box/e/lengths", json!([script(flood)])).await;
    assert_eq!(lengths, json!([20_000_000, 20_000_000, 0]));

    // Aborted: killed. A signal: what the program makes of it, and the container stays.
    let sleeper = script("echo up; exec sleep 1000");
    let catcher = script("trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done");
    for (command, how, code) in [
        (&sleeper, json!("abort"), 137),
        (&sleeper, json!(15), 143),
        (&sleeper, json!(9), 137),
        (&catcher, json!(10), 9),
    ] {
        let ended = call(&session, "Box/e/cut", json!([command, how])).await;
        assert_eq!(ended, code, "{how}");
    }
    assert_eq!(call(&session, "Box/e/running", json!([])).await, true);

    call(&session, "Box/e/destroy", json!([])).await;
    let refused = error(&session, "Box/e/exec", json!([["true"]])).await;
    assert!(refused.contains("not running"), "{refused}");
    session.stop().await;
}

#[tokio::test]
async fn commands_have_terminals_of_the_size_asked_for() {
    let session = start().await;
    call(&session, "Box/t/up", json!([])).await;
    let size = json!({ "cols": 100, "rows": 40 });
    let sized = json!([["stty", "size"], { "pty": size }]);
    let result = call(&session, "Box/t/exec", sized).await;
    assert_eq!(
        (&result["out"], &result["pty"]),
        (&json!("40 100\r\n"), &json!(true))
    );
    // Both streams are the terminal's, and it is the controlling one.
    let script = "test -t 0 && test -t 1 && test -t 2 && echo to the terminal > /dev/tty";
    let plain = json!([["sh", "-c", script], { "pty": true }]);
    let result = call(&session, "Box/t/exec", plain).await;
    assert_eq!(
        (&result["out"], &result["code"]),
        (&json!("to the terminal\r\n"), &json!(0))
    );
    let script = "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.02; done";
    let arguments = json!([["sh", "-c", script], size, [120, 50]]);
    let rest = call(&session, "Box/t/resize", arguments).await;
    assert_eq!(rest, "50 120\r\n");
    session.stop().await;
}

#[tokio::test]
async fn a_start_is_one_start_and_its_end_is_told() {
    let session = start().await;
    assert_eq!(call(&session, "Box/o/running", json!([])).await, false);
    let first = call(&session, "Box/o/up", json!([])).await;
    let again = error(&session, "Box/o/up", json!([])).await;
    assert!(again.contains("already running"), "{again}");
    assert_eq!(call(&session, "Box/o/ask", json!([])).await, first);

    let labels = json!({ "team": "blue", "tier": "gold" });
    call(&session, "Box/o/setLabels", json!([labels])).await;
    let inspected = call(&session, "Box/o/inspect", json!([])).await;
    assert_eq!(inspected["labels"], labels);
    assert!(
        inspected["image"]
            .as_str()
            .is_some_and(|image| !image.is_empty())
    );

    call(&session, "Box/o/destroy", json!([])).await;
    assert_eq!(call(&session, "Box/o/ended", json!([])).await["code"], 137);
    assert_eq!(call(&session, "Box/o/running", json!([])).await, false);
    for code in [0, 5] {
        let options = json!([{ "entrypoint": ["sh", "-c", format!("exit {code}")] }]);
        call(&session, "Box/o/start", options).await;
        let ended = call(&session, "Box/o/ended", json!([])).await;
        assert_eq!(ended["code"], code, "{ended}");
    }
    let options = json!([{ "labels": { "from": "start" }, "env": { "WHICH": "env" } }]);
    let second = call(&session, "Box/o/up", options).await;
    assert_ne!(second["boot"], first["boot"]);
    assert_eq!(second["which"], "env");
    let inspected = call(&session, "Box/o/inspect", json!([])).await;
    assert_eq!(inspected["labels"], json!({ "from": "start" }));
    session.stop().await;
}

/// Many images of one class, chosen by each start.
#[tokio::test]
async fn each_start_chooses_among_named_images() {
    let session = start().await;
    let names = call(&session, "Many/m/images", json!([])).await;
    assert_eq!(names, json!(["first", "second"]));
    for (instance, name) in [("a", "first"), ("b", "second"), ("a", "second")] {
        let target = format!("Many/{instance}");
        let up = call(&session, &format!("{target}/upFrom"), json!([name])).await;
        assert_eq!(up["which"], name);
        let inspected = call(&session, &format!("{target}/inspect"), json!([])).await;
        assert!(inspected["image"].as_str().is_some(), "{inspected}");
        call(&session, &format!("{target}/destroy"), json!([])).await;
    }
    call(&session, "Many/c/start", json!([])).await;
    let none = call(&session, "Many/c/ended", json!([])).await;
    let message = none["message"].as_str().unwrap_or_default();
    assert!(message.contains("failed to start"), "{none}");
    session.stop().await;
}

/// The program is process 1, or with an older compatibility date an ordinary process.
#[tokio::test]
async fn process_ids_are_private_or_as_on_a_machine() {
    for (date, pid, ends) in [("2026-11-01", 1, false), ("2026-03-01", 2, true)] {
        let project = project();
        project.replace("wrangler.jsonc", "2026-11-01", date);
        let session = world().dev(&project).start().await;
        let up = call(&session, "Box/p/up", json!([])).await;
        assert_eq!(up["pid"], pid, "{date}");
        // No process of the host.
        let list = "ls -d /proc/[0-9]* | wc -l";
        let listed = call(&session, "Box/p/exec", json!([["sh", "-c", list]])).await;
        let count: u32 = listed["out"].as_str().unwrap().trim().parse().unwrap();
        assert!(count < 10, "{listed}");
        // Process 1 is spared a signal that it does not handle.
        call(&session, "Box/p/signal", json!([15])).await;
        if ends {
            assert_eq!(call(&session, "Box/p/ended", json!([])).await["code"], 143);
        } else {
            assert_eq!(call(&session, "Box/p/ask", json!([])).await, up);
        }
        session.stop().await;
    }
}

/// An object that goes takes its container along, unless it asked for time: then the next object of
/// that name finds it, and if none comes it ends.
#[tokio::test]
async fn a_container_outlives_its_object_for_as_long_as_asked() {
    let session = start().await;
    let gone = async |mark: usize| {
        let wanted = |event: &berth_test::Event| event.is_container("exited", "Box");
        let events = session.events();
        events
            .wait_after(mark, "the container's end", PATIENCE, wanted)
            .await;
    };
    call(&session, "Box/l/up", json!([])).await;
    let mark = session.events().mark();
    error(&session, "Box/l/leave", json!([0])).await;
    gone(mark).await;

    call(&session, "Box/l/up", json!([])).await;
    let mark = session.events().mark();
    let left = Instant::now();
    error(&session, "Box/l/leave", json!([2000])).await;
    gone(mark).await;
    assert!(left.elapsed() >= Duration::from_millis(1900));

    let first = call(&session, "Box/l/up", json!([])).await;
    error(&session, "Box/l/leave", json!([60_000])).await;
    assert_eq!(call(&session, "Box/l/running", json!([])).await, true);
    assert_eq!(call(&session, "Box/l/ask", json!([])).await, first);
    session.stop().await;
}
