//! What Workers and containers said: our own route, in the same envelope.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query as UrlQuery, State};
use axum::response::{IntoResponse as _, Response};
use berth_logs::{Entry, Level, LogError, Logs, Query, QueryError, Source};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::Api;
use crate::describe::{Routes, about, get};
use crate::envelope::{Answer, result};
use crate::failure::Failure;

pub(super) fn routes() -> Routes {
    let read = about(
        "What Workers, containers and the server said, on one timeline; with `follow` as lines of JSON \
         without an end",
    );
    Routes::new().route("/berth/logs", get(list, read.query::<Wanted>()))
}

/// Which entries; every condition that is given must hold.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Name of a Worker.
    app: Option<String>,
    /// Id of a version.
    version: Option<String>,
    /// `worker`, `container`, `invocation`, `event`, `system`; several with commas.
    source: Option<String>,
    /// Begin of a Durable Object's id or of a container's name.
    instance: Option<String>,
    /// Least level: `debug`, `log`, `info`, `warn`, `error`.
    level: Option<String>,
    /// Id of a request.
    invocation: Option<String>,
    /// A text that is in it.
    text: Option<String>,
    /// RFC 3339, Unix milliseconds, or how long ago (`10m`).
    since: Option<String>,
    /// The same; before then.
    until: Option<String>,
    /// With a greater id, in the order of ids.
    after: Option<u64>,
    /// At most so many: the last ones, or with `after` the first ones.
    limit: Option<usize>,
    /// Go on with what comes.
    follow: Option<bool>,
}

impl Wanted {
    fn query(self) -> Result<Query, QueryError> {
        let wrong = |name, value: &str, expected| QueryError {
            name,
            value: value.to_owned(),
            expected,
        };
        let level = self.level.as_deref().map(|name| {
            let words = "debug, log, info, warn or error";
            Level::named(name).ok_or_else(|| wrong("level", name, words))
        });
        let sources = self.source.iter().flat_map(|names| names.split(','));
        let sources = sources.map(|name| {
            let words = "worker, container, invocation, event, system, or several with commas";
            Source::named(name).ok_or_else(|| wrong("source", name, words))
        });
        let time =
            |name, value: Option<&String>| value.map(|value| Query::time(name, value)).transpose();
        Ok(Query {
            sources: sources.collect::<Result<_, _>>()?,
            level: level.transpose()?,
            since_ms: time("since", self.since.as_ref())?,
            until_ms: time("until", self.until.as_ref())?,
            app: self.app,
            version: self.version,
            instance: self.instance,
            invocation: self.invocation,
            text: self.text,
            after: self.after,
            limit: self.limit,
        })
    }
}

/// `GET berth/logs`.
async fn list(State(api): State<Api>, UrlQuery(wanted): UrlQuery<Wanted>) -> Answer {
    let follow = wanted.follow.unwrap_or_default();
    let query = wanted
        .query()
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    let logs = api.runtime.logs();
    if follow {
        return followed(&logs, query).await;
    }
    result(logs.query(query).await.map_err(failed)?)
}

fn failed(error: LogError) -> Failure {
    match error {
        LogError::Ended => Failure::new(StatusCode::SERVICE_UNAVAILABLE, 10013, error.to_string()),
        error => Failure::internal(error),
    }
}

/// One entry on each line: those that there are, then those that come.
async fn followed(logs: &Logs, query: Query) -> Answer {
    // From before the others are read: none is missed.
    let news = logs.follow();
    let former = logs.query(query.clone()).await.map_err(failed)?;
    let seen = former.iter().map(|entry| entry.id).max().unwrap_or(0);
    let first: Vec<u8> = former.iter().flat_map(line).collect();
    let follower = Follower { news, query, seen };
    let lines = stream::unfold(
        (Some(first), follower),
        |(first, mut follower)| async move {
            let next = match first {
                Some(first) => first,
                None => follower.next().await?,
            };
            Some((Ok::<_, Infallible>(Bytes::from(next)), (None, follower)))
        },
    );
    let mut response: Response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Follower {
    news: broadcast::Receiver<Arc<Entry>>,
    query: Query,
    /// Ids up to this one were answered already.
    seen: u64,
}

impl Follower {
    /// The next entry that is asked for, as a line; `None`: the server ends.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.news.recv().await {
                Ok(entry) if entry.id > self.seen && self.query.matches(&entry) => {
                    return Some(line(&entry));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    let text = format!("{lost} entries are not shown: more than were taken");
                    return Some(line(&Entry::new("", Source::System, Level::Warn, text)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn line(entry: &Entry) -> Vec<u8> {
    // Only maps with keys that are no text cannot be written.
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}
