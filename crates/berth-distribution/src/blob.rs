//! One blob on its way in: from the first source that has it, on from where a connection broke.
//!
//! Invariant: the receiver gets exactly the bytes that it asked for, once and in order, whatever breaks on
//! the way. Whether they are the right ones is the receiver's to check, by their digest.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use crate::auth::Scope;
use crate::document::Descriptor;
use crate::endpoint::{Endpoint, Failure, reason};
use crate::error::DistributionError;
use crate::progress::{Counter, LayerState};
use crate::retry::{is_temporary, retry_after};
use crate::transport::{Call, TransportError};

/// Takes bytes; `false`: it wants no more.
pub(crate) trait Receiver {
    /// The next bytes.
    async fn receive(&mut self, bytes: Bytes) -> bool;
}

/// A blob to be fetched.
pub(crate) struct Download<'a> {
    pub(crate) sources: &'a [std::sync::Arc<Endpoint>],
    pub(crate) repository: &'a str,
    pub(crate) descriptor: &'a Descriptor,
    /// What is being done, as a verb phrase.
    pub(crate) action: &'a str,
}

/// How one connection ended.
enum End {
    Complete,
    /// The receiver wants no more.
    Enough,
    /// It broke; whether there was progress.
    Broke(TransportError),
}

impl Download<'_> {
    /// Fetches all of it from a byte on; `false`: the receiver did not want all.
    pub(crate) async fn run(
        &self,
        start: u64,
        receiver: &mut impl Receiver,
        counter: &mut Counter<'_>,
    ) -> Result<bool, DistributionError> {
        let mut offset = start;
        if start > 0 && start >= self.descriptor.size {
            // All of it is here already.
            return Ok(true);
        }
        let mut last = None;
        for endpoint in self.sources {
            match self.from(endpoint, receiver, counter, &mut offset).await {
                Ok(wanted) => return Ok(wanted),
                Err(error) => {
                    tracing::debug!(host = endpoint.host, error = reason(&error), "no blob");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| DistributionError::NotFound {
            reference: self.repository.to_owned(),
        }))
    }

    async fn from(
        &self,
        endpoint: &Endpoint,
        receiver: &mut impl Receiver,
        counter: &mut Counter<'_>,
        offset: &mut u64,
    ) -> Result<bool, DistributionError> {
        let mut failed = 0;
        loop {
            let before = *offset;
            let (error, asked) = match self.request(endpoint, *offset).await {
                Ok(mut response) => {
                    let end = self
                        .read(endpoint, &mut response, receiver, counter, offset)
                        .await?;
                    match end {
                        End::Complete => return Ok(true),
                        End::Enough => return Ok(false),
                        End::Broke(error) => (error, None),
                    }
                }
                Err(Attempt::Later(error, asked)) => (error, asked),
                Err(Attempt::Never(error)) => return Err(error),
            };
            if *offset > before {
                failed = 0;
            }
            failed += 1;
            let text = error.to_string();
            let Some(wait) = endpoint.backoff().wait(failed, asked) else {
                return Err(error.into_error(&endpoint.host, self.action, failed));
            };
            counter.state(LayerState::Retrying {
                reason: text,
                wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            });
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks for the blob from `offset` on.
    async fn request(&self, endpoint: &Endpoint, offset: u64) -> Result<Response, Attempt> {
        let path = format!("{}/blobs/{}", self.repository, self.descriptor.digest);
        let mut call = Call::new(Method::GET, endpoint.url(&path).await?);
        if offset > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            call = call.header(RANGE, range);
        }
        let scope = Scope::pull(self.repository);
        let answer = match endpoint.exchange(&call, &scope, self.action, &|_| {}).await {
            Ok(answer) => answer,
            Err(Failure::Transport(error)) if endpoint.may_retry(&error) => {
                return Err(Attempt::Later(error, None));
            }
            Err(Failure::Transport(error)) => {
                return Err(error.into_error(&endpoint.host, self.action, 1).into());
            }
            Err(Failure::Final(error)) => return Err(error.into()),
        };
        match answer.response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer.response),
            status if is_temporary(status) => {
                let asked = retry_after(answer.response.headers());
                let error = endpoint.refused(self.action, answer).await;
                Err(Attempt::Later(
                    TransportError::broken(error.to_string()),
                    asked,
                ))
            }
            StatusCode::NOT_FOUND => Err(endpoint
                .protocol(
                    self.action,
                    format!("does not have blob {}", self.descriptor.digest),
                )
                .into()),
            _ => Err(endpoint.refused(self.action, answer).await.into()),
        }
    }

    /// Reads one answer from where the blob stands at `offset`.
    async fn read(
        &self,
        endpoint: &Endpoint,
        response: &mut Response,
        receiver: &mut impl Receiver,
        counter: &mut Counter<'_>,
        offset: &mut u64,
    ) -> Result<End, DistributionError> {
        let size = self.descriptor.size;
        let mut position = match response.status() {
            StatusCode::PARTIAL_CONTENT => self.range_start(endpoint, response, *offset)?,
            // Not every registry knows ranges: what is here already is read again and dropped.
            _ => 0,
        };
        let announced = response.content_length();
        if announced.is_some_and(|length| position + length > size) {
            let problem = format!(
                "sends more than the {size} bytes that blob {} has",
                self.descriptor.digest
            );
            return Err(endpoint.protocol(self.action, problem));
        }
        while *offset < size || position < size {
            let mut chunk = match endpoint.transport().chunk(response).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    let text = format!("it ended after {position} of {size} bytes");
                    return Ok(End::Broke(TransportError::broken(text)));
                }
                Err(error) => return Ok(End::Broke(error)),
            };
            // An answer without a length is read as far as the blob goes, not further.
            chunk.truncate(usize::try_from(size - position).unwrap_or(usize::MAX));
            let end = position + chunk.len() as u64;
            if end > *offset {
                let known = usize::try_from(*offset - position.min(*offset)).unwrap_or(0);
                let fresh = chunk.slice(known..);
                *offset = end;
                counter.downloaded(*offset);
                if !receiver.receive(fresh).await {
                    return Ok(End::Enough);
                }
            }
            position = end;
        }
        Ok(End::Complete)
    }

    /// Where a partial answer begins: not after what is missing.
    fn range_start(
        &self,
        endpoint: &Endpoint,
        response: &Response,
        offset: u64,
    ) -> Result<u64, DistributionError> {
        let wrong = || endpoint.protocol(self.action, "sends another part than was asked for");
        let value = response.headers().get(CONTENT_RANGE).ok_or_else(wrong)?;
        let text = value.to_str().unwrap_or_default();
        let (range, total) = text
            .strip_prefix("bytes ")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(wrong)?;
        let start: u64 = range
            .split_once('-')
            .and_then(|(start, _)| start.parse().ok())
            .ok_or_else(wrong)?;
        let total_fits = total == "*" || total.parse() == Ok(self.descriptor.size);
        if start > offset || !total_fits {
            return Err(wrong());
        }
        Ok(start)
    }
}

/// Why there is no answer to read.
enum Attempt {
    Later(TransportError, Option<std::time::Duration>),
    Never(DistributionError),
}

impl From<DistributionError> for Attempt {
    fn from(error: DistributionError) -> Self {
        Self::Never(error)
    }
}

/// A blob in memory.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
}

impl Receiver for Memory {
    async fn receive(&mut self, bytes: Bytes) -> bool {
        self.bytes.extend_from_slice(&bytes);
        true
    }
}
