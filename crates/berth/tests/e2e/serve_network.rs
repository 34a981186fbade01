//! What a deployed Worker reaches: not what listens for this machine alone, unless the settings say so.

use berth_test::{Project, ServerSession};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::serve_api::own_address;
use crate::world;

/// Fetches, and connects to, where it is told.
const WORKER: &str = r#"
import { connect } from "cloudflare:sockets";
export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const host = searchParams.get("host");
    try {
      if (pathname === "/fetch") return new Response(await (await fetch(`http://${host}/`)).text());
      const socket = connect(host);
      const writer = socket.writable.getWriter();
      await writer.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
      return new Response(await new Response(socket.readable).text());
    } catch (error) {
      return new Response(`refused: ${error}`);
    }
  },
};
"#;

/// Says `secret` to whoever asks, on every address.
async fn service() -> u16 {
    let listener = TcpListener::bind("[::]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nsecret";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

async fn deploy(server: &ServerSession) {
    let project = Project::empty();
    let config = r#"{"name": "prober", "main": "index.js", "compatibility_date": "2026-11-01"}"#;
    project.write("wrangler.json", config);
    project.write("index.js", WORKER);
    server.berth_ok(&project, ["deploy"], "").await;
}

#[tokio::test]
async fn this_machines_loopback_is_reached_only_where_the_settings_say_so() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    deploy(&server).await;
    let port = service().await;
    for name in [
        "127.0.0.1",
        "127.1.2.3",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ] {
        for way in ["fetch", "connect"] {
            let path = format!("/{way}?host={name}:{port}");
            let told = server.text("prober", &path).await;
            assert!(told.starts_with("refused: "), "{path}: {told}");
        }
    }
    // Another address of this machine is one that others reach, too.
    let own = own_address();
    let told = server
        .text("prober", &format!("/fetch?host={own}:{port}"))
        .await;
    assert_eq!(told, "secret", "{own}");
    server.stop().await;

    let settings = "[workers]\nloopback = true\n";
    std::fs::write(data.path().join("berth.toml"), settings).unwrap();
    let server = world.server(data.path()).await;
    for way in ["fetch", "connect"] {
        let path = format!("/{way}?host=127.0.0.1:{port}");
        let told = server.text("prober", &path).await;
        assert!(told.ends_with("secret"), "{path}: {told}");
    }
    server.stop().await;
}
