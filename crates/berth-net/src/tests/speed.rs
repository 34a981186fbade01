//! Figures, printed: `cargo test --release -p berth-net -- --ignored --nocapture speed`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{OUTSIDE4, in_world, inside, internet, listen, network, start_inside};

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: p50 {:?}, p99 {:?}", at(50), at(99));
}

fn gigabits(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e9
}

#[test]
#[ignore = "prints figures"]
fn speed_of_creation_and_ingress() {
    in_world(|| async {
        let mut times = Vec::new();
        let mut networks = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            networks.push(network(internet()).await);
            times.push(start.elapsed());
        }
        report("create a network", times);
        let network = networks.pop().unwrap();
        let start = Instant::now();
        drop(networks);
        println!("drop 99 networks: {:?}", start.elapsed());
        let listener = inside(&network, || {
            std::net::TcpListener::bind("127.0.0.1:0").unwrap()
        });
        let listener = listener.await;
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        let (_hold, address) = listen("127.0.0.1").await;
        for _ in 0..1000 {
            let start = Instant::now();
            network.connect(port).await.unwrap();
            ours.push(start.elapsed());
            let start = Instant::now();
            tokio::net::TcpStream::connect(address).await.unwrap();
            bare.push(start.elapsed());
        }
        report("connect into a namespace", ours);
        report("connect on the host", bare);
    });
}

#[test]
#[ignore = "prints figures"]
fn speed_of_egress() {
    const BODY: u64 = 4 << 30;
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        let network = network(internet()).await;
        let chunk = vec![1; 1 << 20];
        let out = start_inside(&network, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            for _ in 0..BODY / (1 << 20) {
                stream.write_all(&chunk).unwrap();
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let start = Instant::now();
        let mut chunk = vec![0; 1 << 20];
        while stream.read(&mut chunk).await.unwrap() > 0 {}
        out.await.unwrap();
        println!("egress: {:.1} Gbit/s", gigabits(BODY, start.elapsed()));
        let client = start_inside(&network, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut chunk = vec![0; 1 << 20];
            while stream.read(&mut chunk).unwrap() > 0 {}
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let start = Instant::now();
        for _ in 0..BODY / (1 << 20) {
            stream.write_all(&chunk).await.unwrap();
        }
        drop(stream);
        client.await.unwrap();
        println!(
            "ingress by egress: {:.1} Gbit/s",
            gigabits(BODY, start.elapsed())
        );
    });
}
