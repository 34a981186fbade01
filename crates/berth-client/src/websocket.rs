//! WebSockets of the API.

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::Error;

use crate::client::envelope;
use crate::{Client, ClientError, tls};

/// A stream of bytes, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A WebSocket to a server.
pub type WebSocket = WebSocketStream<Box<dyn Stream>>;

impl Client {
    /// Opens a WebSocket below the account.
    ///
    /// # Errors
    /// Those of a call.
    pub async fn websocket(&self, path: &str) -> Result<WebSocket, ClientError> {
        let account = self.account().await?;
        let url = self.url(&format!("/accounts/{account}/{path}"));
        self.open(&url, None, true).await
    }

    /// Opens a WebSocket at an address that the server gave (`ws://…`), which says itself who may: no
    /// token is shown.
    ///
    /// # Errors
    /// Those of a call.
    pub async fn websocket_at(
        &self,
        url: &str,
        protocol: Option<&'static str>,
    ) -> Result<WebSocket, ClientError> {
        self.open(url, protocol, false).await
    }

    async fn open(
        &self,
        url: &str,
        protocol: Option<&'static str>,
        with_token: bool,
    ) -> Result<WebSocket, ClientError> {
        let url = match url.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => url.to_owned(),
        };
        let address = |problem: String| ClientError::Address {
            text: url.clone(),
            problem,
        };
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| address(error.to_string()))?;
        if with_token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, self.authorization()?);
        }
        if let Some(protocol) = protocol {
            let protocol = HeaderValue::from_static(protocol);
            request
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let stream = self.connect(&request).await?;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => {
                let status = response.status().as_u16();
                let body = response.into_body().unwrap_or_default();
                match envelope(&url, status, &body) {
                    Err(error) => Err(error),
                    Ok(_) => Err(ClientError::Foreign { url, status }),
                }
            }
            Err(error) => Err(self.no_socket(error)),
        }
    }

    async fn connect(&self, request: &Request<()>) -> Result<Box<dyn Stream>, ClientError> {
        let uri = request.uri();
        let secure = uri.scheme_str() == Some("wss");
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        if !secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls::config()?));
        let stream = connector.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| self.unreachable(error))?))
    }

    fn unreachable(&self, error: std::io::Error) -> ClientError {
        ClientError::Unreachable {
            api: self.server().api.clone(),
            source: error.into(),
        }
    }

    fn no_socket(&self, error: Error) -> ClientError {
        ClientError::Broken {
            api: self.server().api.clone(),
            source: error.into(),
        }
    }
}
