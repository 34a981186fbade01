//! A WebSocket client with deadlines.

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl WebSocket {
    /// Connects to `path` of `http://host:port`.
    pub async fn connect(base: &str, path: &str) -> Self {
        match Self::try_connect(base, path).await {
            Ok(socket) => socket,
            Err(error) => panic!("no WebSocket at {path}: {error}"),
        }
    }

    /// Connects to `path` of `http://host:port` with another `Host`.
    pub async fn connect_as(base: &str, path: &str, host: &str) -> Self {
        let url = format!("{}{path}", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("it is an address");
        let host = HeaderValue::from_str(host).expect("it is a host");
        request.headers_mut().insert(header::HOST, host);
        match Self::try_request(request, path).await {
            Ok(socket) => socket,
            Err(error) => panic!("no WebSocket at {path}: {error}"),
        }
    }

    /// Connects, or tells why not.
    pub async fn try_connect(base: &str, path: &str) -> Result<Self, Error> {
        let url = format!("{}{path}", base.replacen("http", "ws", 1));
        Self::try_request(url, path).await
    }

    async fn try_request(
        request: impl IntoClientRequest + Unpin,
        path: &str,
    ) -> Result<Self, Error> {
        let connect = tokio_tungstenite::connect_async(request);
        let (stream, _response) = tokio::time::timeout(PATIENCE, connect)
            .await
            .unwrap_or_else(|_| panic!("no WebSocket at {path} within {PATIENCE:?}"))?;
        Ok(Self { stream })
    }

    /// Sends text.
    pub async fn send(&mut self, text: impl Into<String>) {
        let message = Message::text(text.into());
        self.stream
            .send(message)
            .await
            .expect("send a WebSocket message");
    }

    /// Sends bytes.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        let message = Message::binary(bytes);
        self.stream
            .send(message)
            .await
            .expect("send a WebSocket message");
    }

    /// The next message that is text or bytes, or `None` when the other side has closed.
    pub async fn next(&mut self) -> Option<Message> {
        let next = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        return Some(message);
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .unwrap_or_else(|_| panic!("no WebSocket message within {PATIENCE:?}"))
    }

    /// The next text.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// The next text, as JSON.
    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("the message is JSON")
    }

    /// The next JSON message with this `type`, passing over others.
    pub async fn json_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.json().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Says goodbye with a code and waits for the other side's; the code that came back.
    pub async fn close(mut self, code: u16) -> Option<u16> {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.stream
            .close(Some(frame))
            .await
            .expect("close the WebSocket");
        self.closed().await
    }

    /// Waits for the other side to close; its code.
    pub async fn closed(&mut self) -> Option<u16> {
        let closed = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, closed)
            .await
            .unwrap_or_else(|_| panic!("the WebSocket stays open for {PATIENCE:?}"))
    }
}
