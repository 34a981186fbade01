//! One blob on its way out: in one request, or in parts, on from where a connection broke.
//!
//! Source: distribution specification v1.1, "Pushing blobs". An upload is repeated only after the
//! registry was asked how much of it has arrived.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};

use crate::auth::Scope;
use crate::document::Descriptor;
use crate::endpoint::{Endpoint, Failure, reason};
use crate::error::DistributionError;
use crate::progress::{Counter, LayerState};
use crate::retry::{is_temporary, retry_after};
use crate::transport::{Answer, Call, FilePart, Payload};

/// A blob to be sent.
pub(crate) struct Upload<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) repository: &'a str,
    pub(crate) blob: &'a Descriptor,
    pub(crate) path: PathBuf,
    /// What is being done, as a verb phrase.
    pub(crate) action: &'a str,
}

/// Where an upload stands.
struct Session {
    location: Url,
    /// Bytes that the registry has.
    offset: u64,
}

/// Why a part was not taken.
enum Trouble {
    /// The connection broke, or the registry asked to wait: how much it has is not known.
    Unsure(DistributionError, Option<Duration>),
    /// The registry has forgotten the upload.
    Gone(DistributionError),
    Final(DistributionError),
}

impl From<DistributionError> for Trouble {
    fn from(error: DistributionError) -> Self {
        Self::Final(error)
    }
}

impl Upload<'_> {
    fn scope(&self) -> Scope {
        Scope::push(self.repository)
    }

    /// Whether the registry has the blob in this repository.
    pub(crate) async fn exists(&self) -> Result<bool, DistributionError> {
        let path = format!("{}/blobs/{}", self.repository, self.blob.digest);
        let call = Call::new(Method::HEAD, self.endpoint.url(&path).await?);
        let scope = self.scope();
        let answer = self
            .endpoint
            .ask(&call, &scope, self.action, &|_, _| {})
            .await?;
        match answer.response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.endpoint.refused(self.action, answer).await),
        }
    }

    /// Takes the blob over from another repository of the registry. It is only a short cut: whatever
    /// does not work out means no.
    pub(crate) async fn mount(&self, from: &str) -> bool {
        let Ok(mut url) = self.endpoint.url(&self.uploads()).await else {
            return false;
        };
        url.query_pairs_mut()
            .append_pair("mount", self.blob.digest.as_str())
            .append_pair("from", from);
        let scope = self.scope().and_pull(from);
        let call = Call::new(Method::POST, url);
        match self
            .endpoint
            .exchange(&call, &scope, self.action, &|_| {})
            .await
        {
            Ok(answer) if answer.response.status() == StatusCode::CREATED => true,
            Ok(answer) => {
                self.cancel(&answer).await;
                false
            }
            Err(_) => false,
        }
    }

    /// An upload that the registry opened in place of mounting is not used: its token may say less.
    async fn cancel(&self, answer: &Answer) {
        if answer.response.status() == StatusCode::ACCEPTED
            && let Ok(location) = self.location(answer.response.headers()).await
        {
            let call = Call::new(Method::DELETE, location);
            let scope = self.scope();
            let _ = self
                .endpoint
                .exchange(&call, &scope, self.action, &|_| {})
                .await;
        }
    }

    fn uploads(&self) -> String {
        format!("{}/blobs/uploads/", self.repository)
    }

    /// Sends the blob.
    pub(crate) async fn run(&self, counter: &mut Counter<'_>) -> Result<(), DistributionError> {
        let mut session = self.begin().await?;
        let mut failed = 0;
        let mut furthest = 0;
        loop {
            let trouble = match self.rest(&mut session, counter).await {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let (error, asked) = match trouble {
                Trouble::Final(error) => return Err(error),
                Trouble::Unsure(error, asked) => (error, asked),
                Trouble::Gone(error) => (error, None),
            };
            failed += 1;
            let Some(wait) = self.endpoint.backoff().wait(failed, asked) else {
                return Err(error);
            };
            counter.state(LayerState::Retrying {
                reason: reason(&error),
                wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            });
            tokio::time::sleep(wait).await;
            if !self.resume(&mut session).await? {
                // Perhaps only the answer to the last request was lost.
                if self.exists().await? {
                    return Ok(());
                }
                session = self.begin().await?;
            }
            if session.offset > furthest {
                furthest = session.offset;
                failed = 0;
            }
        }
    }

    async fn begin(&self) -> Result<Session, DistributionError> {
        let call = Call::new(Method::POST, self.endpoint.url(&self.uploads()).await?);
        let scope = self.scope();
        // An upload that was begun twice is forgotten once.
        let answer = self
            .endpoint
            .ask(&call, &scope, self.action, &|_, _| {})
            .await?;
        if answer.response.status() != StatusCode::ACCEPTED {
            return Err(self.endpoint.refused(self.action, answer).await);
        }
        Ok(Session {
            location: self.location(answer.response.headers()).await?,
            offset: 0,
        })
    }

    /// Asks how much has arrived; `false`: the registry does not know the upload any more.
    async fn resume(&self, session: &mut Session) -> Result<bool, DistributionError> {
        let call = Call::new(Method::GET, session.location.clone());
        let scope = self.scope();
        let answer = self
            .endpoint
            .ask(&call, &scope, self.action, &|_, _| {})
            .await?;
        if !answer.response.status().is_success() {
            return Ok(false);
        }
        let headers = answer.response.headers();
        let Some(offset) = range_end(headers) else {
            return Ok(false);
        };
        // Of nothing it is as well to begin anew: `0-0` may mean one byte.
        if offset == 0 || offset > self.blob.size {
            return Ok(false);
        }
        if headers.contains_key(LOCATION) {
            session.location = self.location(headers).await?;
        }
        session.offset = offset;
        Ok(true)
    }

    /// Sends what is missing.
    async fn rest(&self, session: &mut Session, counter: &Counter<'_>) -> Result<(), Trouble> {
        let size = self.blob.size;
        let chunk = self.endpoint.config.upload_chunk.unwrap_or(u64::MAX);
        if session.offset == 0 && size <= chunk {
            return self.finish(session, self.part(0, size), counter).await;
        }
        while session.offset < size {
            let length = chunk.min(size - session.offset);
            self.send_part(session, length, counter).await?;
        }
        self.finish(session, Payload::Empty, counter).await
    }

    fn part(&self, offset: u64, length: u64) -> Payload {
        if length == 0 {
            return Payload::Empty;
        }
        Payload::File(FilePart {
            path: self.path.clone(),
            offset,
            length,
        })
    }

    /// One part; the registry has it afterwards.
    async fn send_part(
        &self,
        session: &mut Session,
        length: u64,
        counter: &Counter<'_>,
    ) -> Result<(), Trouble> {
        let end = session.offset + length;
        let range = HeaderValue::from_str(&format!("{}-{}", session.offset, end - 1));
        let range = range.map_err(|_| self.endpoint.protocol(self.action, "counts oddly"))?;
        let call = Call::new(Method::PATCH, session.location.clone())
            .header(CONTENT_TYPE, octets())
            .header(CONTENT_RANGE, range)
            .payload(self.part(session.offset, length));
        let answer = self.send(&call, session.offset, counter).await?;
        match answer.response.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED => {}
            // It has another part of it than we think.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let error = self.endpoint.refused(self.action, answer).await;
                return Err(Trouble::Unsure(error, None));
            }
            _ => return Err(self.endpoint.refused(self.action, answer).await.into()),
        }
        let headers = answer.response.headers();
        session.location = self.location(headers).await?;
        match range_end(headers) {
            Some(has) if has != end => {
                let problem = format!("has {has} bytes of a blob of which {end} were sent");
                let error = self.endpoint.protocol(self.action, problem);
                Err(Trouble::Unsure(error, None))
            }
            _ => {
                session.offset = end;
                Ok(())
            }
        }
    }

    /// The last request, with the digest.
    async fn finish(
        &self,
        session: &Session,
        payload: Payload,
        counter: &Counter<'_>,
    ) -> Result<(), Trouble> {
        let mut url = session.location.clone();
        url.query_pairs_mut()
            .append_pair("digest", self.blob.digest.as_str());
        let call = Call::new(Method::PUT, url)
            .header(CONTENT_TYPE, octets())
            .payload(payload);
        let answer = self.send(&call, session.offset, counter).await?;
        match answer.response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(self.endpoint.refused(self.action, answer).await.into()),
        }
    }

    /// Sends once; what may be over already when it is sent again is [`Trouble::Unsure`].
    async fn send(&self, call: &Call, base: u64, counter: &Counter<'_>) -> Result<Answer, Trouble> {
        let uploaded = |bytes: u64| {
            counter.state(LayerState::Uploading {
                bytes: base + bytes,
            });
        };
        let endpoint = self.endpoint;
        let scope = self.scope();
        match endpoint
            .exchange(call, &scope, self.action, &uploaded)
            .await
        {
            Ok(answer) if is_temporary(answer.response.status()) => {
                let asked = retry_after(answer.response.headers());
                Err(Trouble::Unsure(
                    endpoint.refused(self.action, answer).await,
                    asked,
                ))
            }
            Ok(answer) if answer.response.status() == StatusCode::NOT_FOUND => {
                Err(Trouble::Gone(endpoint.refused(self.action, answer).await))
            }
            Ok(answer) => Ok(answer),
            Err(Failure::Final(error)) => Err(error.into()),
            Err(Failure::Transport(error)) => {
                let again = endpoint.may_retry(&error);
                let attempts = endpoint.backoff().attempts;
                let error = error.into_error(&endpoint.host, self.action, attempts);
                Err(if again {
                    Trouble::Unsure(error, None)
                } else {
                    error.into()
                })
            }
        }
    }

    async fn location(&self, headers: &HeaderMap) -> Result<Url, DistributionError> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        match location {
            Some(location) => self.endpoint.join(location, self.action).await,
            None => Err(self
                .endpoint
                .protocol(self.action, "opens an upload without saying where")),
        }
    }
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

/// `Range: 0-<last>` (some write `bytes=0-<last>`): how many bytes have arrived. Of none at all,
/// registries say `0-0`, which may also mean one: then it is as good as none.
fn range_end(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (start, end) = text.split_once('-')?;
    let end: u64 = end.trim().parse().ok()?;
    match (start.trim(), end) {
        ("0", 0) => Some(0),
        ("0", end) => Some(end + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_how_much_has_arrived() {
        let end = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            range_end(&headers)
        };
        assert_eq!(end("0-0"), Some(0));
        assert_eq!(end("0-99"), Some(100));
        assert_eq!(end("bytes=0-99"), Some(100));
        assert_eq!(end("5-99"), None);
        assert_eq!(end("x"), None);
        assert_eq!(range_end(&HeaderMap::new()), None);
    }
}
