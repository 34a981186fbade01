//! Queues and their consumers.

use serde::{Deserialize, Serialize};

use super::{Kind, Resource, check_word, hex_id, invalid, missing};
use crate::control::Control;
use crate::worker::BindingKind;
use crate::{ControlError, clock};

/// Characters of a queue's name.
const LONGEST_NAME: usize = 63;
/// Seconds that a message may be delayed.
const LONGEST_DELAY: u32 = 43_200;
/// Seconds that messages are kept. workerd has this one value.
pub(super) const RETENTION: u32 = 345_600;

/// A queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Queue {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its name; its messages are kept under it.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub modified: String,
    /// How it delivers.
    pub settings: QueueSettings,
    /// Who gets the messages: one Worker at most.
    pub consumers: Vec<Consumer>,
}

/// How a queue delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Seconds before a message is delivered, unless it says otherwise.
    pub delivery_delay: u32,
    /// Messages stay in it.
    pub delivery_paused: bool,
}

/// What is to be changed of a queue's settings.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct QueueChanges {
    /// Seconds.
    pub delivery_delay: Option<u32>,
    /// Seconds; only the one value that is so anyway is accepted.
    pub message_retention_period: Option<u32>,
    /// Whether messages stay in it.
    pub delivery_paused: Option<bool>,
}

/// Who gets a queue's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The Worker whose `queue()` handler is called.
    pub script_name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Name of the queue for messages whose retries are used up.
    pub dead_letter_queue: Option<String>,
    /// As sent.
    pub settings: ConsumerSettings,
}

/// How a consumer gets them; what is not there is the platform's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerSettings {
    /// Most messages in one batch, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// Retries of one message, at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Milliseconds to wait for a batch to fill, at most 60,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait_time_ms: Option<u32>,
    /// Batches at the same time, 1 to 250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Seconds before a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<u32>,
}

impl Resource for Queue {
    const KIND: Kind = Kind::Queue;

    fn key(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Queue {
    /// Seconds that messages are kept.
    pub fn retention(&self) -> u32 {
        RETENTION
    }
}

impl Control {
    /// Every queue, by name.
    ///
    /// # Errors
    /// The records.
    pub fn queues(&self) -> Result<Vec<Queue>, ControlError> {
        let mut all: Vec<Queue> = self.resources()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The queue of this id.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn queue(&self, id: &str) -> Result<Queue, ControlError> {
        self.resource(id)
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`ControlError::ResourceTaken`], or a property that cannot be.
    pub fn create_queue(&self, name: &str, changes: QueueChanges) -> Result<Queue, ControlError> {
        check_word("queue_name", name, LONGEST_NAME)?;
        let mut settings = QueueSettings::default();
        apply(&mut settings, changes)?;
        let _one = self.one_at_a_time();
        self.check_free::<Queue>(name, "")?;
        let now = clock::now();
        self.create_resource(Queue {
            id: hex_id(),
            name: name.to_owned(),
            created: now.clone(),
            modified: now,
            settings,
            consumers: Vec::new(),
        })
    }

    /// Changes a queue's settings. `name`: the one that the request names, which must be its own.
    ///
    /// # Errors
    /// [`ControlError::NoResource`], or a property that cannot be.
    pub fn change_queue(
        &self,
        id: &str,
        name: Option<&str>,
        changes: QueueChanges,
    ) -> Result<Queue, ControlError> {
        let (queue, ()) = self.update_resource(id, |queue: &mut Queue| {
            if name.is_some_and(|name| name != queue.name) {
                return Err(invalid(
                    "queue_name",
                    "cannot be changed: messages are kept under it",
                ));
            }
            queue.modified = clock::now();
            apply(&mut queue.settings, changes)
        })?;
        Ok(queue)
    }

    /// Forgets one; its messages are the data plane's to delete.
    ///
    /// # Errors
    /// [`ControlError::NoResource`], [`ControlError::ResourceUsed`].
    pub fn delete_queue(&self, id: &str) -> Result<Queue, ControlError> {
        let _one = self.one_at_a_time();
        let queue = self.queue(id)?;
        self.check_unused(Kind::Queue, &queue.name, |_, kind| {
            matches!(kind, BindingKind::Queue { queue_name, .. } if *queue_name == queue.name)
        })?;
        for other in self.queues()? {
            let mut consumers = other.consumers.iter();
            if consumers.any(|consumer| consumer.dead_letter_queue.as_ref() == Some(&queue.name)) {
                return Err(ControlError::ResourceUsed {
                    kind: Kind::Queue,
                    name: queue.name,
                    user: format!("the queue `{}` as its dead letter queue", other.name),
                });
            }
        }
        self.delete_resource(id)
    }

    /// Makes a Worker a queue's consumer, or changes how it is one (`consumer`: its id).
    ///
    /// # Errors
    /// [`ControlError::NoResource`], [`ControlError::NoWorker`], [`ControlError::ResourceTaken`] if
    /// another Worker is its consumer, or a property that cannot be.
    pub fn set_consumer(
        &self,
        queue: &str,
        consumer: Option<&str>,
        script_name: &str,
        dead_letter_queue: Option<&str>,
        settings: ConsumerSettings,
    ) -> Result<(Queue, Consumer), ControlError> {
        check_consumer(settings)?;
        self.worker(script_name)?;
        let _one = self.one_at_a_time();
        if let Some(name) = dead_letter_queue {
            let mut queues = self.queues()?.into_iter();
            if !queues.any(|queue| queue.name == name) {
                return Err(missing(Kind::Queue, name));
            }
        }
        self.update_resource(queue, |queue: &mut Queue| {
            if dead_letter_queue == Some(queue.name.as_str()) {
                return Err(invalid("dead_letter_queue", "must be another queue"));
            }
            let present = queue.consumers.first();
            let id = match (consumer, present) {
                (Some(id), Some(present)) if present.id == id => id.to_owned(),
                (Some(id), _) => return Err(missing(Kind::Consumer, id)),
                (None, Some(present)) => {
                    return Err(ControlError::ResourceTaken {
                        kind: Kind::Consumer,
                        name: present.script_name.clone(),
                    });
                }
                (None, None) => hex_id(),
            };
            let made = present.map(|present| present.created.clone());
            let new = Consumer {
                id,
                script_name: script_name.to_owned(),
                created: made.unwrap_or_else(clock::now),
                dead_letter_queue: dead_letter_queue.map(str::to_owned),
                settings,
            };
            queue.consumers = vec![new.clone()];
            queue.modified = clock::now();
            Ok(new)
        })
    }

    /// Takes a consumer away; the queue keeps its messages.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn remove_consumer(&self, queue: &str, consumer: &str) -> Result<Queue, ControlError> {
        let (queue, ()) = self.update_resource(queue, |queue: &mut Queue| {
            let before = queue.consumers.len();
            queue.consumers.retain(|one| one.id != consumer);
            if queue.consumers.len() == before {
                return Err(missing(Kind::Consumer, consumer));
            }
            queue.modified = clock::now();
            Ok(())
        })?;
        Ok(queue)
    }

    /// Takes a deleted Worker away from the queues that it was a consumer of.
    pub(in crate::control) fn forget_consumer(&self, worker: &str) -> Result<(), ControlError> {
        for queue in self.queues()? {
            if !queue.consumers.iter().any(|one| one.script_name == worker) {
                continue;
            }
            self.update_resource(&queue.id, |queue: &mut Queue| {
                queue.consumers.retain(|one| one.script_name != worker);
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn apply(settings: &mut QueueSettings, changes: QueueChanges) -> Result<(), ControlError> {
    if let Some(delay) = changes.delivery_delay {
        if delay > LONGEST_DELAY {
            let text = format!("must be at most {LONGEST_DELAY} s");
            return Err(invalid("delivery_delay", text));
        }
        settings.delivery_delay = delay;
    }
    if let Some(paused) = changes.delivery_paused {
        settings.delivery_paused = paused;
    }
    match changes.message_retention_period {
        None | Some(RETENTION) => Ok(()),
        Some(_) => {
            let text = format!("must be {RETENTION} s: messages are kept for four days here");
            Err(invalid("message_retention_period", text))
        }
    }
}

fn check_consumer(settings: ConsumerSettings) -> Result<(), ControlError> {
    let limits = [
        ("batch_size", settings.batch_size, 1, 100),
        ("max_retries", settings.max_retries, 0, 100),
        ("max_wait_time_ms", settings.max_wait_time_ms, 0, 60_000),
        ("max_concurrency", settings.max_concurrency, 1, 250),
        ("retry_delay", settings.retry_delay, 0, LONGEST_DELAY),
    ];
    for (field, value, least, most) in limits {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            return Err(invalid(field, format!("must be from {least} to {most}")));
        }
    }
    Ok(())
}
