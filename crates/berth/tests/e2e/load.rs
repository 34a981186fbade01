//! Requests at a steady rate, to see what clients see while something changes.

use std::time::Duration;

use berth_test::ServerSession;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

/// Between two requests: 50 in a second.
const PACE: Duration = Duration::from_millis(20);
/// A machine that cannot do so many gets no more while these wait.
const MOST_WAITING: usize = 200;
/// So many are asked for in any case, also when the work is done before.
const LEAST: usize = 30;

/// What the clients saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Path and text of every answer with the status 200, in the order in which they came.
    pub(crate) answers: Vec<(String, String)>,
    /// Of every other one: path, status and text.
    pub(crate) failed: Vec<String>,
}

impl Seen {
    /// Answers of a path.
    pub(crate) fn of<'a>(&'a self, path: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        let answers = self.answers.iter();
        answers
            .filter(move |(of, _)| of == path)
            .map(|(_, text)| text.as_str())
    }

    /// Fails unless every request was answered, and some were.
    pub(crate) fn assert_whole(&self) {
        assert!(
            self.failed.is_empty(),
            "{} failed, {} did not: {:?}",
            self.failed.len(),
            self.answers.len(),
            &self.failed[..self.failed.len().min(5)]
        );
        assert!(self.answers.len() > 20, "{}", self.answers.len());
    }
}

/// Asks these paths of a Worker one after the other, at the same rate however long answers take, as long as
/// `work` goes on, [`LEAST`] times at least, and until all are answered.
pub(crate) async fn during<T>(
    server: &ServerSession,
    worker: &str,
    paths: &[&str],
    work: impl Future<Output = T>,
) -> (T, Seen) {
    let until = CancellationToken::new();
    let work = async {
        let result = work.await;
        until.cancel();
        result
    };
    tokio::join!(work, ask(server, worker, paths, &until))
}

async fn ask(
    server: &ServerSession,
    worker: &str,
    paths: &[&str],
    until: &CancellationToken,
) -> Seen {
    let mut seen = Seen::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut paths = paths.iter().cycle();
    let mut waiting = FuturesUnordered::new();
    let mut asked = 0;
    loop {
        let go_on = !until.is_cancelled() || asked < LEAST;
        tokio::select! {
            _ = pace.tick(), if go_on && waiting.len() < MOST_WAITING => {
                asked += 1;
                let path = (*paths.next().unwrap()).to_owned();
                waiting.push(async move { (server.get(worker, &path).await, path) });
            }
            Some((reply, path)) = waiting.next() => {
                let (status, text) = (reply.status, reply.text());
                if status == 200 {
                    seen.answers.push((path, text));
                } else {
                    seen.failed.push(format!("{path}: {status} {text}"));
                }
            }
            else => return seen,
        }
    }
}
