//! Whether those are there that a Worker names as its tail consumers, and who names one.

use super::Control;
use crate::ControlError;
use crate::tail_consumers::TailConsumer;

impl Control {
    /// Checks that every tail consumer of a Worker is deployed, or is the Worker itself.
    ///
    /// # Errors
    /// [`ControlError::NoTailWorker`].
    pub(super) fn check_tail_consumers(
        &self,
        worker: &str,
        consumers: &[TailConsumer],
    ) -> Result<(), ControlError> {
        for consumer in consumers.iter().map(|consumer| &consumer.service) {
            let deployed = match self.worker(consumer) {
                Ok(found) => found.live().is_some(),
                Err(ControlError::NoWorker(_)) => false,
                Err(error) => return Err(error),
            };
            if !deployed && consumer != worker {
                return Err(ControlError::NoTailWorker(consumer.clone()));
            }
        }
        Ok(())
    }

    /// Names of the other Workers that name one as their tail consumer.
    ///
    /// # Errors
    /// The records.
    pub fn tail_producers(&self, consumer: &str) -> Result<Vec<String>, ControlError> {
        let others = self.workers()?.into_iter();
        let others = others.filter(|worker| {
            worker.name != consumer && worker.tail_consumers().iter().any(|one| one == consumer)
        });
        Ok(others.map(|worker| worker.name).collect())
    }

    pub(super) fn check_tails_nobody(&self, worker: &str) -> Result<(), ControlError> {
        let producers = self.tail_producers(worker)?;
        if producers.is_empty() {
            return Ok(());
        }
        Err(ControlError::TailsOthers {
            worker: worker.to_owned(),
            producers: producers.iter().map(|name| format!("`{name}`")).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{control, object, upload};
    use super::*;

    fn deploy(control: &Control, name: &str, metadata: serde_json::Value) -> Result<(), String> {
        let new = control.prepare(name, "me", upload(name, metadata));
        let new = new.map_err(|error| error.to_string())?;
        new.commit(true).unwrap();
        Ok(())
    }

    #[test]
    fn consumers_are_there_and_stay() {
        let (_directory, control) = control();
        let names_it = json!({"tail_consumers": [{"service": "b"}]});
        let refused = deploy(&control, "a", names_it.clone()).unwrap_err();
        assert!(refused.contains("`b` does not exist"), "{refused}");
        assert!(control.worker("a").is_err());
        let itself = json!({"tail_consumers": [{"service": "b"}]});
        deploy(&control, "b", itself).unwrap();
        deploy(&control, "a", names_it).unwrap();
        assert_eq!(control.worker("a").unwrap().tail_consumers(), ["b"]);
        assert_eq!(control.tail_producers("b").unwrap(), ["a"]);
        let refused = control.delete_worker("b", false).unwrap_err();
        assert!(
            refused.to_string().ends_with("consumer of `a`"),
            "{refused}"
        );

        // Another setting does not touch them; what is not there is refused here, too.
        let settings = object(json!({"logpush": false}));
        control.set_settings("a", &settings).unwrap();
        let nobody = object(json!({"tail_consumers": [{"service": "c"}]}));
        assert!(control.set_settings("a", &nobody).is_err());
        assert_eq!(control.worker("a").unwrap().tail_consumers(), ["b"]);
        let none = object(json!({"tail_consumers": []}));
        let left = control.set_settings("a", &none).unwrap();
        assert!(left.get("tail_consumers").is_none(), "{left:?}");
        control.delete_worker("b", false).unwrap();

        // A deployment that names none ends it.
        deploy(&control, "b", json!({})).unwrap();
        deploy(&control, "a", json!({"tail_consumers": [{"service": "b"}]})).unwrap();
        deploy(&control, "a", json!({})).unwrap();
        assert!(control.worker("a").unwrap().tail_consumers().is_empty());
        deploy(&control, "a", json!({"tail_consumers": [{"service": "b"}]})).unwrap();
        control.delete_worker("b", true).unwrap();
    }

    #[test]
    fn streaming_ones_are_refused() {
        let metadata = json!({
            "main_module": "i.js", "streaming_tail_consumers": [{"service": "b"}],
        });
        let error = crate::upload::Upload::parse(metadata.to_string().as_bytes(), Vec::new());
        assert!(error.unwrap_err().to_string().contains("streaming_tail"));
    }
}
