//! Networks from namespaces made ahead.

use super::world::{OUTSIDE4, exchange, in_world, inside, internet, listen, options};
use crate::NetworkPool;

#[test]
fn a_pool_serves_more_than_it_holds_and_fills_itself_again() {
    in_world(|| async {
        let pool = NetworkPool::new(2);
        let mut networks = Vec::new();
        for _ in 0..5 {
            networks.push(pool.create(internet(), options()).await.unwrap());
        }
        let (listener, address) = listen(OUTSIDE4).await;
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            }
        });
        for network in &networks {
            let answer = inside(network, move || exchange(address, b"pool")).await;
            assert_eq!(answer.unwrap(), b"pool");
        }
        // There is no event for a full pool: nobody but this test waits for one.
        while pool.ready() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.ready(), 2);
    });
}
