//! Sleep, pause and metering as a Docker client and workerd's tunnels see them.

use std::time::Duration;

use berth_engine::{Event, SleepPolicy};

use crate::world::{World, applications, connect, echo, name};

const SLEEP: SleepPolicy = SleepPolicy {
    freeze_after: Duration::from_millis(100),
    quiet_connection_after: Some(Duration::from_millis(100)),
    checkpoint_after: None,
};

/// A world whose instances sleep, one running instance, and the port of its sidecar.
async fn sleepy() -> (World, u16) {
    let world = World::new().await;
    let mut sleepy = applications();
    sleepy.applications[0].sleep = Some(SLEEP);
    world.api.set_applications(sleepy);
    let port = world.sidecar().await;
    world.run(&["/guest", "serve", "8080"]).await;
    (world, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooled_tunnel_falls_asleep_and_its_next_byte_wakes_it() {
    let (world, port) = sleepy().await;
    let mut events = world.engine.events();
    let mut tunnel = connect(port, 8080).await.unwrap();
    for word in ["one", "two"] {
        echo(&mut tunnel, word).await;
        world
            .until(&mut events, |event| matches!(event, Event::Asleep(_)))
            .await;
        // workerd must take it for a running one.
        let state = world.docker.inspect(&name()).await.json()["State"].clone();
        assert_eq!(state["Status"], "running");
        assert_eq!(state["Paused"], false);
        assert!(state["Pid"].as_u64().unwrap() > 0);
        let list = world.docker.get("/containers/json").await.json();
        let listed = list.as_array().unwrap().clone();
        let mine = listed.iter().find(|entry| entry["Sidecar"] != true);
        assert_eq!(mine.unwrap()["Asleep"], "frozen");
        let status = mine.unwrap()["Status"].as_str().unwrap().to_owned();
        assert!(status.contains("asleep (frozen) for"), "{status}");
    }
    // And a new tunnel does, too.
    let mut second = connect(port, 8080).await.unwrap();
    echo(&mut second, "three").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_shows_and_stats_have_dockers_fields() {
    let (world, port) = sleepy().await;
    let docker = &world.docker;
    let mut tunnel = connect(port, 8080).await.unwrap();
    echo(&mut tunnel, "hello").await;
    let path = |operation: &str| format!("/containers/{}/{operation}", name());
    assert_eq!(docker.post(&path("pause")).await.status, 204);
    assert_eq!(docker.post(&path("pause")).await.status, 409);
    let state = docker.inspect(&name()).await.json()["State"].clone();
    assert_eq!(state["Paused"], true);
    assert_eq!(state["Status"], "paused");
    let stats = docker.get(&path("stats?stream=false")).await.json();
    assert!(
        stats["cpu_stats"]["cpu_usage"]["total_usage"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(stats["cpu_stats"]["system_cpu_usage"].as_u64().unwrap() > 0);
    assert!(stats["memory_stats"]["usage"].as_u64().unwrap() > 0);
    assert_eq!(stats["memory_stats"]["limit"], 64 << 20);
    assert!(stats["pids_stats"]["current"].as_u64().unwrap() >= 1);
    assert!(stats["networks"]["eth0"]["rx_bytes"].as_u64().unwrap() >= 5);
    assert_eq!(docker.post(&path("unpause")).await.status, 204);
    assert_eq!(docker.post(&path("unpause")).await.status, 409);
    echo(&mut tunnel, "again").await;
    let missing = docker.get("/containers/nobody/stats?stream=false").await;
    assert_eq!(missing.status, 404);
    world.close().await;
}
