//! When a container is started again after its end: Docker's rules and pauses. Pure.
//!
//! Docker 20.10: the first pause is 100 ms, each further one twice as long, at most a minute; a run
//! of 10 s starts over. A container that was stopped or signalled through the API stays down.

use std::time::Duration;

use berth_jail::ExitStatus;

use crate::RestartPolicy;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run this long was no crash at the start.
const LONG_RUN: Duration = Duration::from_secs(10);

/// What is remembered between two ends.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    pause: Option<Duration>,
    /// Restarts since somebody last started it.
    count: u32,
    asked_to_end: bool,
}

impl Restarts {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            pause: None,
            count: 0,
            asked_to_end: false,
        }
    }

    /// Somebody starts it.
    pub(super) fn started_by_request(&mut self) {
        *self = Self::new(self.policy);
    }

    /// Somebody wants it to end.
    pub(super) fn asked_to_end(&mut self) {
        self.asked_to_end = true;
    }

    /// How often it has been started again.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// It has ended after `ran`: how long to wait before it is started again, if it is.
    pub(super) fn after(&mut self, status: ExitStatus, ran: Duration) -> Option<Duration> {
        let wanted = match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure(most) => {
                status.code != 0 && most.is_none_or(|most| self.count < most)
            }
        };
        if !wanted || self.asked_to_end {
            return None;
        }
        let pause = match self.pause {
            Some(last) if ran < LONG_RUN => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.pause = Some(pause);
        self.count += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus {
            code,
            signal: None,
            oom_killed: false,
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_a_long_run_starts_over() {
        let mut restarts = Restarts::new(RestartPolicy::OnFailure(None));
        let mut pause = |ran| restarts.after(exit(1), Duration::from_secs(ran)).unwrap();
        let pauses: Vec<u128> = (0..12).map(|_| pause(0).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[10..], [60_000, 60_000]);
        assert_eq!(pause(10).as_millis(), 100);
        assert_eq!(pause(9).as_millis(), 200);
        assert_eq!(restarts.count(), 14);
    }

    #[test]
    fn only_failures_count_and_only_so_many() {
        let soon = Duration::ZERO;
        let mut restarts = Restarts::new(RestartPolicy::OnFailure(Some(2)));
        assert_eq!(restarts.after(exit(0), soon), None);
        assert!(restarts.after(exit(137), soon).is_some());
        assert!(restarts.after(exit(1), soon).is_some());
        assert_eq!(restarts.after(exit(1), soon), None);
        restarts.started_by_request();
        assert!(restarts.after(exit(1), soon).is_some());
        assert!(
            Restarts::new(RestartPolicy::Always)
                .after(exit(0), soon)
                .is_some()
        );
        assert_eq!(Restarts::new(RestartPolicy::No).after(exit(1), soon), None);
    }

    #[test]
    fn what_was_asked_to_end_stays_down_until_somebody_starts_it() {
        let mut restarts = Restarts::new(RestartPolicy::Always);
        restarts.asked_to_end();
        assert_eq!(restarts.after(exit(1), Duration::ZERO), None);
        restarts.started_by_request();
        assert!(restarts.after(exit(1), Duration::ZERO).is_some());
    }
}
