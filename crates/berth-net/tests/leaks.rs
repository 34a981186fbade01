//! Nothing of a network outlives its handle. A program of its own, because it counts what the
//! whole process holds.

use std::time::{Duration, Instant};

use berth_net::{DnsPolicy, Egress, Network, NetworkOptions, NetworkPool, Upstream};

/// Descriptors and threads of this process.
fn held() -> (usize, usize) {
    let count = |directory| {
        std::fs::read_dir(directory)
            .map(Iterator::count)
            .unwrap_or_default()
    };
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Refused connections into a network: more than sockets are kept ahead.
async fn knock(network: &Network) {
    for _ in 0..8 {
        assert!(network.connect(1).await.is_err());
    }
}

#[tokio::test]
async fn fifty_networks_leave_no_descriptor_and_no_thread() {
    let egress = Egress {
        upstream: Upstream::Direct,
        internet: true,
        dns: DnsPolicy::default(),
    };
    // The threads that enter namespaces start with the first network.
    let first = Network::create(egress.clone()).await.unwrap();
    knock(&first).await;
    let with_one = held();
    drop(first);
    let before = settle(|now| now.0 < with_one.0).await;
    for _ in 0..50 {
        knock(&Network::create(egress.clone()).await.unwrap()).await;
    }
    for _ in 0..5 {
        let options = NetworkOptions {
            passes_on: true,
            ..NetworkOptions::default()
        };
        let network = Network::create_with(egress.clone(), options.clone());
        let network = network.await.unwrap();
        let (tell, record) = std::sync::mpsc::channel();
        network.on_change(move |record| tell.send(record.clone()).unwrap());
        let mut descriptors = network.descriptors().unwrap();
        drop(network);
        let record = record.recv().unwrap();
        let network = Network::adopt(&mut descriptors, &record, options).unwrap();
        assert!(descriptors.is_empty());
        knock(&network).await;
    }
    let pool = NetworkPool::new(2);
    for _ in 0..5 {
        let network = pool.create(egress.clone(), NetworkOptions::default());
        knock(&network.await.unwrap()).await;
    }
    drop(pool);
    let after = settle(|now| now.0 <= before.0).await;
    assert!(
        after.0 <= before.0 && after.1 <= before.1,
        "{before:?} {after:?}"
    );
}

/// Waits until cancelled tasks and the threads' queues have run to their end, which nobody
/// reports; gives up after a while.
async fn settle(reached: impl Fn((usize, usize)) -> bool) -> (usize, usize) {
    let start = Instant::now();
    let mut steady = held();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = held();
        if (reached(now) && now == steady) || start.elapsed() > Duration::from_secs(10) {
            return now;
        }
        steady = now;
    }
}
