//! Container `c`, which counts the lines that it is sent on port 8080, and what is looked at in it.

#![allow(dead_code, reason = "not every test binary uses all of it")]

use berth_engine::{ContainerInfo, EngineError, ExecSpec, Rest, SleepPolicy, Tunnel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

/// Starts it.
pub(crate) async fn counter(world: &World, arguments: &[&str], env: &[String], sleep: SleepPolicy) {
    let mut spec = world.spec("c", arguments).await;
    spec.sleep = Some(sleep);
    spec.env.extend_from_slice(env);
    world.engine.create(spec).await.unwrap();
    world.engine.start("c").await.unwrap();
}

/// One line on a connection of its own.
pub(crate) async fn try_ask(world: &World) -> Result<String, EngineError> {
    let mut tunnel = world.engine.connect("c", 8080).await?;
    Ok(say(&mut tunnel, "hello\n").await)
}

pub(crate) async fn ask(world: &World) -> String {
    try_ask(world).await.unwrap()
}

/// One line on a connection; the answer.
pub(crate) async fn say(tunnel: &mut Tunnel, line: &str) -> String {
    tunnel.traffic.inbound();
    tunnel.stream.write_all(line.as_bytes()).await.unwrap();
    let mut buffer = [0; 64];
    let got = tunnel.stream.read(&mut buffer).await.unwrap();
    tunnel.traffic.outbound(&buffer[..got]);
    String::from_utf8_lossy(&buffer[..got]).trim().to_owned()
}

pub(crate) fn info(world: &World) -> ContainerInfo {
    world.engine.inspect("c").unwrap()
}

/// How it sleeps.
pub(crate) fn rest(world: &World) -> Option<Rest> {
    info(world).rest.map(|(rest, _)| rest)
}

/// A process that reads its standard input.
pub(crate) fn exec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: true,
    }
}
