//! The policy against a model of the actor and of the world.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;

use super::*;

/// What a test does next: a request, or the oldest outstanding fact comes true.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(Ask),
    /// The start in flight ends this way.
    StartEnds(bool),
    /// A living process ends.
    ProcessEnds,
    /// The cleaning that was ordered is done.
    CleaningEnds,
}

/// The actor's bookkeeping and the world it acts on, without either.
#[derive(Debug)]
struct World {
    life: Lifecycle,
    starting: bool,
    process: bool,
    cleaning: bool,
    finished: bool,
    removal: bool,
    parked: usize,
    removers: usize,
    deferred: Vec<Ask>,
}

impl World {
    fn new() -> Self {
        Self {
            life: Lifecycle::new(),
            starting: false,
            process: false,
            cleaning: false,
            finished: false,
            removal: false,
            parked: 0,
            removers: 0,
            deferred: Vec::new(),
        }
    }

    fn ask(&mut self, ask: Ask) {
        match self.life.decide(ask) {
            Decision::BeginStart => {
                assert!(!self.starting && !self.process && !self.removal);
                self.starting = true;
            }
            Decision::Defer => {
                assert!(self.starting, "{ask:?} deferred without a start in flight");
                self.deferred.push(ask);
            }
            Decision::Park => self.parked += 1,
            Decision::AnswerExit => assert!(!self.starting && !self.process),
            Decision::Signal | Decision::Exec | Decision::Rest => {
                assert!(self.process && !self.removal);
            }
            Decision::Visit => assert!(!self.starting && !self.cleaning && !self.removal),
            Decision::Terminate => {
                assert!(self.process && !self.removal);
                self.parked += 1;
            }
            Decision::BeginRemoval(first) => {
                assert!(!self.removal, "a second removal began");
                self.removal = true;
                self.removers += 1;
                if let Some(order) = first {
                    self.obey(order);
                } else {
                    assert!(self.starting);
                }
            }
            Decision::JoinRemoval => {
                assert!(self.removal);
                self.removers += 1;
            }
            Decision::Refuse(refusal) => self.check_refusal(ask, refusal),
        }
    }

    fn check_refusal(&self, ask: Ask, refusal: Refusal) {
        match refusal {
            Refusal::AlreadyRunning => assert!(ask == Ask::Start && self.process),
            Refusal::NotRunning => assert!(self.removal || (!self.process && !self.starting)),
            Refusal::StillRunning => {
                assert!(ask == Ask::Remove { force: false } && (self.process || self.starting));
            }
            Refusal::BeingRemoved => assert!(self.removal),
        }
    }

    fn happened(&mut self, happened: Happened) {
        for order in self.life.observe(happened) {
            self.obey(*order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::SettleWaits => self.parked = 0,
            Order::ReplayDeferred => {
                for ask in std::mem::take(&mut self.deferred) {
                    self.ask(ask);
                }
            }
            Order::Kill => assert!(self.process, "nothing to kill"),
            Order::Clean => {
                assert!(!self.starting && !self.process, "cleaned under a process");
                assert!(!self.cleaning, "cleaned twice");
                self.parked = 0;
                self.cleaning = true;
            }
            Order::Finish => {
                self.parked = 0;
                self.finished = true;
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(ask) if !self.finished => self.ask(ask),
            Step::StartEnds(well) if self.starting => {
                self.starting = false;
                self.process = well;
                self.happened(if well {
                    Happened::Started
                } else {
                    Happened::StartFailed
                });
            }
            Step::ProcessEnds if self.process => {
                self.process = false;
                self.happened(Happened::Exited);
            }
            Step::CleaningEnds if self.cleaning && !self.finished => {
                self.happened(Happened::Cleaned);
            }
            _ => {}
        }
    }
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![
        3 => Just(Ask::Start),
        2 => Just(Ask::Wait),
        1 => Just(Ask::Kill),
        1 => Just(Ask::Stop),
        1 => Just(Ask::Exec),
        1 => Just(Ask::Visit),
        1 => Just(Ask::Rest),
        1 => any::<bool>().prop_map(|force| Ask::Remove { force }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => asks().prop_map(Step::Ask),
        3 => any::<bool>().prop_map(Step::StartEnds),
        2 => Just(Step::ProcessEnds),
        1 => Just(Step::CleaningEnds),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants_and_a_forced_remove_ends_it(
        history in prop::collection::vec(steps(), 0..60),
        ends_well in any::<bool>(),
    ) {
        let mut world = World::new();
        for step in history {
            world.step(step);
            prop_assert!(world.deferred.is_empty() || world.starting);
            prop_assert_eq!(world.life.status() == Status::Running, world.process && !world.removal);
        }
        if !world.finished {
            world.ask(Ask::Wait);
            world.ask(Ask::Remove { force: true });
            world.step(Step::StartEnds(ends_well));
            world.step(Step::ProcessEnds);
            prop_assert!(world.cleaning);
            world.step(Step::CleaningEnds);
            prop_assert!(world.removers > 0);
        }
        prop_assert!(world.finished && world.deferred.is_empty());
        prop_assert_eq!(world.parked, 0, "a wait was left behind");
    }
}

fn running() -> Lifecycle {
    let mut life = Lifecycle::new();
    assert_eq!(life.decide(Ask::Start), Decision::BeginStart);
    life.observe(Happened::Started);
    life
}

#[test]
fn a_second_start_is_refused_only_once_the_first_has_succeeded() {
    let mut life = Lifecycle::new();
    assert_eq!(life.decide(Ask::Start), Decision::BeginStart);
    assert_eq!(life.decide(Ask::Start), Decision::Defer);
    assert_eq!(life.observe(Happened::Started), [Order::ReplayDeferred]);
    assert_eq!(
        life.decide(Ask::Start),
        Decision::Refuse(Refusal::AlreadyRunning)
    );
}

#[test]
fn wait_parks_before_an_exit_and_is_answered_after_it() {
    let mut life = running();
    assert_eq!(life.decide(Ask::Wait), Decision::Park);
    assert_eq!(life.observe(Happened::Exited), [Order::SettleWaits]);
    assert_eq!(life.decide(Ask::Wait), Decision::AnswerExit);
    assert_eq!(life.decide(Ask::Stop), Decision::AnswerExit);
}

#[test]
fn a_new_start_forgets_the_old_exit() {
    let mut life = running();
    life.observe(Happened::Exited);
    assert_eq!(life.decide(Ask::Start), Decision::BeginStart);
    assert_eq!(life.decide(Ask::Wait), Decision::Park);
}

#[test]
fn a_failed_start_leaves_an_exited_container_that_can_be_removed_without_force() {
    let mut life = Lifecycle::new();
    life.decide(Ask::Start);
    life.observe(Happened::StartFailed);
    assert_eq!(life.status(), Status::Exited);
    assert_eq!(life.decide(Ask::Wait), Decision::AnswerExit);
    assert_eq!(
        life.decide(Ask::Remove { force: false }),
        Decision::BeginRemoval(Some(Order::Clean))
    );
}

#[test]
fn remove_during_a_start_waits_for_it_then_kills() {
    let mut life = Lifecycle::new();
    life.decide(Ask::Start);
    assert_eq!(
        life.decide(Ask::Remove { force: true }),
        Decision::BeginRemoval(None)
    );
    assert_eq!(
        life.decide(Ask::Remove { force: true }),
        Decision::JoinRemoval
    );
    assert_eq!(
        life.observe(Happened::Started),
        [Order::ReplayDeferred, Order::Kill]
    );
    assert_eq!(life.status(), Status::Removing);
    assert_eq!(life.decide(Ask::Wait), Decision::Park);
    assert_eq!(life.observe(Happened::Exited), [Order::Clean]);
    assert_eq!(life.decide(Ask::Wait), Decision::AnswerExit);
    assert_eq!(life.observe(Happened::Cleaned), [Order::Finish]);
}
