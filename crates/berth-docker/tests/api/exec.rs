//! Processes in a running container: over our own client, and byte by byte.

use berth_docker::client::{Client, ExecOptions};
use berth_docker::frame::StreamKind;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::world::{PATIENCE, World, name};

async fn running() -> World {
    let world = World::new().await;
    world.sidecar().await;
    world.run(&["/guest"]).await;
    world
}

fn command(words: &[&str]) -> ExecOptions {
    ExecOptions {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecOptions::default()
    }
}

/// Output and exit code of a command that gets `input`.
async fn outcome(world: &World, options: &ExecOptions, input: &[u8]) -> (Vec<u8>, Vec<u8>, i32) {
    let client = Client::new(&world.docker.socket);
    let session = client.exec(&name(), options).await.unwrap();
    let (mut stdin, mut output, control) = session.into_parts();
    let write = async {
        stdin.write_all(input).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let read = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(frame) = output.try_next().await.unwrap() {
            match frame.stream {
                StreamKind::Stdout => out.extend_from_slice(&frame.payload),
                StreamKind::Stderr => err.extend_from_slice(&frame.payload),
            }
        }
        (out, err)
    };
    let both = async { tokio::join!(write, read) };
    let ((), (out, err)) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    // The code is there the moment the stream has ended.
    let code = control.exit_code().await.unwrap().unwrap();
    (out, err, code)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_input_and_exit_codes() {
    let world = running().await;
    let cat = ExecOptions {
        stdin: true,
        ..command(&["/guest", "cat"])
    };
    let input = vec![b'i'; 1 << 20];
    let (out, err, code) = outcome(&world, &cat, &input).await;
    assert_eq!((out == input, err.len(), code), (true, 0, 0));
    // Without standard input the end comes at once.
    let (out, _, code) = outcome(&world, &command(&["/guest", "cat"]), b"").await;
    assert_eq!((out.len(), code), (0, 0));
    let (_, _, code) = outcome(&world, &command(&["/guest", "exit", "7"]), b"").await;
    assert_eq!(code, 7);
    let both = command(&["/guest", "lines", "1", "and-leave"]);
    let (out, err, _) = outcome(&world, &both, b"").await;
    assert_eq!(
        (out.as_slice(), err.as_slice()),
        (&b"out 1\n"[..], &b"err 1\n"[..])
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_streams_full_at_once() {
    let world = running().await;
    let size = 24 << 20;
    let flood = command(&["/guest", "flood", &size.to_string()]);
    let (out, err, code) = outcome(&world, &flood, b"").await;
    assert_eq!((out.len(), err.len(), code), (size, size, 0));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_working_directory() {
    let world = running().await;
    let env = ExecOptions {
        env: vec!["A=C".to_owned(), "NEW=1".to_owned()],
        ..command(&["/guest", "env"])
    };
    let (out, _, _) = outcome(&world, &env, b"").await;
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.contains(&"A=C") && lines.contains(&"NEW=1"), "{out}");
    assert!(!lines.contains(&"A=B"), "{out}");
    let cwd = ExecOptions {
        working_dir: Some("/tmp".to_owned()),
        ..command(&["/guest", "cwd"])
    };
    let (out, _, _) = outcome(&world, &cwd, b"").await;
    assert_eq!(out, b"/tmp\n");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_says_so() {
    let world = running().await;
    let (out, _, code) = outcome(&world, &command(&["/nothing"]), b"").await;
    assert_eq!(code, 127);
    assert!(String::from_utf8(out).unwrap().contains("/nothing"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_size_it_was_given() {
    let world = running().await;
    let size = ExecOptions {
        terminal: Some((40, 100)),
        stdin: true,
        ..command(&["/guest", "size"])
    };
    let client = Client::new(&world.docker.socket);
    let session = client.exec(&name(), &size).await.unwrap();
    let (mut stdin, mut output, control) = session.into_parts();
    // A terminal is not hung up by a half-close.
    stdin.shutdown().await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"40 100\r\n") {
        text.extend_from_slice(&output.try_next().await.unwrap().unwrap().payload);
    }
    control.resize(50, 120).await.unwrap();
    while let Some(frame) = output.try_next().await.unwrap() {
        text.extend_from_slice(&frame.payload);
    }
    assert!(text.ends_with(b"50 120\r\n"), "{text:?}");
    assert_eq!(control.exit_code().await.unwrap(), Some(0));
    assert!(control.resize(1, 1).await.is_err());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_left_behind_does_not_keep_the_stream() {
    let world = running().await;
    let (out, _, code) = outcome(&world, &command(&["/guest", "orphan"]), b"").await;
    assert_eq!((out.as_slice(), code), (&b"left\n"[..], 5));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_ends_its_execs() {
    let world = running().await;
    let client = Client::new(&world.docker.socket);
    let session = client.exec(&name(), &command(&["/guest"])).await.unwrap();
    let (_stdin, mut output, control) = session.into_parts();
    world
        .docker
        .post(&format!("/containers/{}/kill", name()))
        .await;
    let end = tokio::time::timeout(PATIENCE, output.try_next()).await;
    assert_eq!(end.unwrap().unwrap(), None);
    assert_eq!(control.exit_code().await.unwrap(), Some(137));
    assert_eq!(world.docker.wait(&name(), "").await.code().await, 137);
    let refused = client
        .exec(&name(), &command(&["/guest"]))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("is not running"), "{refused}");
    world.close().await;
}

async fn create(world: &World, body: &Value) -> String {
    let path = format!("/containers/{}/exec", name());
    let reply = world.docker.send("POST", &path, body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["Id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_as_workerd_reads_it() {
    let world = running().await;
    let body = json!({
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        "Cmd": ["/guest", "cat"],
    });
    let id = create(&world, &body).await;
    let inspected = world.docker.get(&format!("/exec/{id}/json")).await.json();
    assert_eq!(inspected["Running"], false);
    assert_eq!(inspected["ExitCode"], Value::Null);

    let mut stream = UnixStream::connect(&world.docker.socket).await.unwrap();
    let body = r#"{"Detach":false,"Tty":false}"#;
    let request = format!(
        "POST /exec/{id}/start HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for header in [
        "connection: upgrade",
        "upgrade: tcp",
        "content-type: application/vnd.docker.raw-stream",
    ] {
        assert!(head.contains(header), "{head}");
    }
    let inspected = world.docker.get(&format!("/exec/{id}/json")).await.json();
    assert_eq!(inspected["Running"], true);
    assert!(inspected["Pid"].as_u64().unwrap() > 0);

    stream.write_all(b"{\"hello\":1}\n").await.unwrap();
    let mut frame = [0; 20];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x01\0\0\0\0\0\0\x0c{\"hello\":1}\n");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    let inspected = world.docker.get(&format!("/exec/{id}/json")).await.json();
    assert_eq!(inspected["Running"], false);
    assert_eq!(inspected["ExitCode"], 0);
    assert!(inspected["Pid"].as_u64().unwrap() > 0, "what it was");
    let again = world
        .docker
        .raw(&request.replace("Connection: Upgrade", "Connection: Upgrade, close"))
        .await;
    assert_eq!(again.status, 409);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detached_and_refused_execs() {
    let world = running().await;
    let id = create(&world, &json!({"Cmd": ["/guest", "exit", "0"]})).await;
    let start = |id: String, body: Value| {
        let docker = world.docker.clone();
        async move {
            docker
                .send("POST", &format!("/exec/{id}/start"), &body)
                .await
        }
    };
    assert_eq!(start(id.clone(), json!({"Detach": true})).await.status, 200);
    let id = create(&world, &json!({"Cmd": "/guest"})).await;
    assert_eq!(
        start(id.clone(), json!({"Detach": false})).await.status,
        400
    );
    let path = format!("/containers/{}/exec", name());
    let empty = world.docker.send("POST", &path, &json!({"Cmd": []})).await;
    assert_eq!(empty.status, 400);
    assert_eq!(world.docker.get("/exec/unknown/json").await.status, 404);
    let nowhere = world
        .docker
        .send("POST", "/containers/nowhere/exec", &json!({"Cmd": ["x"]}))
        .await;
    assert_eq!(nowhere.status, 404);
    world.docker.remove(&name()).await;
    assert_eq!(
        world.docker.get(&format!("/exec/{id}/json")).await.status,
        404
    );
    world.close().await;
}
