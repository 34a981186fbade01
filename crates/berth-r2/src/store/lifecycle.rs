//! Rules of buckets: set, read, and what they say about time done.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{R2, now};
use crate::object::StorageClass;
use crate::rules::{check_cors, check_lifecycle};
use crate::{BucketInfo, CorsRule, Failure, LifecycleRule, R2Error};

/// Topics of a bucket's settings.
const CORS: &str = "cors";
const LIFECYCLE: &str = "lifecycle";
/// Objects that are deleted at once; others have their turn in between.
const AT_ONCE: u32 = 500;

/// The rules of a bucket on a topic.
fn rules<T: DeserializeOwned>(bucket: &BucketInfo, topic: &str) -> Result<Vec<T>, R2Error> {
    match bucket.settings.get(topic) {
        None => Ok(Vec::new()),
        Some(kept) => Ok(serde_json::from_value(kept.clone()).map_err(Failure::Record)?),
    }
}

impl R2 {
    /// Who may ask from other origins; none: nobody.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`].
    pub async fn cors(&self, bucket: &str) -> Result<Vec<CorsRule>, R2Error> {
        rules(&self.bucket(bucket).await?, CORS)
    }

    /// Sets that; no rules: nobody may.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`], a rule that makes no sense.
    pub async fn set_cors(&self, bucket: &str, rules: &[CorsRule]) -> Result<(), R2Error> {
        check_cors(rules)?;
        self.set_rules(bucket, CORS, rules).await
    }

    /// What becomes of objects in time.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`].
    pub async fn lifecycle(&self, bucket: &str) -> Result<Vec<LifecycleRule>, R2Error> {
        rules(&self.bucket(bucket).await?, LIFECYCLE)
    }

    /// Sets that. What is due is done soon after.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`], a rule that makes no sense.
    pub async fn set_lifecycle(
        &self,
        bucket: &str,
        rules: &[LifecycleRule],
    ) -> Result<(), R2Error> {
        check_lifecycle(rules)?;
        self.set_rules(bucket, LIFECYCLE, rules).await?;
        self.inner.ruled.notify_one();
        Ok(())
    }

    async fn set_rules<T: Serialize>(
        &self,
        bucket: &str,
        topic: &'static str,
        rules: &[T],
    ) -> Result<(), R2Error> {
        let kept = serde_json::to_value(rules).map_err(Failure::Record)?;
        let none = rules.is_empty();
        self.change_bucket(bucket, move |bucket| {
            match none {
                true => bucket.settings.remove(topic),
                false => bucket.settings.insert(topic.to_owned(), kept),
            };
        })
        .await?;
        Ok(())
    }

    /// Does what the rules of all buckets say is due.
    ///
    /// # Errors
    /// Storage.
    pub async fn obey_rules(&self) -> Result<(), R2Error> {
        for bucket in self.buckets().await? {
            for rule in rules::<LifecycleRule>(&bucket, LIFECYCLE)? {
                if rule.enabled {
                    self.obey(&bucket.name, &rule).await?;
                }
            }
        }
        Ok(())
    }

    async fn obey(&self, bucket: &str, rule: &LifecycleRule) -> Result<(), R2Error> {
        let now = now();
        let prefix = rule.conditions.prefix.clone().unwrap_or_default();
        let of = || (bucket.to_owned(), prefix.clone());
        let deletion = rule.delete_objects_transition.as_ref();
        if let Some(until) = deletion.and_then(|one| one.condition.due(now)) {
            loop {
                let (bucket, prefix) = of();
                let expired = self.index(move |inner| {
                    inner.index.expire_objects(&bucket, &prefix, until, AT_ONCE)
                });
                let (count, free) = expired.await?;
                self.doom(free);
                if count < AT_ONCE as usize {
                    break;
                }
            }
        }
        for transition in &rule.storage_class_transitions {
            let class = StorageClass::parse(&transition.storage_class);
            if let (Some(class), Some(until)) = (class, transition.condition.due(now)) {
                let (bucket, prefix) = of();
                self.index(move |inner| inner.index.reclass(&bucket, &prefix, until, class))
                    .await?;
            }
        }
        let abort = rule.abort_multipart_uploads_transition.as_ref();
        if let Some(until) = abort.and_then(|one| one.condition.due(now)) {
            let (bucket, prefix) = of();
            let free = self
                .index(move |inner| inner.index.abort_uploads(&bucket, &prefix, until))
                .await?;
            self.doom(free);
        }
        Ok(())
    }
}
