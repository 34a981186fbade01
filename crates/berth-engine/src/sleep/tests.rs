//! The policy against a model of who waits.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Doze,
    Deepen,
    Connect,
    Signal,
    Pause,
    Unpause,
    /// The order under way ends this way.
    Done(bool),
    Ended,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        3 => Just(Step::Doze),
        2 => Just(Step::Deepen),
        3 => Just(Step::Connect),
        1 => Just(Step::Signal),
        1 => Just(Step::Pause),
        1 => Just(Step::Unpause),
        5 => any::<bool>().prop_map(Step::Done),
        1 => Just(Step::Ended),
    ];
    prop::collection::vec(one, 0..60)
}

/// A model of the actor: one order at a time, and who waits for the container to be awake.
#[derive(Debug)]
struct World {
    sleep: Sleep,
    order: Option<Order>,
    waiting: bool,
    /// Checkpoints that failed since it was last awake.
    tried: u32,
}

impl World {
    fn obey(&mut self, order: Option<Order>) {
        if let Some(order) = order {
            assert_eq!(self.order, None, "two orders at once");
            assert!(
                order != Order::Checkpoint || !self.sleep.paused,
                "a paused container is written to disk"
            );
            self.order = Some(order);
        }
    }

    fn need(&mut self, signal: bool) {
        let was_paused = self.sleep.paused;
        match self.sleep.need(signal) {
            Readiness::Now => assert_eq!(self.sleep.depth, Depth::Awake),
            Readiness::Later(order) => {
                self.waiting = true;
                self.obey(order);
            }
            Readiness::Paused => assert!(was_paused && !signal),
        }
    }

    fn done(&mut self, success: bool) {
        let next = match self.order.take() {
            None => return,
            Some(Order::Freeze) => self.sleep.froze(success),
            Some(Order::Checkpoint) => {
                self.tried += u32::from(!success);
                self.sleep.checkpointed(success)
            }
            Some(Order::Restore) => {
                if success {
                    self.sleep.restored();
                } else {
                    // The process has ended, and whoever waits is told so.
                    self.sleep.ended();
                    self.waiting = false;
                }
                None
            }
            Some(Order::Thaw) => {
                self.sleep.thawed();
                None
            }
        };
        self.obey(next);
        if self.sleep.depth == Depth::Awake {
            self.waiting = false;
            self.tried = 0;
        }
        assert!(self.tried <= 1, "tried again without having been awake");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Doze => {
                let order = self.sleep.doze();
                self.obey(order);
            }
            Step::Deepen => {
                let order = self.sleep.deepen();
                self.obey(order);
            }
            Step::Connect => self.need(false),
            Step::Signal => self.need(true),
            Step::Pause => {
                if let Readiness::Later(order) = self.sleep.pause() {
                    self.waiting |= order != Some(Order::Freeze);
                    self.obey(order);
                }
            }
            Step::Unpause => {
                if let Some(Readiness::Later(order)) = self.sleep.unpause() {
                    self.waiting = true;
                    self.obey(order);
                }
            }
            Step::Done(success) => self.done(success),
            Step::Ended => {
                self.sleep.ended();
                self.order = None;
                self.waiting = false;
                self.tried = 0;
            }
        }
        let under_way = matches!(
            self.sleep.depth,
            Depth::Freezing | Depth::Thawing | Depth::Checkpointing | Depth::Restoring
        );
        assert_eq!(under_way, self.order.is_some(), "{self:?}");
        assert!(
            !self.waiting || under_way,
            "somebody waits and nothing is done about it: {self:?}"
        );
    }
}

proptest! {
    #[test]
    fn nobody_waits_for_ever(steps in steps()) {
        let mut world = World { sleep: Sleep::new(), order: None, waiting: false, tried: 0 };
        for step in steps {
            world.step(step);
        }
        // Whoever waits is let through after a few orders, whether these succeed or not.
        for success in [false, true, true, true, true] {
            world.done(success);
        }
        prop_assert!(!world.waiting && world.order.is_none(), "{world:?}");
    }
}

#[test]
fn a_connection_during_the_freezing_thaws_at_once() {
    let mut sleep = Sleep::new();
    assert_eq!(sleep.doze(), Some(Order::Freeze));
    assert_eq!(sleep.need(false), Readiness::Later(None));
    assert_eq!(sleep.froze(true), Some(Order::Thaw));
    sleep.thawed();
    assert_eq!(sleep.need(false), Readiness::Now);
}

#[test]
fn a_container_stays_frozen_after_a_checkpoint_was_tried() {
    let mut sleep = Sleep::new();
    sleep.doze();
    sleep.froze(true);
    assert_eq!(sleep.deepen(), Some(Order::Checkpoint));
    assert_eq!(sleep.checkpointed(false), Some(Order::Freeze));
    assert_eq!(sleep.froze(true), None);
    assert_eq!(sleep.depth(), Depth::Frozen);
    assert_eq!(sleep.deepen(), None, "it was tried");
    assert_eq!(sleep.need(false), Readiness::Later(Some(Order::Thaw)));
    sleep.thawed();
    sleep.doze();
    sleep.froze(true);
    assert_eq!(
        sleep.deepen(),
        Some(Order::Checkpoint),
        "it may have changed"
    );
    assert_eq!(sleep.need(false), Readiness::Later(None));
    assert_eq!(sleep.checkpointed(false), Some(Order::Thaw));
}

#[test]
fn what_is_on_disk_is_restored_by_whoever_comes_first() {
    let mut sleep = Sleep::new();
    sleep.doze();
    sleep.froze(true);
    sleep.deepen();
    assert_eq!(sleep.checkpointed(true), None);
    assert_eq!(sleep.depth(), Depth::Stored);
    assert_eq!(sleep.need(false), Readiness::Later(Some(Order::Restore)));
    assert_eq!(sleep.need(true), Readiness::Later(None));
    sleep.restored();
    assert_eq!(sleep.need(false), Readiness::Now);
    sleep.doze();
    sleep.froze(true);
    sleep.deepen();
    assert_eq!(
        sleep.need(false),
        Readiness::Later(None),
        "while it is written"
    );
    assert_eq!(sleep.checkpointed(true), Some(Order::Restore));
}

#[test]
fn only_a_person_or_a_signal_ends_a_pause() {
    let mut sleep = Sleep::new();
    assert_eq!(sleep.pause(), Readiness::Later(Some(Order::Freeze)));
    assert_eq!(sleep.froze(true), None);
    assert!(sleep.is_paused());
    assert_eq!(sleep.need(false), Readiness::Paused);
    assert_eq!(sleep.deepen(), None);
    assert_eq!(sleep.unpause(), Some(Readiness::Later(Some(Order::Thaw))));
    sleep.thawed();
    assert_eq!(sleep.unpause(), None);
    sleep.pause();
    sleep.froze(true);
    assert_eq!(sleep.need(true), Readiness::Later(Some(Order::Thaw)));
}
