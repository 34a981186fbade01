//! Who may start (most instances of a class, most starts per second), and how a refusal or a failed
//! start reaches the class.
//!
//! workerd 1.20261117.1 drops the text of a refused create or start: `monitor()` says "Container
//! failed to start", whatever the reason. The text of a refused `/wait` and of a refused tunnel, it
//! hands on. So a container of workerd's that cannot be made or started is answered as if it had
//! been, and whoever then waits for it or connects to it is told why. The class from npm
//! (`@cloudflare/containers` 0.3.7) finds "there is no container instance that can be provided to
//! this durable object" in the text, tries again for 8 s and answers 503; "you are requesting too
//! many containers per second" becomes a 429 at once; anything else a 500 with the text.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::lock;
use crate::error::ApiError;

/// How many seconds' worth of starts may come at once.
const BURST_SECONDS: f64 = 3.0;

/// A token bucket for starts.
#[derive(Debug, Default)]
pub(crate) struct StartRate {
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl StartRate {
    /// Takes one start; `false` if there have been too many. `None` is no limit.
    pub(crate) fn admit(&self, per_second: Option<u32>) -> bool {
        self.admit_at(per_second, Instant::now())
    }

    fn admit_at(&self, per_second: Option<u32>, now: Instant) -> bool {
        let Some(per_second) = per_second.map(f64::from) else {
            return true;
        };
        let most = per_second * BURST_SECONDS;
        let mut bucket = lock(&self.bucket);
        let tokens = match *bucket {
            None => most,
            Some(Bucket { tokens, at }) => {
                let gained = now.saturating_duration_since(at).as_secs_f64() * per_second;
                (tokens + gained).min(most)
            }
        };
        let admitted = tokens >= 1.0;
        let tokens = if admitted { tokens - 1.0 } else { tokens };
        *bucket = Some(Bucket { tokens, at: now });
        admitted
    }
}

/// Why a start was refused for its rate.
pub(crate) fn too_many(per_second: u32) -> String {
    format!(
        "you are requesting too many containers per second: at most {per_second} may start per \
         second"
    )
}

/// How long a refusal is remembered; the class asks within milliseconds.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Containers of workerd's that could not be made or started, by name.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    by_name: Mutex<HashMap<String, Refusal>>,
}

#[derive(Debug, Clone)]
struct Refusal {
    error: ApiError,
    at: Instant,
}

impl Refusals {
    /// Remembers why; `true` if that is news and not the next of a row of tries.
    pub(crate) fn refuse(&self, name: &str, error: ApiError) -> bool {
        let at = Instant::now();
        let mut by_name = lock(&self.by_name);
        by_name.retain(|_, refusal| at.duration_since(refusal.at) < REMEMBERED);
        let former = by_name.insert(
            name.to_owned(),
            Refusal {
                error: error.clone(),
                at,
            },
        );
        former.is_none_or(|former| former.error != error)
    }

    /// Why the latest start of this container did not happen.
    pub(crate) fn of(&self, name: &str) -> Option<ApiError> {
        let by_name = lock(&self.by_name);
        let refusal = by_name.get(name)?;
        (refusal.at.elapsed() < REMEMBERED).then(|| refusal.error.clone())
    }

    /// It has started.
    pub(crate) fn forget(&self, name: &str) {
        lock(&self.by_name).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_only_the_rate() {
        let rate = StartRate::default();
        let begin = Instant::now();
        let admitted = |at: Duration| {
            let tries = (0..100).map(|_| rate.admit_at(Some(10), begin + at));
            tries.filter(|admitted| *admitted).count()
        };
        assert_eq!(admitted(Duration::ZERO), 30);
        assert_eq!(admitted(Duration::from_millis(550)), 5);
        assert_eq!(admitted(Duration::from_secs(60)), 30);
        assert!((0..1000).all(|_| rate.admit_at(None, begin)));
    }

    #[test]
    fn a_row_of_tries_is_news_once() {
        let refusals = Refusals::default();
        let full = || ApiError::internal("full");
        assert!(refusals.refuse("a", full()));
        assert!(!refusals.refuse("a", full()));
        assert!(refusals.refuse("b", full()));
        assert!(refusals.refuse("a", ApiError::internal("broken")));
        assert_eq!(refusals.of("a").unwrap().message, "broken");
        refusals.forget("a");
        assert!(refusals.of("a").is_none());
        assert!(refusals.refuse("a", full()));
    }
}
