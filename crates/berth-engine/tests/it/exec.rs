//! Programs that are started in a container that runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{EngineError, ExecIo, ExecSpec};
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt as _;

use crate::harness;
use crate::world::{World, read_all};

pub(crate) fn trials(program: &Arc<Path>) -> Vec<Trial> {
    harness::trials!(
        program,
        [
            exec_has_streams_and_an_exit_code,
            exec_inherits_and_overrides,
            exec_on_a_terminal_can_be_resized,
            exec_dies_with_its_caller_and_its_container,
        ]
    )
}

fn exec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: false,
    }
}

async fn exec_has_streams_and_an_exit_code(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let mut spec = exec(&["app", "cat"]);
    spec.stdin = true;
    let exec = world.engine.exec("c", spec).await.unwrap();
    assert!(exec.process.pid() > 0);
    let ExecIo::Pipes {
        stdin,
        stdout,
        stderr,
    } = exec.io
    else {
        panic!("no terminal was asked for");
    };
    let mut stdin = stdin.unwrap();
    // More than any pipe holds, in both directions at once.
    let sent = "0123456789abcdef".repeat(64 * 1024);
    let writer = {
        let sent = sent.clone();
        tokio::spawn(async move {
            stdin.write_all(sent.as_bytes()).await.unwrap();
        })
    };
    let (out, err) = tokio::join!(read_all(stdout), read_all(stderr));
    writer.await.unwrap();
    assert_eq!(out.len(), sent.len());
    assert!(out == sent && err == "end of input\n");
    assert_eq!(exec.process.wait().await.code, 9);

    let failed = world.engine.exec("c", self::exec(&["/nope"])).await;
    assert!(matches!(failed, Err(EngineError::Exec { .. })));
    world.engine.stop("c", Duration::ZERO).await.unwrap();
    let late = world
        .engine
        .exec("c", self::exec(&["app", "exit", "0"]))
        .await;
    assert!(matches!(late, Err(EngineError::NotRunning(_))));
    world
}

async fn exec_output(world: &World, spec: ExecSpec) -> String {
    let exec = world.engine.exec("c", spec).await.unwrap();
    let ExecIo::Pipes { stdout, stderr, .. } = exec.io else {
        panic!("no terminal was asked for");
    };
    let (out, _) = tokio::join!(read_all(stdout), read_all(stderr));
    out
}

async fn exec_inherits_and_overrides(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let about = exec_output(&world, exec(&["app", "about"])).await;
    for line in ["cwd=/srv", "uid=0", "env=FROM_IMAGE=yes", "host=box"] {
        assert!(about.lines().any(|have| have == line), "{line} in {about}");
    }
    let mut spec = exec(&["app", "about"]);
    spec.user = Some("app".to_owned());
    spec.working_dir = Some("/tmp".to_owned());
    spec.env = vec!["FROM_IMAGE=no".to_owned()];
    let about = exec_output(&world, spec).await;
    for line in [
        "cwd=/tmp",
        "uid=1000",
        "env=FROM_IMAGE=no",
        "env=HOME=/home/app",
    ] {
        assert!(about.lines().any(|have| have == line), "{line} in {about}");
    }
    world
}

async fn exec_on_a_terminal_can_be_resized(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let mut spec = exec(&["app", "window", "1"]);
    spec.terminal = Some((40, 100).into());
    let exec = world.engine.exec("c", spec).await.unwrap();
    let ExecIo::Terminal(master) = exec.io else {
        panic!("a terminal was asked for");
    };
    let reader = master.try_clone().unwrap();
    let (first, seen) = tokio::sync::oneshot::channel();
    let reader = std::thread::spawn(move || {
        use std::io::Read as _;
        let mut reader = std::fs::File::from(reader);
        let (mut text, mut first) = (Vec::new(), Some(first));
        let mut chunk = [0; 256];
        // The end of a terminal is EIO.
        while let Ok(read @ 1..) = reader.read(&mut chunk) {
            text.extend_from_slice(&chunk[..read]);
            if text.contains(&b'\n')
                && let Some(first) = first.take()
            {
                let _ = first.send(());
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    seen.await.unwrap();
    berth_engine::resize(&master, 50, 120).unwrap();
    assert_eq!(exec.process.wait().await.code, 0);
    drop(master);
    let text = tokio::task::spawn_blocking(|| reader.join().unwrap());
    assert_eq!(text.await.unwrap(), "40 100 tty=1\r\n50 120\r\n");
    world
}

async fn exec_dies_with_its_caller_and_its_container(world: World) -> World {
    world.run("c", &["sleep"]).await;
    let exec1 = world.engine.exec("c", exec(&["app", "sleep"])).await;
    let engine = world.engine.clone();
    let caller = tokio::spawn(async move { engine.exec("c", exec(&["app", "sleep"])).await });
    tokio::task::yield_now().await;
    caller.abort();
    world.engine.remove("c", true).await.unwrap();
    assert_eq!(exec1.unwrap().process.wait().await.code, 137);
    assert_eq!(world.processes(), Vec::<String>::new());
    world
}
