//! Remote sources of `ADD` as a part of a step.

use super::{At, Builder};
use crate::copy::CopyPlan;
use crate::error::BuildError;
use crate::remote::{Files, RemoteError, Resolved};

impl Builder<'_> {
    /// What the plan's remote sources are now.
    pub(super) async fn remotes(
        &self,
        plan: &CopyPlan,
        at: At<'_>,
    ) -> Result<Vec<(usize, Resolved)>, BuildError> {
        let mut resolved = Vec::new();
        for (index, remote) in &plan.remote {
            let resolve = self.fetcher.resolve(remote);
            resolved.push((*index, self.unless_cancelled(resolve, at).await?));
        }
        Ok(resolved)
    }

    /// Their files.
    pub(super) async fn download(
        &self,
        remotes: Vec<(usize, Resolved)>,
        at: At<'_>,
    ) -> Result<Vec<(usize, Files)>, BuildError> {
        let mut files = Vec::new();
        for (index, remote) in remotes {
            let fetch = self.fetcher.fetch(remote);
            files.push((index, self.unless_cancelled(fetch, at).await?));
        }
        Ok(files)
    }

    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteError>>,
        at: At<'_>,
    ) -> Result<T, BuildError> {
        let result = tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => return Err(BuildError::Canceled),
        };
        result.map_err(|error| at.place.failed("the download failed")(error.into()))
    }
}
