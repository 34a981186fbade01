//! The rollout of a container application: a state machine over what is seen of its instances. Pure.
//!
//! Every object has a rank in a rollout, which is chance, the same for ever. Objects whose rank is below
//! the rollout's share run with the target, also those that start anew; all others with what was before.
//! A step raises the share so far that the step's percentage of the instances that run then is below it,
//! at least one. So which image an object gets is decided by two numbers in a record, and is the same
//! after a restart of the server.
//!
//! Rules (Cloudflare's documentation, "Rollouts"): an instance may be replaced once it has run for the
//! grace period; a step begins when the one before is done; deploying again replaces an unfinished
//! rollout. Ours: a step is done when its instances have ended and one that was started again is healthy,
//! or nobody has asked for any in [`OBSERVED_MS`]; when a new instance fails, everything goes back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::containers::{ApplicationError, Instance};

/// Ranks are below this.
pub const RANKS: u64 = 1 << 32;
/// How long a step waits for somebody to start one of its instances again.
pub const OBSERVED_MS: u64 = 20_000;
/// An instance that has listened on a port and has run for this long is healthy.
const HEALTHY_MS: u64 = 1_000;
/// So is one that listens nowhere and has run for this long, if nobody wants it to listen.
const QUIET_HEALTHY_MS: u64 = 10_000;
/// An instance that somebody wants to reach and that listens nowhere has failed after this (the time
/// that `@cloudflare/containers` gives a port).
const LISTEN_MS: u64 = 20_000;
/// Ending with an error before this age is failing at the start.
pub const YOUNG_MS: u64 = 10_000;

/// A change of what instances run with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// A UUID.
    pub id: String,
    /// When it was asked for, RFC 3339.
    pub created: String,
    /// For people.
    pub description: String,
    /// The application's version before.
    pub from_version: u64,
    /// And with it.
    pub to_version: u64,
    /// As sent.
    pub configuration: Map<String, Value>,
    /// What it was before.
    #[serde(default)]
    pub former: Map<String, Value>,
    /// Image and size of the target; absent in records of old.
    #[serde(default)]
    pub target: Option<Instance>,
    /// Who begins its steps.
    #[serde(default)]
    pub kind: Kind,
    /// How it stands.
    #[serde(default)]
    pub status: Status,
    /// In their order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Steps that have begun.
    #[serde(default)]
    pub begun: usize,
    /// Objects with a rank below it run with the target.
    #[serde(default)]
    pub share: u64,
    /// When it changed last, RFC 3339.
    #[serde(default)]
    pub updated: String,
    /// It has reached everything, at the same moment as its Worker: both go back together, or none.
    #[serde(default)]
    pub atomic: bool,
}

/// Who begins the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Each when the one before is done.
    #[default]
    FullAuto,
    /// Somebody who asks for it.
    FullManual,
}

/// How a rollout stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No step has begun.
    Pending,
    /// Some have.
    Progressing,
    /// All are done.
    #[default]
    Completed,
    /// Everything is as before.
    Reverted,
    /// Another one came before it was done.
    Replaced,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Of the instances, those of the steps before included.
    pub percentage: u8,
    /// For people.
    pub description: String,
    /// How it stands.
    pub status: StepStatus,
    /// Why it was reverted.
    pub reason: Option<String>,
    /// RFC 3339.
    pub started: Option<String>,
    /// RFC 3339.
    pub completed: Option<String>,
    /// The share that it raised the rollout's to.
    pub share: u64,
    /// It has ended instances, some of which may be started again.
    pub ended: bool,
    /// Since when none of its instances run with something else, Unix milliseconds.
    pub drained_ms: Option<u64>,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has not begun.
    Pending,
    /// It has.
    Progressing,
    /// Its instances run with the target.
    Completed,
    /// They do not any more.
    Reverted,
}

/// What a client may do with a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Begin the next step.
    Next,
    /// Undo the last one that has begun.
    Previous,
    /// Undo all of it.
    Revert,
}

/// An instance that starts or runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its object.
    pub object: String,
    /// The application's version that it runs with.
    pub version: u64,
    /// Since when it runs, Unix milliseconds; `None`: it starts.
    pub since_ms: Option<u64>,
    /// It has listened on a port.
    pub listened: bool,
    /// The last one who wanted to connect to it found the port closed.
    pub refused: bool,
}

/// The rank of an object in a rollout, below [`RANKS`].
pub fn rank(rollout: &str, object: &str) -> u64 {
    let digest = Sha256::digest(format!("{rollout}\0{object}"));
    u64::from(u32::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3],
    ]))
}

impl Rollout {
    /// That of a request, in which no step has begun.
    ///
    /// # Errors
    /// A field that is wrong.
    pub(crate) fn new(
        request: &Map<String, Value>,
        configuration: &Map<String, Value>,
        target: Instance,
    ) -> Result<Self, ApplicationError> {
        let word = |name| request.get(name).and_then(Value::as_str);
        let kind = match word("kind") {
            None | Some("full_auto") => Kind::FullAuto,
            Some("full_manual") => Kind::FullManual,
            Some(other) => return Err(wrong("kind", format!("`{other}` is not known"))),
        };
        if let Some(other) = word("strategy").filter(|strategy| *strategy != "rolling") {
            return Err(wrong("strategy", format!("`{other}` is not supported")));
        }
        let now = clock::now();
        Ok(Self {
            id: uuid::Uuid::new_v4().hyphenated().to_string(),
            created: now.clone(),
            description: word("description").unwrap_or_default().to_owned(),
            from_version: 0,
            to_version: 0,
            configuration: configuration.clone(),
            former: Map::new(),
            target: Some(target),
            kind,
            status: Status::Pending,
            steps: steps(request)?,
            begun: 0,
            share: 0,
            updated: now,
            atomic: false,
        })
    }

    /// Whether it is under way.
    pub fn is_active(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Progressing)
    }

    /// Whether an object runs with the target.
    pub fn has(&self, object: &str) -> bool {
        rank(&self.id, object) < self.share
    }

    /// Goes on as far as what is seen allows. Returns the objects whose instances are to be ended now, and
    /// which start with what [`Rollout::has`] says from then on.
    pub fn advance(&mut self, grace_ms: u64, seen: &[Seen], now_ms: u64) -> Vec<String> {
        if self.failure().is_some() {
            // Its Worker has yet to go back.
            return Vec::new();
        }
        if self.status == Status::Pending && self.kind == Kind::FullAuto {
            self.begin(seen);
        }
        while self.status == Status::Progressing {
            if let Some(reason) = self.deaf(seen, now_ms) {
                self.fail(&reason);
                if self.failure().is_some() {
                    return Vec::new();
                }
                break;
            }
            if !self.is_done(seen, now_ms) {
                break;
            }
            self.complete_step();
            if self.kind == Kind::FullManual && self.begun < self.steps.len() {
                break;
            }
            self.begin(seen);
        }
        self.to_end(grace_ms, seen, now_ms)
    }

    /// It reaches everything at the same moment as its Worker; whether that was good is seen from then on.
    pub(crate) fn begin_together(&mut self) {
        let now = clock::now();
        for step in &mut self.steps {
            step.status = StepStatus::Progressing;
            step.share = RANKS;
            step.started = Some(now.clone());
            // Somebody will ask for those that were ended.
            step.ended = true;
        }
        self.begun = self.steps.len();
        self.share = RANKS;
        self.status = Status::Progressing;
        self.updated = now;
        self.atomic = true;
    }

    /// Why it is to be given up together with its Worker.
    pub fn failure(&self) -> Option<&str> {
        let current = self.begun.checked_sub(1)?;
        let reason = self.steps.get(current)?.reason.as_deref();
        reason.filter(|_| self.atomic && self.is_active())
    }

    /// Its Worker has gone back.
    pub(crate) fn give_up(&mut self) {
        self.revert();
    }

    /// All of its steps are done.
    pub(crate) fn complete(&mut self) {
        let now = clock::now();
        for step in &mut self.steps {
            step.status = StepStatus::Completed;
            step.share = RANKS;
            step.started = Some(now.clone());
            step.completed = Some(now.clone());
        }
        self.begun = self.steps.len();
        self.share = RANKS;
        self.status = Status::Completed;
        self.updated = now;
    }

    /// Undoes it because of a new instance; one that goes with its Worker only says so ([`Rollout::failure`]).
    pub fn fail(&mut self, reason: &str) {
        if !self.is_active() {
            return;
        }
        let former = self.failure().is_some();
        if let Some(step) = self.current().filter(|_| !former) {
            step.reason = Some(reason.to_owned());
        }
        if !self.atomic {
            self.revert();
        }
    }

    /// Does what a client asks for.
    ///
    /// # Errors
    /// It is not possible now.
    pub fn act(&mut self, act: Act, seen: &[Seen]) -> Result<(), ApplicationError> {
        let refuse = |problem: &str| Err(wrong("action", problem.to_owned()));
        if !self.is_active() {
            return refuse("is not possible: the rollout is over");
        }
        if self.atomic {
            return refuse(
                "is not possible: it goes with its Worker, go back to a version of that",
            );
        }
        match act {
            Act::Next => {
                let running = self
                    .current()
                    .is_some_and(|step| step.status == StepStatus::Progressing);
                if running {
                    return refuse("`next` is not possible: a step is under way");
                }
                self.begin(seen);
            }
            Act::Previous => {
                if self.begun == 0 {
                    return refuse("`previous` is not possible: no step has begun");
                }
                if let Some(step) = self.current() {
                    *step = Step::new(step.percentage, step.description.clone());
                }
                self.begun -= 1;
                self.share = self.current().map_or(0, |step| step.share);
                if self.begun == 0 {
                    self.status = Status::Pending;
                }
                // Whoever goes back decides when to go on.
                self.kind = Kind::FullManual;
            }
            Act::Revert => self.revert(),
        }
        self.updated = clock::now();
        Ok(())
    }

    /// Another one takes its place.
    pub(crate) fn replace(&mut self) {
        if self.is_active() {
            self.status = Status::Replaced;
            self.updated = clock::now();
        }
    }

    fn revert(&mut self) {
        let now = clock::now();
        for step in &mut self.steps[..self.begun] {
            step.status = StepStatus::Reverted;
            step.completed = Some(now.clone());
        }
        self.share = 0;
        self.status = Status::Reverted;
        self.updated = now;
    }

    /// Begins the next step, or completes the rollout if there is none.
    fn begin(&mut self, seen: &[Seen]) {
        let former = self.share;
        let to_version = self.to_version;
        self.updated = clock::now();
        let mut ranks: Vec<u64> = seen.iter().map(|one| rank(&self.id, &one.object)).collect();
        ranks.sort_unstable();
        let Some(step) = self.steps.get_mut(self.begun) else {
            self.status = Status::Completed;
            return;
        };
        let percentage = u64::from(step.percentage);
        let wanted = if percentage >= 100 {
            RANKS
        } else {
            let wanted = usize::try_from((percentage * ranks.len() as u64).div_ceil(100));
            let last = wanted.unwrap_or(usize::MAX).max(1) - 1;
            ranks
                .get(last)
                .map_or(percentage * RANKS / 100, |rank| rank + 1)
        };
        step.share = former.max(wanted);
        step.status = StepStatus::Progressing;
        step.started = Some(self.updated.clone());
        self.share = step.share;
        self.begun += 1;
        self.status = Status::Progressing;
        let share = self.share;
        let id = self.id.clone();
        let ends = |one: &Seen| one.version != to_version && rank(&id, &one.object) < share;
        let ended = seen.iter().any(ends);
        if let Some(step) = self.current() {
            step.ended = ended;
        }
    }

    fn complete_step(&mut self) {
        let now = clock::now();
        if let Some(step) = self.current() {
            step.status = StepStatus::Completed;
            step.completed = Some(now.clone());
        }
        if self.begun == self.steps.len() {
            self.status = Status::Completed;
        }
        self.updated = now;
    }

    fn current(&mut self) -> Option<&mut Step> {
        self.begun
            .checked_sub(1)
            .and_then(|index| self.steps.get_mut(index))
    }

    /// Whether the step that is under way is done.
    fn is_done(&mut self, seen: &[Seen], now_ms: u64) -> bool {
        let former = |one: &&Seen| one.version != self.to_version && self.has(&one.object);
        let drained = !seen.iter().any(|one| former(&one));
        let mut new = seen.iter().filter(|one| one.version == self.to_version);
        let settled = |one: &Seen| {
            one.since_ms.is_some_and(|since| {
                let age = now_ms.saturating_sub(since);
                let needed = if one.listened {
                    HEALTHY_MS
                } else {
                    QUIET_HEALTHY_MS
                };
                !one.refused && age >= needed
            })
        };
        let all_settled = new.clone().all(settled);
        let any_new = new.next().is_some();
        let Some(step) = self.current() else {
            return false;
        };
        if step.status != StepStatus::Progressing {
            // Whoever begins the next one by hand has not done so yet.
            return false;
        }
        if !drained {
            step.drained_ms = None;
            return false;
        }
        let since = *step.drained_ms.get_or_insert(now_ms);
        let observed = now_ms.saturating_sub(since) >= OBSERVED_MS;
        all_settled && (any_new || observed || !step.ended)
    }

    /// Why a new instance that runs has failed all the same.
    fn deaf(&self, seen: &[Seen], now_ms: u64) -> Option<String> {
        let deaf = seen.iter().find(|one| {
            let age = one.since_ms.map(|since| now_ms.saturating_sub(since));
            one.version == self.to_version && one.refused && age.is_some_and(|age| age >= LISTEN_MS)
        })?;
        let object = deaf.object.get(..8).unwrap_or(&deaf.object);
        let seconds = LISTEN_MS / 1000;
        Some(format!(
            "the new instance of {object} does not listen on its port after {seconds} s"
        ))
    }

    /// Instances of the target that should not be any, at once; others that should be, when they may.
    fn to_end(&self, grace_ms: u64, seen: &[Seen], now_ms: u64) -> Vec<String> {
        let ends = |one: &&Seen| {
            let age = one.since_ms.map(|since| now_ms.saturating_sub(since));
            let new = one.version == self.to_version;
            match (self.has(&one.object), new) {
                (true, false) => age.is_some_and(|age| age >= grace_ms),
                (false, true) => age.is_some(),
                _ => false,
            }
        };
        let objects = seen.iter().filter(ends).map(|one| one.object.clone());
        objects.collect()
    }
}

impl Step {
    fn new(percentage: u8, description: String) -> Self {
        Self {
            percentage,
            description,
            status: StepStatus::Pending,
            reason: None,
            started: None,
            completed: None,
            share: 0,
            ended: false,
            drained_ms: None,
        }
    }
}

/// `step_percentage`, which is repeated to the end, or `steps`.
fn steps(request: &Map<String, Value>) -> Result<Vec<Step>, ApplicationError> {
    let each = request
        .get("step_percentage")
        .filter(|each| !each.is_null());
    let listed = request.get("steps").filter(|listed| !listed.is_null());
    let percentage = |field, value: Option<&Value>| {
        let value = value
            .and_then(Value::as_u64)
            .and_then(|value| u8::try_from(value).ok());
        value
            .filter(|value| (1..=100).contains(value))
            .ok_or_else(|| wrong(field, "must be a whole number, 1 to 100".to_owned()))
    };
    let mut steps: Vec<Step> = Vec::new();
    match (each, listed) {
        (Some(_), Some(_)) => {
            return Err(wrong("step_percentage", "excludes `steps`".to_owned()));
        }
        (None, None) => steps.push(Step::new(100, String::new())),
        (Some(each), None) => {
            let each = percentage("step_percentage", Some(each))?;
            let mut reached = 0;
            while reached < 100 {
                reached = (reached + each).min(100);
                steps.push(Step::new(reached, String::new()));
            }
        }
        (None, Some(listed)) => {
            let listed = listed.as_array();
            let listed = listed.ok_or_else(|| wrong("steps", "must be a list".to_owned()))?;
            for step in listed {
                let size = step
                    .get("step_size")
                    .and_then(|size| size.get("percentage"));
                let reached = percentage("steps.step_size.percentage", size)?;
                if steps.last().is_some_and(|last| last.percentage > reached) {
                    return Err(wrong("steps", "must ascend".to_owned()));
                }
                let description = step.get("description").and_then(Value::as_str);
                steps.push(Step::new(
                    reached,
                    description.unwrap_or_default().to_owned(),
                ));
            }
            if steps.last().is_none_or(|last| last.percentage != 100) {
                return Err(wrong("steps", "must end with 100".to_owned()));
            }
        }
    }
    Ok(steps)
}

fn wrong(field: &'static str, problem: String) -> ApplicationError {
    ApplicationError::Field {
        field: field.into(),
        problem,
    }
}

#[cfg(test)]
mod tests;
