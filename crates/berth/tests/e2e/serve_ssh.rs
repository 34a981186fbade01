//! `wrangler containers ssh`, and `berth ssh`, with Debian's `ssh`: shells and commands in containers of a
//! server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use berth_test::{Project, Screen, ServerSession, compile_static};
use http::Method;
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::deployed::GREETER;
use crate::world;

/// Three classes of the same image: one with keys, one whose SSH is disabled, one that names nobody.
const CONFIG: &str = r#"{
  "name": "reached",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "containers": [
    {
      "class_name": "Open",
      "image": "./Dockerfile",
      "max_instances": 2,
      "authorized_keys": [{ "name": "me", "public_key": "<me>" }],
      "trusted_user_ca_keys": [{ "public_key": "<authority>" }]
    },
    {
      "class_name": "Locked",
      "image": "./Dockerfile",
      "ssh": { "enabled": false },
      "authorized_keys": [{ "name": "me", "public_key": "<me>" }]
    },
    { "class_name": "Bare", "image": "./Dockerfile" }
  ],
  "durable_objects": {
    "bindings": [
      { "name": "Open", "class_name": "Open" },
      { "name": "Locked", "class_name": "Locked" },
      { "name": "Bare", "class_name": "Bare" }
    ]
  },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Open", "Locked", "Bare"] }]
}"#;

const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Open extends Container { defaultPort = 8080; }
export class Locked extends Open {}
export class Bare extends Open {}
export default {
  async fetch(request, env) {
    const [, name, what] = new URL(request.url).pathname.split("/");
    const container = getContainer(env[name], "one");
    if (what !== "end") return container.fetch(request);
    await container.destroy();
    return new Response("ended");
  },
};
"#;

/// busybox for a shell and commands, and something that listens.
const DOCKERFILE: &str = r#"
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY greeter /greeter
RUN mkdir -p /tmp /etc && echo root:x:0:0:root:/:/bin/sh >/etc/passwd && printf hello >/greeting
ENV FROM_IMAGE=image
CMD ["/greeter"]
"#;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Keys of people and of an authority, and a project that knows some of them.
struct Setup {
    project: Project,
    keys: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let world = world();
        crate::serve_r2::install(&[("ssh", "openssh-client"), ("busybox", "busybox-static")]);
        let project = Project::empty();
        let keys = project.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        for name in ["me", "stranger", "authority", "holder"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]);
            run(command.arg(keys.join(name)));
        }
        let mut sign = Command::new("ssh-keygen");
        sign.args([
            "-q",
            "-I",
            "holder",
            "-n",
            "cloudchamber",
            "-V",
            "+1h",
            "-s",
        ]);
        run(sign
            .arg(keys.join("authority"))
            .arg(keys.join("holder.pub")));
        let public = |name: &str| std::fs::read_to_string(keys.join(name)).unwrap();
        let config = CONFIG
            .replace("<me>", public("me.pub").trim())
            .replace("<authority>", public("authority.pub").trim());
        project.write("wrangler.jsonc", config);
        project.write("index.js", WORKER);
        project.write("Dockerfile", DOCKERFILE);
        project.copy(Path::new("/usr/bin/busybox"), "busybox");
        project.copy(&compile_static(&world, GREETER), "greeter");
        project.install(&world, "@cloudflare/containers", "0.3.7");
        Self { project, keys }
    }

    /// `ssh` through wrangler, as Cloudflare's documentation has it.
    fn ssh(
        &self,
        server: &ServerSession,
        user: &str,
        id: &str,
        key: &str,
        more: &[&str],
    ) -> Command {
        let wrangler =
            server.wrangler_command(&self.project, ["containers", "ssh", "%h", "--stdio"]);
        let words = std::iter::once(wrangler.get_program()).chain(wrangler.get_args());
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args(["-o", "StrictHostKeyChecking=accept-new", "-o"])
            .arg(format!(
                "UserKnownHostsFile={}",
                self.keys.join("known").display()
            ))
            // One server has one host key, whatever the container.
            .args(["-o", "HostKeyAlias=berth", "-o"])
            .arg(format!("ProxyCommand={}", words.join(" ")))
            .arg("-i")
            .arg(self.keys.join(key))
            .args(more)
            .current_dir(self.project.path());
        for (name, value) in wrangler.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.arg(format!("{user}@{id}"));
        command
    }
}

async fn output(command: Command, input: &[u8]) -> Output {
    let output = berth_test::run(command, input);
    let output = tokio::time::timeout(berth_test::PATIENCE, output).await;
    output.expect("ssh ends")
}

/// Standard output and error as text.
fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

async fn instance(server: &ServerSession, class: &str) -> String {
    let path = format!("/{class}/");
    assert_eq!(server.text("reached", &path).await, "hello 1");
    let listed = server.api(Method::GET, "/berth/instances", Value::Null);
    let listed = listed.await.ok().json();
    let all = listed["result"].as_array().unwrap();
    let one = all.iter().find(|one| one["class_name"] == *class).unwrap();
    one["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_commands_in_a_container() {
    let setup = Setup::new();
    let data = tempfile::tempdir().unwrap();
    let server = world().server(data.path()).await;
    server.wrangler_ok(&setup.project, ["deploy"], "").await;
    let id = instance(&server, "Open").await;
    let ssh = |more: &[&str]| setup.ssh(&server, "cloudchamber", &id, "me", more);
    let with = |mut command: Command, script: &str| {
        command.arg(script);
        command
    };

    // A command: both outputs, input, status; as root, with the container's variables.
    let script = "id -u; cat; echo $FROM_IMAGE $LC_TEST $OTHER. >&2; exit 7";
    let asked = ssh(&["-o", "SetEnv=LC_TEST=mine OTHER=mine"]);
    let ran = output(with(asked, script), b"piped\n").await;
    let (stdout, stderr) = texts(&ran);
    assert_eq!(
        (stdout.as_str(), ran.status.code()),
        ("0\npiped\n", Some(7))
    );
    assert!(stderr.ends_with("image mine .\n"), "{stderr}");

    // More than is kept of it, in both directions, to a process that first reads nothing.
    let much: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let ran = output(with(ssh(&[]), "sleep 3; cat"), &much).await;
    assert!(ran.status.success(), "{:?}", texts(&ran).1);
    assert!(ran.stdout == much, "{} bytes came back", ran.stdout.len());

    // Who else wants to come in, or wants something else.
    for (user, key) in [("cloudchamber", "stranger"), ("root", "me")] {
        let refused = setup.ssh(&server, user, &id, key, &[]);
        let refused = output(with(refused, "echo in"), b"").await;
        let (stdout, stderr) = texts(&refused);
        assert_eq!((stdout.as_str(), refused.status.code()), ("", Some(255)));
        assert!(stderr.contains("Permission denied (publickey)"), "{stderr}");
    }
    let forward = output(ssh(&["-W", "127.0.0.1:8080"]), b"").await;
    assert!(!forward.status.success());
    let (_, stderr) = texts(&forward);
    assert!(stderr.contains("administratively prohibited"), "{stderr}");

    // A certificate instead of a key; killed by a signal.
    let certified = setup.ssh(&server, "cloudchamber", &id, "holder", &[]);
    let ran = output(with(certified, "echo certified; kill -TERM $$"), b"").await;
    let (stdout, stderr) = texts(&ran);
    assert_eq!(
        (stdout.as_str(), ran.status.code()),
        ("certified\n", Some(255))
    );
    assert!(stderr.is_empty(), "{stderr}");

    terminals(&setup, &server, &id, ssh(&["-tt"]));
    refusals(&setup, &server, &id).await;
    tokens(&server, &id).await;

    // It ends with the container, and does not start it again.
    let mut left = tokio::process::Command::from(with(ssh(&[]), "echo started; sleep 1000"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(left.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line)
        .await
        .unwrap();
    assert_eq!(line, "started\n");
    assert_eq!(server.text("reached", "/Open/end").await, "ended");
    let left = tokio::time::timeout(berth_test::PATIENCE, left.wait_with_output()).await;
    let left = left.expect("it ends").unwrap();
    let (_, stderr) = texts(&left);
    assert_eq!(left.status.code(), Some(255), "{stderr}");
    assert!(stderr.contains("the container has ended"), "{stderr}");
    let again = ["containers", "ssh", &id];
    let again = server.wrangler(&setup.project, again, "").await;
    let (stdout, stderr) = texts(&again);
    assert!(!again.status.success(), "{stdout}");
    assert!(
        stderr.contains("not found") || stderr.contains("does not start it"),
        "{stderr}"
    );
    server.stop().await;
}

/// Interactive shells: through `ssh` with its size and settings, through wrangler, through `berth ssh`.
fn terminals(setup: &Setup, server: &ServerSession, id: &str, ssh: Command) {
    // Its user's terminal has a setting of its own, which goes with it.
    let mut own = Command::new("sh");
    own.args(["-c", "stty erase ^H; exec \"$@\"", "sh"]);
    own.arg(ssh.get_program()).args(ssh.get_args());
    own.current_dir(ssh.get_current_dir().unwrap());
    for (name, value) in ssh.get_envs() {
        match value {
            Some(value) => own.env(name, value),
            None => own.env_remove(name),
        };
    }
    let mut screen = Screen::start(own, 24, 80);
    screen.press("stty size; stty -a | grep -o 'erase = ..'; echo $TERM\r");
    screen.wait_for("24 80");
    screen.wait_for("erase = ^H");
    screen.wait_for("xterm");
    screen.resize(30, 100);
    screen.press("until stty size | grep '30 100'; do :; done; tty; exit 3\r");
    screen.wait_for("30 100");
    assert_eq!(screen.end().status.code(), Some(3));

    let key = setup.keys.join("me");
    let wrangler = ["containers", "ssh", id, "-i", key.to_str().unwrap()];
    let mut wrangler = server.wrangler_command(&setup.project, wrangler);
    wrangler.env_remove("CI");
    let mut screen = Screen::start(wrangler, 24, 80);
    screen.wait_for("#");
    screen.press("tty; echo $((6 * 7)) from inside; exit\r");
    screen.wait_for("42 from inside");
    let ended = screen.end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        ended.rows.iter().any(|row| row.contains("/dev/pts/")),
        "{ended:?}"
    );

    let mut screen = Screen::start(server.berth_command(["ssh", id]), 24, 80);
    screen.press("stty size\r");
    screen.wait_for("24 80");
    screen.resize(30, 100);
    screen.press("until stty size | grep '30 100'; do :; done; tty; exit 4\r");
    screen.wait_for("30 100");
    let ended = screen.end();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(
        ended.rows.iter().any(|row| row.contains("/dev/pts/")),
        "{ended:?}"
    );
}

/// What wrangler says when there is no way in.
async fn refusals(setup: &Setup, server: &ServerSession, id: &str) {
    let nothing = "0".repeat(id.len());
    let (locked, bare) = (
        instance(server, "Locked").await,
        instance(server, "Bare").await,
    );
    for (id, says) in [
        (nothing.as_str(), "not found"),
        (&locked, "set `ssh.enabled` to true"),
        (
            &bare,
            "add your public key (`ssh-ed25519 …`) to `authorized_keys`",
        ),
    ] {
        let refused = server.wrangler(&setup.project, ["containers", "ssh", id], "");
        let refused = refused.await;
        let (stdout, stderr) = texts(&refused);
        assert!(!refused.status.success(), "{stdout}");
        assert!(stderr.contains(says), "{says}: {stderr}");
    }
}

type Connected = Result<
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    tungstenite::Error,
>;

async fn connect(url: &str, token: &str) -> Connected {
    let mut request = url.into_client_request().unwrap();
    let token = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", token);
    let (socket, _) = tokio_tungstenite::connect_async(request).await?;
    Ok(socket)
}

/// A token is needed, and good once, for its instance; whoever has one and speaks no SSH gets nowhere.
async fn tokens(server: &ServerSession, id: &str) {
    use futures_util::{SinkExt as _, StreamExt as _};
    let ticket = async || {
        let path = format!("/containers/instances/{id}/ssh");
        let ticket = server
            .api(Method::GET, &path, Value::Null)
            .await
            .ok()
            .json();
        let text = |name: &str| ticket["result"][name].as_str().unwrap().to_owned();
        (text("url"), text("token"))
    };
    let is_refused = |connected: Connected| match connected {
        Err(tungstenite::Error::Http(response)) => response.status() == 401,
        _ => false,
    };
    let (url, token) = ticket().await;
    assert!(is_refused(connect(&url, "").await));
    assert!(is_refused(
        connect(&url, server.variable("CLOUDFLARE_API_TOKEN")).await
    ));
    let other = url.replace(id, "another");
    assert!(is_refused(connect(&other, &token).await));
    assert!(is_refused(connect(&url, &token).await), "it was used up");

    let (url, token) = ticket().await;
    let mut socket = connect(&url, &token).await.unwrap();
    assert!(is_refused(connect(&url, &token).await), "it was used");
    let hello = socket.next().await.unwrap().unwrap();
    assert_eq!(hello.into_data().as_ref(), b"SSH-2.0-Berth\r\n");
    let garbage = Message::Binary(vec![7; 100_000].into());
    socket.send(garbage).await.unwrap();
    let over = async { while let Some(Ok(_)) = socket.next().await {} };
    let over = tokio::time::timeout(berth_test::PATIENCE, over).await;
    over.expect("the server closes it");
}
