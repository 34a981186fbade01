//! A step is made once, however many stages and builds want it.

use berth_image::Digest;

use super::{Builder, Place, Step};
use crate::cache::{Attempt, Record};
use crate::error::{BuildError, StepError};

impl Builder<'_> {
    /// What the step with these keys made, and whether it was known. The keys say the same in
    /// different words: the first one counts for who makes it, any of them finds it.
    pub(super) async fn once(
        &self,
        keys: &[Digest],
        step: &Step<'_>,
        place: &Place,
        make: impl Future<Output = Result<Record, BuildError>>,
    ) -> Result<(Record, bool), BuildError> {
        let find = || keys.iter().find_map(|key| self.cache.find(key));
        if let Some(record) = find() {
            return Ok((record, true));
        }
        let failed = |error| place.failed("the step cannot be recorded")(StepError::Io(error));
        let claim = match keys.first().map(|key| self.cache.claim(key)).transpose() {
            Ok(Some(Attempt::Waiting(claim))) => {
                step.line("waiting for another build or stage that makes the same".to_owned());
                tokio::select! {
                    claim = claim => match claim {
                        Ok(claim) => Some(claim.map_err(failed)?),
                        Err(_) => None,
                    },
                    () = self.cancel.cancelled() => return Err(BuildError::Canceled),
                }
            }
            Ok(Some(Attempt::Taken(claim))) => Some(claim),
            Ok(None) => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(record) = find() {
            return Ok((record, true));
        }
        let permit = self.permit().await?;
        let record = make.await?;
        for key in keys {
            self.cache.keep(key, &record);
        }
        drop((claim, permit));
        Ok((record, false))
    }
}
