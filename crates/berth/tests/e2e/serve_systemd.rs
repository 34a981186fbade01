//! The unit under a systemd that is the first process of its own namespaces: what it restricts does not hinder
//! containers, they survive their server, and nothing is left when it was asked to end them.

use berth_test::{Client, Systemd};
use http::{HeaderValue, Method, header};

use crate::deployed::greeter;
use crate::world;

const UNIT: &str = include_str!("../../../../packaging/berth.service");

/// Instead of the unit's time.
const WATCHDOG: &str = "WatchdogSec=8s";

const CONFIG: &str = r#"
[listen]
http = "127.0.0.1:0"
api = "127.0.0.1:0"
registry = "127.0.0.1:0"

[containers]
keep_on_stop = true
"#;

/// The last port that the journal names: the present server's.
fn port(systemd: &Systemd) -> String {
    let journal = systemd.journal();
    let (_, after) = journal
        .rsplit_once("<name>.localhost:")
        .expect("it is ready");
    after.lines().next().unwrap_or_default().to_owned()
}

/// What the container `a` answers: its greeting, and how often it was asked.
async fn ask(systemd: &Systemd) -> String {
    let client = Client::new(&format!("http://127.0.0.1:{}", port(systemd)));
    let mut request = client.request(Method::GET, "/a", "");
    let host = HeaderValue::from_static("greeter.localhost");
    request.headers_mut().insert(header::HOST, host);
    client.send(request).await.ok().text()
}

#[tokio::test]
async fn the_unit_runs_containers_that_outlive_their_server() {
    let world = world();
    let unit = UNIT.replace("WatchdogSec=2min", WATCHDOG);
    assert!(unit.contains(WATCHDOG));
    let systemd = Systemd::boot(&world, &unit, CONFIG);
    systemd.ok(["systemctl", "start", "berth"]);
    // It answers as soon as it is started.
    let status = systemd.ok(["berth", "status"]);
    assert!(status.contains("Everything is well"), "{status}");
    let environment = systemd.ok(["berth", "env", "--json"]);
    let environment: serde_json::Value = serde_json::from_str(&environment).unwrap();
    let token = environment["CLOUDFLARE_API_TOKEN"].as_str().unwrap();
    assert!(!systemd.journal().contains(token), "{}", systemd.journal());

    let project = greeter(&world);
    let deploy = "cd \"$0\" && exec berth deploy --wait";
    let path = project.path().to_str().unwrap();
    systemd.ok(["sh", "-c", deploy, path]);
    assert_eq!(ask(&systemd).await, "hello 1");
    let main = systemd.ok(["systemctl", "show", "-P", "MainPID", "berth"]);
    let of_unit = systemd.ok(["grep", "Seccomp:", &format!("/proc/{}/status", main.trim())]);
    assert_eq!(of_unit.trim(), "Seccomp:\t0", "containers would inherit it");

    // systemd starts another one after one that was killed.
    let since = systemd.cursor();
    systemd.ok([
        "systemctl",
        "kill",
        "--kill-whom=main",
        "-s",
        "KILL",
        "berth",
    ]);
    systemd.await_line(&since, "Started berth.service");
    assert_eq!(ask(&systemd).await, "hello 2");

    systemd.ok(["systemctl", "restart", "berth"]);
    assert_eq!(ask(&systemd).await, "hello 3");
    systemd.ok(["systemctl", "reload", "berth"]);
    systemd.ok(["systemctl", "stop", "berth"]);
    systemd.ok(["pgrep", "-x", "greeter"]);
    systemd.ok(["systemctl", "start", "berth"]);
    assert_eq!(ask(&systemd).await, "hello 4");

    // One that hangs.
    let since = systemd.cursor();
    let stop = [
        "systemctl",
        "kill",
        "--kill-whom=main",
        "-s",
        "STOP",
        "berth",
    ];
    systemd.ok(stop);
    systemd.await_line(&since, "Watchdog timeout");
    systemd.await_line(&since, "Started berth.service");
    assert_eq!(ask(&systemd).await, "hello 5");

    let since = systemd.cursor();
    systemd.ok([
        "systemctl",
        "kill",
        "--kill-whom=main",
        "-s",
        "INT",
        "berth",
    ]);
    systemd.await_line(&since, "Deactivated successfully");
    let state = systemd.ok(["systemctl", "show", "-P", "Result", "berth"]);
    assert_eq!(state.trim(), "success");
    let left = systemd.run(["pgrep", "-l", "greeter|berth|workerd"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    let sessions = std::fs::read_dir(systemd.data().join("sessions")).unwrap();
    assert_eq!(sessions.count(), 0);
    assert!(
        systemd.groups("berth").is_empty(),
        "{:?}",
        systemd.groups("berth")
    );
}
