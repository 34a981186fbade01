//! Amazon ECR: an access key becomes a password for twelve hours (`GetAuthorizationToken` of the ECR
//! API, signed with Signature Version 4 by `object_store`, which the registry's buckets need anyway).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::{Configured, Credential, CredentialError};
use crate::errors_of_registry;
use crate::transport::{Call, Payload, SendError, Transport};

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const JSON: &str = "application/x-amz-json-1.1";
/// A token is given up this long before it ends.
const MARGIN: Duration = Duration::from_secs(300);
/// Where other endpoints than the public one are named, as for every tool of AWS.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    authorization_data: Vec<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    authorization_token: String,
    expires_at: Option<f64>,
}

/// Region of `<account>.dkr.ecr.<region>.amazonaws.com`, with its end (`.cn` in China).
fn region(host: &str) -> Option<(&str, &str)> {
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    let (region, domain) = rest.split_once('.')?;
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let known = matches!(domain, "amazonaws.com" | "amazonaws.com.cn");
    (digits && known && !region.is_empty()).then_some((region, domain))
}

/// Whether a host is a registry of Amazon ECR.
pub fn is_ecr(host: &str) -> bool {
    region(host).is_some()
}

/// Exchanges the access key.
pub(super) async fn login(
    configured: &Configured,
    transport: &Transport,
) -> Result<Credential, CredentialError> {
    let host = &configured.domain;
    let failed = |problem: String| CredentialError::Ecr {
        host: host.clone(),
        problem,
    };
    let (region, domain) = region(host).ok_or_else(|| {
        failed("the name is not `<account>.dkr.ecr.<region>.amazonaws.com`".to_owned())
    })?;
    let url = endpoint(region, domain).map_err(failed)?;
    let call = signed_call(configured, region, url).map_err(failed)?;
    let answer = transport.send(&call, None, &|_| {}).await;
    let mut answer = answer.map_err(|error| match error {
        SendError::Transport(error) => failed(error.to_string()),
        SendError::Config(error) => failed(error.to_string()),
    })?;
    let status = answer.response.status();
    let body = transport.small_body(&mut answer.response).await;
    if !status.is_success() {
        let says = errors_of_registry::text(&body);
        return Err(failed(format!("status {status}: {says}")));
    }
    let parsed: Answer = serde_json::from_slice(&body)
        .map_err(|_| failed("the answer cannot be read".to_owned()))?;
    let data = parsed.authorization_data.into_iter().next();
    let data = data.ok_or_else(|| failed("the answer has no token".to_owned()))?;
    let token = STANDARD.decode(&data.authorization_token).ok();
    let token = token.and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = token
        .as_deref()
        .and_then(|token| token.split_once(':'))
        .ok_or_else(|| failed("the token in the answer cannot be read".to_owned()))?;
    let mut credential = Credential::password(username, password, configured.source());
    credential.expires = data
        .expires_at
        .and_then(|end| Duration::try_from_secs_f64(end).ok())
        .and_then(|end| (SystemTime::UNIX_EPOCH + end).checked_sub(MARGIN));
    Ok(credential)
}

fn endpoint(region: &str, domain: &str) -> Result<Url, String> {
    let named = ENDPOINT_VARIABLES
        .iter()
        .find_map(|name| Some((name, std::env::var(name).ok()?)))
        .filter(|(_, value)| !value.is_empty());
    match named {
        Some((name, value)) => Url::parse(&value).map_err(|_| format!("`{name}` is not a URL")),
        None => Url::parse(&format!("https://api.ecr.{region}.{domain}/"))
            .map_err(|_| format!("`{region}` is no region")),
    }
}

fn signed_call(configured: &Configured, region: &str, url: Url) -> Result<Call, String> {
    const BODY: Bytes = Bytes::from_static(b"{}");
    let key_id = &configured.public_credential;
    // It becomes a part of a header.
    if !key_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the access key id has odd characters".to_owned());
    }
    let credential = AwsCredential {
        key_id: key_id.clone(),
        secret_key: configured.reveal().to_owned(),
        token: None,
    };
    let mut request = http::Request::post(url.as_str())
        .header(CONTENT_TYPE, JSON)
        .header("x-amz-target", TARGET)
        .body(HttpRequestBody::from(BODY))
        .map_err(|error| error.to_string())?;
    AwsAuthorizer::new(&credential, "ecr", region)
        .try_authorize(&mut request, None)
        .map_err(|error| error.to_string())?;
    let mut call = Call::new(Method::POST, url).payload(Payload::Bytes(BODY));
    for (name, value) in request.headers() {
        let mut value = value.clone();
        value.set_sensitive(name == AUTHORIZATION);
        call = call.header(name.clone(), value);
    }
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_in_the_name() {
        assert_eq!(
            region("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
            Some(("eu-west-1", "amazonaws.com"))
        );
        assert_eq!(
            region("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"),
            Some(("cn-north-1", "amazonaws.com.cn"))
        );
        for other in [
            "123.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.example.com",
            "123456789012.dkr.ecr.amazonaws.com",
            "docker.io",
        ] {
            assert_eq!(region(other), None, "{other}");
        }
    }
}
