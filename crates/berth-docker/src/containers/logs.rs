//! `GET /containers/{id}/logs`.

use std::sync::Arc;

use berth_engine::LogLine;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc::Receiver;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::Api;
use crate::error::ApiError;
use crate::frame::{self, StreamKind};
use crate::query::Query;
use crate::respond::{Reply, streamed};
use crate::time::rfc3339;

/// Content type of multiplexed frames since Docker's API 1.42.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Which lines and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Selection {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    since_ms: u64,
}

impl Selection {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let selection = Self {
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
            timestamps: query.flag("timestamps"),
            since_ms: since_ms(query)?,
        };
        if selection.stdout || selection.stderr {
            Ok(selection)
        } else {
            Err(ApiError::bad_request(
                "Bad parameters: you must choose at least one stream",
            ))
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        let stream = if line.stderr {
            self.stderr
        } else {
            self.stdout
        };
        stream && line.time_ms >= self.since_ms
    }

    fn encode(&self, line: &LogLine) -> Bytes {
        let mut text = Vec::with_capacity(line.bytes.len() + 40);
        if self.timestamps {
            text.extend_from_slice(rfc3339(line.time_ms).as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&line.bytes);
        text.push(b'\n');
        let stream = if line.stderr {
            StreamKind::Stderr
        } else {
            StreamKind::Stdout
        };
        let mut frames = BytesMut::new();
        frame::encode(stream, &text, &mut frames);
        frames.freeze()
    }
}

/// Seconds, possibly with a fraction.
fn since_ms(query: &Query) -> Result<u64, ApiError> {
    let Some(since) = query.get("since") else {
        return Ok(0);
    };
    let (seconds, fraction) = since.split_once('.').unwrap_or((since, ""));
    let millis = format!("{fraction:0<3}");
    let parsed = seconds
        .parse::<u64>()
        .ok()
        .zip(
            millis
                .get(..3)
                .and_then(|digits| digits.parse::<u64>().ok()),
        )
        .map(|(seconds, millis)| seconds.saturating_mul(1000).saturating_add(millis));
    parsed.ok_or_else(|| ApiError::bad_request(format!("invalid value for since: {since}")))
}

/// The kept lines, the last `tail` of them, then with `follow` those to come.
pub(crate) async fn logs(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    let selection = Selection::of(query)?;
    let tail = match query.get("tail") {
        None | Some("all") => None,
        // Docker takes anything else that is not a number for "all".
        Some(tail) => tail.parse::<usize>().ok(),
    };
    if api.sidecars.get(name).is_some() {
        return Ok(streamed(MULTIPLEXED, futures_util::stream::empty()));
    }
    let follow = query.flag("follow");
    let lines = api.engine.logs(name, follow).await?;
    let skip = match tail {
        None => 0,
        Some(tail) => {
            let kept = api.engine.logs(name, false).await?;
            count(kept, selection).await.saturating_sub(tail)
        }
    };
    let cancelled = api.cancelled();
    let stream =
        encoded(lines, selection, skip).take_until(async move { cancelled.cancelled().await });
    Ok(streamed(MULTIPLEXED, stream))
}

async fn count(mut lines: Receiver<LogLine>, selection: Selection) -> usize {
    let mut count = 0;
    while let Some(line) = lines.recv().await {
        count += usize::from(selection.wants(&line));
    }
    count
}

fn encoded(
    lines: Receiver<LogLine>,
    selection: Selection,
    skip: usize,
) -> impl Stream<Item = Bytes> + Send + 'static {
    ReceiverStream::new(lines)
        .filter(move |line| std::future::ready(selection.wants(line)))
        .skip(skip)
        .map(move |line| selection.encode(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, stderr: bool, time_ms: u64) -> LogLine {
        LogLine {
            time_ms,
            stderr,
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_stream_must_be_chosen() {
        assert!(Selection::of(&Query::parse(Some("follow=1"))).is_err());
        let both = Selection::of(&Query::parse(Some("stdout=1&stderr=true"))).unwrap();
        assert!(both.wants(&line("a", true, 0)) && both.wants(&line("a", false, 0)));
        let only = Selection::of(&Query::parse(Some("stderr=1&since=1.5"))).unwrap();
        assert!(!only.wants(&line("a", false, 2000)));
        assert!(!only.wants(&line("a", true, 1499)));
        assert!(only.wants(&line("a", true, 1500)));
        assert!(Selection::of(&Query::parse(Some("stderr=1&since=x"))).is_err());
    }

    #[test]
    fn lines_are_frames() {
        let plain = Selection::of(&Query::parse(Some("stdout=1&stderr=1"))).unwrap();
        assert_eq!(
            plain.encode(&line("hi", true, 0)).as_ref(),
            b"\x02\0\0\0\0\0\0\x03hi\n"
        );
        let dated = Selection::of(&Query::parse(Some("stdout=1&timestamps=1"))).unwrap();
        let encoded = dated.encode(&line("hi", false, 0));
        assert_eq!(&encoded[8..], b"1970-01-01T00:00:00.000000000Z hi\n");
    }

    #[tokio::test]
    async fn the_tail_is_what_is_left_after_skipping() {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        for (text, stderr) in [("1", false), ("e", true), ("2", false), ("3", false)] {
            sender.send(line(text, stderr, 0)).await.unwrap();
        }
        drop(sender);
        let selection = Selection::of(&Query::parse(Some("stdout=1"))).unwrap();
        let lines: Vec<Bytes> = encoded(receiver, selection, 2).collect().await;
        assert_eq!(lines.len(), 1);
        assert_eq!(&lines[0][8..], b"3\n");
    }
}
