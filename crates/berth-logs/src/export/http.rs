//! An HTTP server that takes JSON lines by POST.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};

use super::{ExportError, Target, lines};
use crate::Entry;

/// Which server.
#[derive(Clone)]
pub struct HttpOptions {
    /// `http://` or `https://`.
    pub url: String,
    /// The whole `Authorization` header, if the server wants one.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The other field is a secret.
        f.debug_struct("HttpOptions")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A server must have answered within this time.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Http {
    client: reqwest::Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
}

impl Http {
    pub(super) fn open(options: HttpOptions) -> Result<Self, ExportError> {
        let failed = |problem: String| ExportError {
            target: format!("`{}`", options.url),
            problem,
        };
        let url: reqwest::Url = options
            .url
            .parse()
            .map_err(|_| failed("it is no URL".to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(failed(
                "it must begin with `http://` or `https://`".to_owned(),
            ));
        }
        let authorization = options.authorization.as_deref().map(|value| {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| failed("`authorization` cannot be a header".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        // Whoever was first has chosen; this is what all of Berth chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| failed(berth_error::chain(&error)))?;
        Ok(Self {
            client,
            url,
            authorization: authorization.transpose()?,
        })
    }
}

#[async_trait]
impl Target for Http {
    fn gather(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn send(&self, entries: &[Entry]) -> Result<(), String> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(lines(entries)?);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let answer = request.send().await;
        let status = answer.map_err(|error| berth_error::chain(&error))?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("`{}` answered {status}", self.url))
    }
}
