//! Nothing of a network outlives its handle. A program of its own, because it counts what the
//! whole process holds.

use berth_net::{DnsPolicy, Egress, Network, Upstream};

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory)
        .map(Iterator::count)
        .unwrap_or_default()
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
    let _ = first.connect(1).await;
    drop(first);
    settle().await;
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    for _ in 0..50 {
        let network = Network::create(egress.clone()).await.unwrap();
        assert!(network.connect(1).await.is_err());
    }
    settle().await;
    let after = (count("/proc/self/fd"), count("/proc/self/task"));
    assert_eq!(before, after);
}

/// Lets cancelled tasks run to their end: on this runtime of one thread, all of them have been
/// polled after a few turns.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
