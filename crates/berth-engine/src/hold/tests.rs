//! Holds against a scripted dial, on tokio's paused clock: time only passes when all tasks wait.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// A container whose port opens and closes on command.
struct World {
    liveness: watch::Sender<Liveness>,
    ports: watch::Sender<BTreeSet<u16>>,
    open: Arc<AtomicBool>,
    dials: Arc<AtomicU32>,
}

impl World {
    fn running() -> Self {
        let ports = watch::Sender::new(BTreeSet::new());
        let up = Liveness::Up(Up {
            since: Instant::now(),
            listening: ports.subscribe(),
        });
        Self {
            liveness: watch::Sender::new(up),
            ports,
            open: Arc::default(),
            dials: Arc::default(),
        }
    }

    fn listen(&self, port: u16) {
        self.open.store(true, Ordering::Relaxed);
        self.ports.send_modify(|ports| {
            ports.insert(port);
        });
    }

    fn connect(
        &self,
        port: u16,
    ) -> impl Future<Output = Result<u32, EngineError>> + Send + 'static {
        let liveness = self.liveness.subscribe();
        let (open, dials) = (Arc::clone(&self.open), Arc::clone(&self.dials));
        async move {
            connect("c", port, liveness, move || {
                let nth = dials.fetch_add(1, Ordering::Relaxed) + 1;
                let open = open.load(Ordering::Relaxed);
                async move {
                    if open {
                        Ok(nth)
                    } else {
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                }
            })
            .await
        }
    }

    fn dials(&self) -> u32 {
        self.dials.load(Ordering::Relaxed)
    }
}

async fn after(delay: Duration) {
    tokio::time::sleep(delay).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_port_is_reached_with_one_dial() {
    let world = World::running();
    world.listen(80);
    let start = Instant::now();
    assert_eq!(world.connect(80).await.unwrap(), 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn all_who_hold_wake_the_moment_the_port_listens() {
    let world = World::running();
    let start = Instant::now();
    let held: Vec<_> = (0..100).map(|_| tokio::spawn(world.connect(80))).collect();
    after(Duration::from_millis(300)).await;
    world.listen(80);
    for one in held {
        one.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_millis(300));
    assert_eq!(world.dials(), 200, "nobody polled");
}

#[tokio::test(start_paused = true)]
async fn another_port_does_not_end_the_hold() {
    let world = World::running();
    let held = tokio::spawn(world.connect(80));
    after(Duration::from_millis(10)).await;
    world.ports.send_modify(|ports| {
        ports.insert(81);
    });
    after(Duration::from_millis(10)).await;
    assert!(!held.is_finished());
    world.listen(80);
    held.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_port_that_never_listens_is_refused_at_the_deadline() {
    let world = World::running();
    let start = Instant::now();
    let error = world.connect(80).await.unwrap_err();
    assert!(matches!(error, EngineError::NotListening { port: 80 }));
    assert_eq!(start.elapsed(), MAX_HOLD);
    // The second hold ends with the start-up phase, later ones do not begin.
    world.connect(80).await.unwrap_err();
    assert_eq!(start.elapsed(), START_UP);
    world.connect(80).await.unwrap_err();
    assert_eq!(start.elapsed(), START_UP);
}

#[tokio::test(start_paused = true)]
async fn an_unseen_listener_is_found_by_the_last_dial() {
    let world = World::running();
    let held = tokio::spawn(world.connect(80));
    after(Duration::from_millis(10)).await;
    world.open.store(true, Ordering::Relaxed);
    held.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_fallback_port_is_answered_at_once() {
    let world = World::running();
    let start = Instant::now();
    let error = world.connect(FALLBACK_PORT).await.unwrap_err();
    assert!(matches!(error, EngineError::NotListening { port: 33 }));
    assert_eq!((start.elapsed(), world.dials()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_was_closed_again_is_not_held() {
    let world = World::running();
    world.listen(80);
    world.open.store(false, Ordering::Relaxed);
    let start = Instant::now();
    let error = world.connect(80).await.unwrap_err();
    assert!(matches!(error, EngineError::NotListening { .. }));
    assert!(start.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn an_exit_ends_the_hold_as_not_running() {
    let world = World::running();
    let held = tokio::spawn(world.connect(80));
    after(Duration::from_millis(100)).await;
    let start = Instant::now();
    world.liveness.send_replace(Liveness::Down);
    let error = held.await.unwrap().unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    let error = world.connect(80).await.unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_starting_is_waited_for() {
    let world = World::running();
    let up = world.liveness.send_replace(Liveness::Starting);
    let held = tokio::spawn(world.connect(80));
    after(Duration::from_millis(5)).await;
    assert_eq!(world.dials(), 0);
    world.liveness.send_replace(up);
    after(Duration::from_millis(5)).await;
    assert_eq!(world.dials(), 1);
    world.listen(80);
    held.await.unwrap().unwrap();

    world.liveness.send_replace(Liveness::Starting);
    let held = tokio::spawn(world.connect(80));
    after(Duration::from_millis(5)).await;
    world.liveness.send_replace(Liveness::Down);
    let error = held.await.unwrap().unwrap_err();
    assert!(matches!(error, EngineError::NotRunning(_)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_ends_its_hold() {
    let world = World::running();
    let held = tokio::spawn(world.connect(80));
    after(Duration::from_millis(5)).await;
    let receivers = world.ports.receiver_count();
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    assert_eq!(world.ports.receiver_count(), receivers - 1);
    after(MAX_HOLD).await;
    assert_eq!(world.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_failures_are_not_held() {
    let world = World::running();
    let dial = || async { Err::<(), _>(io::ErrorKind::PermissionDenied.into()) };
    let error = connect("c", 80, world.liveness.subscribe(), dial)
        .await
        .unwrap_err();
    assert!(matches!(error, EngineError::Connect { port: 80, .. }));
}
