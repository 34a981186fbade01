//! Sleep as a pure function of requests and facts: how deeply a running container rests.
//!
//! No I/O, no clock. The actor owns one [`Sleep`] per container, tells it what it wants and what
//! happened, and carries out the [`Order`] it gets. [`crate::activity`] decides what idle is.
//!
//! ```text
//!          idle, pause                    still idle                 written
//!  Awake ──────────────▶ Freezing ─▶ Frozen ─────────▶ Checkpointing ───────▶ Stored
//!    ▲ ▲                    │  ▲       │                 │      │ written,       │
//!    │ │             wanted │  └───────┼─────────────────┤      │ but wanted     │ need
//!    │ └─────────────────Thawing ◀─────┘ need  not       │      ▼                │
//!    │                      ▲                  written,  │   Restoring ◀─────────┘
//!    │                      └─────────────────wanted ────┘      │
//!    └──────────────────────────────────────────────────────────┘
//! ```
//!
//! A restoration that fails ends the process, which is nothing that is decided here.
//!
//! Invariants, property-tested below: at most one order is under way; who needs the container awake
//! is never forgotten: every order ends awake if somebody asked meanwhile; a paused container is
//! neither woken by a connection nor written to disk; what could not be written is not tried again
//! before it has been awake.

/// What to do; each ends with the fact of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Freeze,
    Thaw,
    /// Write it to disk, thawing it for that, and end its processes.
    Checkpoint,
    /// Make it again from there.
    Restore,
}

/// How deeply it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Awake,
    Freezing,
    Frozen,
    Thawing,
    Checkpointing,
    Stored,
    Restoring,
}

/// Whether something that needs the container awake may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It is awake.
    Now,
    /// When it is awake; an order to carry out for that, unless one is under way.
    Later(Option<Order>),
    /// It is paused.
    Paused,
}

/// The rest of one container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    depth: Depth,
    /// A person asked for it: only a person ends it.
    paused: bool,
    /// Somebody needs it awake as soon as the order under way is done.
    wanted: bool,
    /// It could not be written to disk since it was last awake.
    stuck: bool,
}

impl Sleep {
    pub(crate) fn new() -> Self {
        Self {
            depth: Depth::Awake,
            paused: false,
            wanted: false,
            stuck: false,
        }
    }

    pub(crate) fn depth(&self) -> Depth {
        self.depth
    }

    /// Paused, and frozen for it.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused && self.depth == Depth::Frozen
    }

    /// Its processes do not live, or may end any moment.
    pub(crate) fn has_left_memory(&self) -> bool {
        matches!(
            self.depth,
            Depth::Checkpointing | Depth::Stored | Depth::Restoring
        )
    }

    /// Nothing has failed since it was last awake.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.stuck
    }

    /// It may be written to disk if it goes on sleeping.
    pub(crate) fn may_deepen(&self) -> bool {
        self.depth == Depth::Frozen && !self.paused && !self.stuck
    }

    /// It has been idle for long enough.
    pub(crate) fn doze(&mut self) -> Option<Order> {
        (self.depth == Depth::Awake).then(|| {
            self.depth = Depth::Freezing;
            Order::Freeze
        })
    }

    /// It has been frozen for long enough.
    pub(crate) fn deepen(&mut self) -> Option<Order> {
        self.may_deepen().then(|| {
            self.depth = Depth::Checkpointing;
            Order::Checkpoint
        })
    }

    /// Something needs it awake. A signal ends even a pause: the program must be able to end.
    pub(crate) fn need(&mut self, signal: bool) -> Readiness {
        if self.paused {
            if !signal {
                return Readiness::Paused;
            }
            self.paused = false;
        }
        match self.depth {
            Depth::Awake => Readiness::Now,
            Depth::Frozen => {
                self.depth = Depth::Thawing;
                Readiness::Later(Some(Order::Thaw))
            }
            Depth::Stored => {
                self.depth = Depth::Restoring;
                Readiness::Later(Some(Order::Restore))
            }
            Depth::Freezing | Depth::Checkpointing => {
                self.wanted = true;
                Readiness::Later(None)
            }
            Depth::Thawing | Depth::Restoring => Readiness::Later(None),
        }
    }

    /// A person wants it frozen. `Now`: it is. `Later` with [`Order::Freeze`]: when that is done.
    /// `Later` without: to be asked again when it is awake. `Paused`: it was already.
    pub(crate) fn pause(&mut self) -> Readiness {
        if self.paused {
            return Readiness::Paused;
        }
        match self.depth {
            Depth::Awake => {
                self.paused = true;
                self.depth = Depth::Freezing;
                Readiness::Later(Some(Order::Freeze))
            }
            Depth::Frozen => {
                self.paused = true;
                Readiness::Now
            }
            _ => self.need(false),
        }
    }

    /// A person ends the pause. `None`: it is not paused.
    pub(crate) fn unpause(&mut self) -> Option<Readiness> {
        if !self.paused {
            return None;
        }
        self.paused = false;
        Some(self.need(false))
    }

    /// [`Order::Freeze`] is done. What could be frozen of a failed one is thawed again.
    pub(crate) fn froze(&mut self, done: bool) -> Option<Order> {
        if self.depth != Depth::Freezing {
            return None;
        }
        self.paused &= done;
        self.settle(done, Depth::Frozen, (Depth::Thawing, Order::Thaw))
    }

    /// [`Order::Thaw`] is done, as far as it could be.
    pub(crate) fn thawed(&mut self) {
        if self.depth == Depth::Thawing {
            *self = Self::new();
        }
    }

    /// [`Order::Checkpoint`] is done: it is on disk, or runs and is to be frozen again.
    pub(crate) fn checkpointed(&mut self, done: bool) -> Option<Order> {
        if self.depth != Depth::Checkpointing {
            return None;
        }
        if done {
            return self.settle(true, Depth::Stored, (Depth::Restoring, Order::Restore));
        }
        self.stuck = true;
        let next = if std::mem::take(&mut self.wanted) {
            (Depth::Thawing, Order::Thaw)
        } else {
            (Depth::Freezing, Order::Freeze)
        };
        self.depth = next.0;
        Some(next.1)
    }

    /// [`Order::Restore`] has succeeded.
    pub(crate) fn restored(&mut self) {
        if self.depth == Depth::Restoring {
            *self = Self::new();
        }
    }

    /// The process has ended, whatever was under way.
    pub(crate) fn ended(&mut self) {
        *self = Self::new();
    }

    fn settle(&mut self, stays: bool, rest: Depth, wake: (Depth, Order)) -> Option<Order> {
        let wanted = std::mem::take(&mut self.wanted);
        if stays && !wanted {
            self.depth = rest;
            return None;
        }
        self.depth = wake.0;
        Some(wake.1)
    }
}

#[cfg(test)]
#[path = "sleep/tests.rs"]
mod tests;
