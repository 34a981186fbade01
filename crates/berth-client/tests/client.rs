//! The client against a server of our own.
#![allow(clippy::unwrap_used, reason = "test code")]

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::Message;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use berth_client::{Client, ClientError, Server, segment};
use berth_error::Hint as _;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::{Value, json};

fn ok(result: &Value) -> Json<Value> {
    Json(json!({"success": true, "errors": [], "messages": [], "result": result}))
}

fn refused(status: StatusCode, code: u32, message: &str) -> (StatusCode, Json<Value>) {
    let errors = json!([{"code": code, "message": message}]);
    let body = json!({"success": false, "errors": errors, "messages": [], "result": null});
    (status, Json(body))
}

async fn serve() -> Client {
    let router = Router::new()
        .route("/accounts", get(|| async { ok(&json!([{"id": "acc"}])) }))
        .route(
            "/accounts/acc/echo/{name}",
            post(
                |axum::extract::Path(name): axum::extract::Path<String>,
                 headers: HeaderMap,
                 body: String| async move {
                    let token = headers["authorization"].to_str().unwrap();
                    ok(&json!({"name": name, "token": token, "body": body}))
                },
            ),
        )
        .route(
            "/accounts/acc/token",
            get(|| async { refused(StatusCode::UNAUTHORIZED, 10000, "Authentication error") }),
        )
        .route(
            "/accounts/acc/none",
            get(|| async { refused(StatusCode::NOT_FOUND, 10007, "there is no Worker `x`") }),
        )
        .route("/accounts/acc/page", get(|| async { "<html>" }))
        .route(
            "/accounts/acc/socket",
            get(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(|mut socket| async move {
                    while let Some(Ok(message)) = socket.recv().await {
                        if let Message::Text(text) = message {
                            let _ = socket.send(Message::Text(text)).await;
                        }
                    }
                })
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    client(&format!("http://{address}"))
}

fn client(api: &str) -> Client {
    let server = Server {
        api: api.to_owned(),
        account: None,
        token: "secret".to_owned(),
        registry: None,
    };
    Client::new(server).unwrap()
}

#[tokio::test]
async fn calls_go_below_the_account_with_the_token() {
    let client = serve().await;
    let path = format!("echo/{}", segment("a b/c"));
    let call = client.call(Method::POST, path).json(&json!({"x": 1}));
    let answer: Value = call.send().await.unwrap();
    assert_eq!(
        answer,
        json!({"name": "a b/c", "token": "Bearer secret", "body": r#"{"x":1}"#})
    );
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn what_is_refused_is_one_error_with_a_hint() {
    let client = serve().await;
    let error = client.get::<Value>("token").await.unwrap_err();
    assert_eq!(error.code(), Some(10000));
    assert!(error.hint().unwrap().contains("berth token create"));
    let error = client.get::<Value>("none").await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    assert_eq!(error.to_string(), "there is no Worker `x`");
    let error = client.get::<Value>("page").await.unwrap_err();
    assert!(matches!(error, ClientError::Foreign { status: 200, .. }));
    let error = client.get::<Vec<u8>>("echo").await.unwrap_err();
    assert!(matches!(error, ClientError::Foreign { status: 404, .. }));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let nobody = self::client(&format!("http://{address}"));
    let error = nobody.get::<Value>("x").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("berth serve"));
}

#[tokio::test]
async fn websockets_too() {
    let client = serve().await;
    let mut socket = client.websocket("socket").await.unwrap();
    socket.send("hello".into()).await.unwrap();
    let echoed = socket.next().await.unwrap().unwrap();
    assert_eq!(echoed.into_text().unwrap().as_str(), "hello");
    let error = client.websocket("token").await.err().unwrap();
    assert_eq!(error.code(), Some(10000));
}
