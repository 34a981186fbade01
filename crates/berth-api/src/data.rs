//! Requests to the data plane, and what it says, in the API's form.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::Api;
use crate::failure::Failure;

/// Asks for something of a resource: kind, perhaps a verb, its name.
pub(crate) async fn ask(
    api: &Api,
    resource: &[&str],
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Failure> {
    let names: Vec<String> = resource.iter().map(|name| encoded(name)).collect();
    let sent = api.runtime.data(&names.join("/"), request).await;
    sent.map_err(|reason| Failure::new(StatusCode::SERVICE_UNAVAILABLE, 10_002, reason))
}

/// Asks with a verb of the control plane's, for JSON.
pub(crate) async fn administer<T: DeserializeOwned>(
    api: &Api,
    (kind, verb, name): (&str, &str, &str),
    method: Method,
    body: impl Into<Bytes>,
) -> Result<T, Failure> {
    let request = request(method, "/", body)?;
    let response = ask(api, &["admin", kind, verb, name], request).await?;
    json(&response)
}

pub(crate) fn request(
    method: Method,
    uri: &str,
    body: impl Into<Bytes>,
) -> Result<Request<Bytes>, Failure> {
    let request = Request::builder().method(method).uri(uri);
    let request = request.body(body.into());
    request.map_err(|error| Failure::bad_request(error.to_string()))
}

/// What it answers, if it is a success.
pub(crate) fn json<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Failure> {
    check(response)?;
    serde_json::from_slice(response.body()).map_err(Failure::internal)
}

/// Its refusals are the client's doing and said in the status line; its own failures are not.
pub(crate) fn check(response: &Response<Bytes>) -> Result<(), Failure> {
    if response.status().is_success() {
        return Ok(());
    }
    let said = response.extensions().get::<Reason>();
    let text = match said {
        Some(reason) => reason.0.clone(),
        None => String::from_utf8_lossy(response.body()).into_owned(),
    };
    let text = if text.is_empty() {
        let reason = response.status().canonical_reason();
        format!("the data plane says: {}", reason.unwrap_or("refused"))
    } else {
        text
    };
    let status = match response.status() {
        status if status.is_client_error() => status,
        _ => StatusCode::BAD_GATEWAY,
    };
    Err(Failure::new(status, 10_001, text))
}

/// The words of a response's status line, in its extensions.
#[derive(Clone, Debug)]
pub struct Reason(pub String);

/// As a part of a resource's name, or of a path.
pub(crate) fn encoded(text: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
