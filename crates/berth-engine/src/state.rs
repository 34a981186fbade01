//! What is legal when: the life of one container as a pure function of requests and facts.
//!
//! No I/O, no clock, no locks. The actor ([`crate::actor`]) owns one [`Lifecycle`], asks it about
//! each request ([`Lifecycle::decide`]), tells it what happened ([`Lifecycle::observe`]) and carries
//! out what it answers.
//!
//! ```text
//!            Start            Started              Exited
//!  Created ────────▶ Starting ────────▶ Running ──────────────▶ Exited
//!     │               │  │  StartFailed     │                  ▲  │ │
//!     │               │  └──────────────────┼──────────────────┘  │ │
//!     │               │       ▲             │         Start       │ │
//!     │               │       └─────────────┼─────────────────────┘ │
//!     │ Remove        │ Remove(force)       │ Remove(force)         │ Remove
//!     ▼               ▼                     ▼                       ▼
//!  ┌──────────────────────────── Removing ──────────────────────────────┐
//!  │ start in flight ──Started──▶ killing ──Exited──▶ cleaning          │
//!  │        └────────StartFailed────────────────────────▲               │ ──Cleaned──▶ Gone
//!  └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | request | Created | Starting | Running | Exited | Removing |
//! |---|---|---|---|---|---|
//! | start | begin | later | 304 | begin | 409 |
//! | wait | park | park | park | stored exit | stored exit, or park |
//! | kill | 409 | later | signal | 409 | 409 |
//! | stop | 409 | later | terminate | stored exit | stored exit, or park |
//! | exec | 409 | later | exec | 409 | 409 |
//! | visit its files | visit | later | visit | visit | 409 |
//! | wake, pause, unpause | 409 | later | see `sleep.rs` | 409 | 409 |
//! | remove | clean | force: after the start | force: kill | clean | join |
//!
//! "Later" means: decided again when the start has succeeded or failed, as Docker's lock per
//! container has it. A container whose start failed is Exited (Docker says created); its exit code
//! is the shell's 127 or 126, so that a waiter learns of it.
//!
//! Invariants, property-tested below: at most one start is in flight; cleaning begins only when no
//! start is in flight and no process lives; nothing begins after Remove was accepted; every parked
//! wait is settled, and every deferred request decided, before Gone.

use crate::Status;

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Start,
    Wait,
    Kill,
    Stop,
    Exec,
    Visit,
    /// Wake, pause, unpause: see `sleep.rs`.
    Rest,
    Remove {
        force: bool,
    },
}

/// What to do about an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Make the process.
    BeginStart,
    /// Decide again when [`Order::ReplayDeferred`] comes.
    Defer,
    /// Answer with the next exit ([`Order::SettleWaits`]).
    Park,
    /// Answer with the stored exit.
    AnswerExit,
    /// Signal the first process.
    Signal,
    /// Ask the first process to end, park the caller.
    Terminate,
    /// Start another process beside the first.
    Exec,
    /// Let somebody work in the root.
    Visit,
    /// `sleep.rs` decides.
    Rest,
    /// The removal begins with this order, if any; answer when Gone.
    BeginRemoval(Option<Order>),
    /// A removal is under way; answer when Gone.
    JoinRemoval,
    /// Say no.
    Refuse(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    AlreadyRunning,
    NotRunning,
    StillRunning,
    BeingRemoved,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// The first process has been exec'ed.
    Started,
    /// It could not be; nothing of it is left.
    StartFailed,
    /// The first process has ended and its output is in the log.
    Exited,
    /// Everything the container had is gone.
    Cleaned,
}

/// What to do next, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Answer every parked wait: with the stored exit, or 137 if there is none.
    SettleWaits,
    /// Decide the deferred requests again, in their order.
    ReplayDeferred,
    /// Kill all processes; [`Happened::Exited`] follows.
    Kill,
    /// Settle the waits, then remove everything; [`Happened::Cleaned`] follows.
    Clean,
    /// Settle what was parked since, answer the removers and end.
    Finish,
}

/// Where one container is in its life.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    phase: Phase,
    /// A start was begun and has neither succeeded nor failed.
    start_in_flight: bool,
    /// A process was started and its end has not been seen.
    alive: bool,
    /// The latest start has an exit status.
    has_exit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Starting,
    Running,
    Exited,
    Removing,
    Gone,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Created,
            start_in_flight: false,
            alive: false,
            has_exit: false,
        }
    }

    /// Of a container whose process runs already.
    pub(crate) fn running() -> Self {
        Self {
            phase: Phase::Running,
            start_in_flight: false,
            alive: true,
            has_exit: false,
        }
    }

    /// The public name of the phase; a container that is gone was last seen being removed.
    pub(crate) fn status(&self) -> Status {
        match self.phase {
            Phase::Created => Status::Created,
            Phase::Starting => Status::Starting,
            Phase::Running => Status::Running,
            Phase::Exited => Status::Exited,
            Phase::Removing | Phase::Gone => Status::Removing,
        }
    }

    /// Whether a start would begin at once.
    pub(crate) fn could_start(&self) -> bool {
        matches!(self.phase, Phase::Created | Phase::Exited)
    }

    /// Decides a request. Accepting one changes the state at once.
    pub(crate) fn decide(&mut self, ask: Ask) -> Decision {
        match ask {
            Ask::Start => self.decide_start(),
            Ask::Wait => self.exit_or_park(),
            Ask::Kill => self.needs_process(Decision::Signal, Refusal::NotRunning),
            Ask::Rest => self.needs_process(Decision::Rest, Refusal::BeingRemoved),
            Ask::Exec => self.needs_process(Decision::Exec, Refusal::BeingRemoved),
            Ask::Visit => self.decide_visit(),
            Ask::Stop => match self.phase {
                Phase::Exited | Phase::Removing => self.exit_or_park(),
                _ => self.needs_process(Decision::Terminate, Refusal::NotRunning),
            },
            Ask::Remove { force } => self.decide_remove(force),
        }
    }

    fn decide_start(&mut self) -> Decision {
        match self.phase {
            Phase::Created | Phase::Exited => {
                self.phase = Phase::Starting;
                self.start_in_flight = true;
                self.has_exit = false;
                Decision::BeginStart
            }
            Phase::Starting => Decision::Defer,
            Phase::Running => Decision::Refuse(Refusal::AlreadyRunning),
            Phase::Removing | Phase::Gone => Decision::Refuse(Refusal::BeingRemoved),
        }
    }

    fn decide_visit(&self) -> Decision {
        match self.phase {
            Phase::Created | Phase::Running | Phase::Exited => Decision::Visit,
            Phase::Starting => Decision::Defer,
            Phase::Removing | Phase::Gone => Decision::Refuse(Refusal::BeingRemoved),
        }
    }

    fn exit_or_park(&self) -> Decision {
        if self.has_exit {
            Decision::AnswerExit
        } else {
            Decision::Park
        }
    }

    fn needs_process(&self, accepted: Decision, removing: Refusal) -> Decision {
        match self.phase {
            Phase::Running => accepted,
            Phase::Starting => Decision::Defer,
            Phase::Created | Phase::Exited => Decision::Refuse(Refusal::NotRunning),
            Phase::Removing | Phase::Gone => Decision::Refuse(removing),
        }
    }

    fn decide_remove(&mut self, force: bool) -> Decision {
        let first = match self.phase {
            Phase::Starting | Phase::Running if !force => {
                return Decision::Refuse(Refusal::StillRunning);
            }
            Phase::Removing | Phase::Gone => return Decision::JoinRemoval,
            Phase::Starting => None,
            Phase::Running => Some(Order::Kill),
            Phase::Created | Phase::Exited => Some(Order::Clean),
        };
        self.phase = Phase::Removing;
        Decision::BeginRemoval(first)
    }

    /// Takes note of a fact and says what follows from it.
    pub(crate) fn observe(&mut self, happened: Happened) -> &'static [Order] {
        let removing = self.phase == Phase::Removing;
        match happened {
            Happened::Started => {
                self.start_in_flight = false;
                self.alive = true;
                if removing {
                    return &[Order::ReplayDeferred, Order::Kill];
                }
                self.phase = Phase::Running;
                &[Order::ReplayDeferred]
            }
            Happened::StartFailed => {
                self.start_in_flight = false;
                self.has_exit = !removing;
                if removing {
                    return &[Order::ReplayDeferred, Order::Clean];
                }
                self.phase = Phase::Exited;
                &[Order::SettleWaits, Order::ReplayDeferred]
            }
            Happened::Exited => {
                self.alive = false;
                self.has_exit = true;
                if removing {
                    return &[Order::Clean];
                }
                self.phase = Phase::Exited;
                &[Order::SettleWaits]
            }
            Happened::Cleaned => {
                self.phase = Phase::Gone;
                &[Order::Finish]
            }
        }
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
