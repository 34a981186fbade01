//! What a `RUN` step is given for the time of its command, and that nothing of it stays.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

/// The time of everything in the base image.
const BASE_TIME: i64 = 1_000_000_000;

/// Answers every connection with the given text.
async fn server(text: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 3];
            let _ = stream.read_exact(&mut buffer).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    address
}

/// The host's proxy listens on the host's loopback, where a step cannot get otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_proxy_is_reached_and_is_no_part_of_image_and_key() {
    let world = World::new();
    let proxy = server("from the proxy").await;
    let mut request = world.request("FROM base\nRUN call http_proxy; write /called yes\n");
    request.proxies.insert(
        "http_proxy".to_owned(),
        format!("http://localhost:{}", proxy.port()),
    );
    let built = world.run(&request).await.unwrap();
    assert_eq!(built.output(), ["from the proxy"]);
    let config = world.store.config_json(&built.image).unwrap().to_string();
    assert!(!config.contains("http_proxy=") && !config.contains(&proxy.port().to_string()));

    // Another proxy is no other step.
    let other = server("from another").await;
    request.proxies.insert(
        "http_proxy".to_owned(),
        format!("http://127.0.0.1:{}", other.port()),
    );
    let again = world.run(&request).await.unwrap();
    assert_eq!(again.cached(), [true, true]);
    assert_eq!(again.image.id, built.image.id);

    // A build argument wins over the host's setting, and needs no ARG.
    request.no_cache = true;
    request.args.insert(
        "http_proxy".to_owned(),
        format!("http://localhost:{}", proxy.port()),
    );
    let given = world.run(&request).await.unwrap();
    assert_eq!(given.output(), ["from the proxy"]);
    assert_eq!(given.image.env(), built.image.env());
    world.close().await;
}

/// Only what was forwarded: the rest of the host's loopback is out of reach.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_of_the_host_is_reached() {
    let world = World::new();
    let (proxy, secret) = (server("proxy").await, server("secret").await);
    let inside = berth_net::HOST_ADDRESS;
    let mut request = world.request(&format!(
        "FROM base\nENV OTHER=http://{inside}:{}\nRUN call OTHER\n",
        secret.port()
    ));
    request.proxies.insert(
        "http_proxy".to_owned(),
        format!("http://localhost:{}", proxy.port()),
    );
    let error = world.run(&request).await.unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");

    // Without a network not even the proxy is.
    let mut request = world.request("FROM base\nRUN call http_proxy\n");
    request.proxies.insert(
        "http_proxy".to_owned(),
        format!("http://localhost:{}", proxy.port()),
    );
    request.offline = true;
    let error = world.run(&request).await.unwrap_err().to_string();
    assert!(error.contains("exit code 1"), "{error}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_hosts_are_as_docker_gives_them() {
    let world = World::new();
    let dockerfile = "FROM base\nRUN cat /etc/hosts; cat /etc/resolv.conf; hostname\n";
    let mut request = world.request(dockerfile);
    request
        .hosts
        .push(("registry.internal".to_owned(), "192.0.2.9".to_owned()));
    let built = world.run(&request).await.unwrap();
    assert_eq!(
        built.output(),
        [
            "127.0.0.1\tlocalhost buildkitsandbox",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "192.0.2.9\tregistry.internal",
            &format!("nameserver {}", berth_net::RESOLVER_ADDRESS),
            "buildkitsandbox",
        ]
    );
    // Hosts are part of the key: a program may have written them down.
    let without = world.build(dockerfile).await;
    assert_eq!(without.cached(), [true, false]);
    world.close().await;
}

/// The base has neither /run nor the files in /etc that a step gets. What a command changes in /etc
/// brings the directory into the layer; its time is not that of our preparations.
#[tokio::test(flavor = "multi_thread")]
async fn times_of_directories_are_the_commands_own() {
    let world = World::new();
    let bundle = world.directory.path().join("ca.pem");
    std::fs::write(&bundle, "PEM\n").unwrap();
    let mut request = world.request(
        "FROM base\n\
         RUN write /etc/passwd root:x:0:0::/:/bin/sh\n\
         RUN --mount=type=tmpfs,target=/usr/lib/scratch write /usr/lib/new 1\n\
         RUN --mount=type=cache,target=/usr/cache exists /usr/cache; exists /etc/hosts\n",
    );
    request.ca_bundle = Some(bundle);
    let built = world.run(&request).await.unwrap();
    assert_eq!(
        built.image.layers.len(),
        3,
        "the base's and two; the last step changed nothing"
    );
    let tree = world.tree(&built.image);
    assert_eq!(
        tree.metadata("etc").mtime(),
        BASE_TIME,
        "only a file in it was changed"
    );
    assert_ne!(
        tree.metadata("usr/lib").mtime(),
        BASE_TIME,
        "a file was added"
    );
    assert_eq!(tree.metadata("usr").mtime(), BASE_TIME);
    for stub in [
        "run",
        "etc/hosts",
        "usr/lib/scratch",
        "usr/cache",
        "dev/shm",
    ] {
        assert!(tree.path(stub).is_none(), "{stub}");
    }
    assert_eq!(tree.top(), ["usr", "usr/lib", "usr/lib/new"]);
    world.close().await;
}
