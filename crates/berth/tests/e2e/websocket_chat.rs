//! `examples/websocket-chat`: rooms that do not hear each other, history, large messages, closing.

use berth_test::{Client, Project, WebSocket};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world;

async fn say(socket: &mut WebSocket, text: &str) {
    socket.send(json!({ "text": text }).to_string()).await;
}

async fn hear(socket: &mut WebSocket) -> Value {
    socket.json_of("message").await
}

/// The page, and that only WebSockets chat: nothing that needs a container.
pub(crate) async fn drive_page(session: &Client) {
    let page = session.get("/").await.ok();
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.text().contains("new WebSocket"));
    assert_eq!(
        session.get("/chat?room=lobby").await.status,
        StatusCode::UPGRADE_REQUIRED
    );
}

/// Rooms.
pub(crate) async fn drive_rooms(session: &Client) {
    let mut alice = session.websocket("/chat?room=lobby&username=alice").await;
    assert_eq!(
        alice.json().await,
        json!({ "type": "welcome", "members": [], "history": [] })
    );
    assert_eq!(alice.json_of("join").await["username"], "alice");
    let mut bob = session.websocket("/chat?room=lobby&username=bob").await;
    assert_eq!(bob.json_of("welcome").await["members"], json!(["alice"]));
    assert_eq!(alice.json_of("join").await["username"], "bob");
    let mut carol = session.websocket("/chat?room=garden&username=carol").await;
    assert_eq!(carol.json_of("welcome").await["members"], json!([]));

    say(&mut alice, "hello bob").await;
    let heard = hear(&mut bob).await;
    assert_eq!(
        (&heard["username"], &heard["text"]),
        (&json!("alice"), &json!("hello bob"))
    );
    assert_eq!(hear(&mut alice).await["text"], "hello bob");
    say(&mut carol, "anybody here?").await;
    assert_eq!(
        hear(&mut carol).await["text"],
        "anybody here?",
        "carol hears only herself"
    );

    let long = "ü".repeat(100_000);
    say(&mut bob, &long).await;
    assert_eq!(hear(&mut alice).await["text"], long);

    let mut late = session.websocket("/chat?room=lobby&username=late").await;
    let history = late.json_of("welcome").await["history"].clone();
    assert_eq!(history[0]["text"], "hello bob");
    assert_eq!(history.as_array().unwrap().len(), 2);

    bob.close(1000).await;
    assert_eq!(alice.json_of("leave").await["username"], "bob");
    let room = session.get("/room?room=lobby").await.ok().json();
    assert_eq!(room, json!({ "members": ["alice", "late"], "messages": 2 }));
    drop((alice, carol, late));
}

#[tokio::test]
async fn a_room_hears_itself_and_nobody_else() {
    let session = world()
        .dev(&Project::example("websocket-chat"))
        .start()
        .await;
    drive_page(session.client()).await;
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("started", "")),
        0,
        "nothing so far needs a container"
    );
    drive_rooms(session.client()).await;
    session.log("bob left").await;
    session.stop().await;
}

#[tokio::test]
async fn open_sockets_close_when_the_session_ends() {
    let session = world()
        .dev(&Project::example("websocket-chat"))
        .start()
        .await;
    let mut socket = session.websocket("/chat?room=lobby&username=alice").await;
    socket.json_of("welcome").await;
    session.stop().await;
    socket.closed().await;
}
