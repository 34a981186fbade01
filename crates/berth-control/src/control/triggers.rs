//! How a Worker is reached and woken, which is not a version's but the Worker's.

use super::Control;
use crate::ControlError;
use crate::tail_consumers;
use crate::worker::Subdomain;

impl Control {
    /// Whether it answers at its own host below the base domain; what is not said stays.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`].
    pub fn set_subdomain(
        &self,
        worker: &str,
        enabled: Option<bool>,
        previews: Option<bool>,
    ) -> Result<Subdomain, ControlError> {
        self.update(worker, |worker| {
            let subdomain = &mut worker.subdomain;
            subdomain.enabled = enabled.unwrap_or(subdomain.enabled);
            subdomain.previews_enabled = previews.unwrap_or(subdomain.previews_enabled);
            Ok(*subdomain)
        })
    }

    /// When it is woken; none: never.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`], [`ControlError::Cron`].
    pub fn set_crons(&self, worker: &str, crons: &[String]) -> Result<(), ControlError> {
        check_crons(crons)?;
        self.update(worker, |worker| {
            worker.crons = crons.to_vec();
            Ok(())
        })
    }

    /// Changes some of `script-settings`; `null` removes one. All of them.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`]; tail consumers that are not there.
    pub fn set_settings(
        &self,
        worker: &str,
        settings: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Map<String, serde_json::Value>, ControlError> {
        let consumers = tail_consumers::of_settings(settings)?;
        if let Some(consumers) = &consumers {
            self.check_tail_consumers(worker, consumers)?;
        }
        self.update(worker, |worker| {
            if let Some(consumers) = &consumers {
                worker.set_tail_consumers(consumers);
            }
            for (name, value) in settings {
                if name == tail_consumers::KEY {
                    continue;
                }
                if value.is_null() {
                    worker.settings.remove(name);
                } else {
                    worker.settings.insert(name.clone(), value.clone());
                }
            }
            Ok(worker.settings.clone())
        })
    }

    /// The objects of these classes have been deleted.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`].
    pub fn discarded(&self, worker: &str, keys: &[String]) -> Result<(), ControlError> {
        self.update(worker, |worker| {
            worker.discarded.retain(|key| !keys.contains(key));
            Ok(())
        })
    }
}

fn check_crons(crons: &[String]) -> Result<(), ControlError> {
    for expression in crons {
        berth_config::check_cron(expression).map_err(|reason| ControlError::Cron {
            expression: expression.clone(),
            reason,
        })?;
    }
    Ok(())
}
