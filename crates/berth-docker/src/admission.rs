//! Who may start: most instances of a class, and most starts per second.
//!
//! Both are told apart by the class from npm (`@cloudflare/containers` 0.3.7) by a part of the text,
//! in lower case: the first becomes a 503 once its 8 s of trying are over, the second a 429 at once.
//! workerd 1.20261117.1 carries the text of a refused `/wait` to the class and drops those of a
//! refused create or start; see `containers/create.rs`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::lock;

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

/// How long a refused container is remembered for the `/wait` that tells the class why.
pub(crate) const REFUSAL_KEPT: Duration = Duration::from_secs(30);

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
}
