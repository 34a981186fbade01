//! Stages side by side. All of them start at once; one that needs another waits for it where it needs
//! it. A stage can only need earlier ones, so nobody waits in a circle.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::steps::Numbering;
use super::{Builder, blocking, makes_layer};
use crate::dockerfile::Instruction;
use crate::error::BuildError;
use crate::stages::Base;
use crate::state::State;

/// Steps that are carried out at the same time, for each processor. Package managers wait for the
/// network most of the time.
const STEPS_PER_PROCESSOR: usize = 2;
const MIN_STEPS: usize = 4;

/// The stages' results, as they come in.
pub(super) struct Finished {
    stages: Vec<watch::Sender<Option<Arc<State>>>>,
    permits: Semaphore,
}

impl Finished {
    pub(super) fn new(stages: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            stages: (0..stages).map(|_| watch::Sender::new(None)).collect(),
            permits: Semaphore::new(MIN_STEPS.max(processors * STEPS_PER_PROCESSOR)),
        }
    }

    /// The result of a stage, when it is there.
    pub(super) async fn wait(
        &self,
        stage: usize,
        cancel: &CancellationToken,
    ) -> Result<Arc<State>, BuildError> {
        let mut receiver = self.stages[stage].subscribe();
        let found = async {
            // The sender lives as long as this does.
            let state = receiver.wait_for(Option::is_some).await.ok()?;
            state.clone()
        };
        tokio::select! {
            found = found => found.ok_or(BuildError::Canceled),
            () = cancel.cancelled() => Err(BuildError::Canceled),
        }
    }
}

impl Builder<'_> {
    /// Builds the stages. When one fails, the others are ended before this returns its error.
    pub(super) async fn stages(&self, needed: &[usize]) -> Result<(), BuildError> {
        let mut running: FuturesUnordered<_> = needed
            .iter()
            .map(|stage| Box::pin(self.stage(*stage)))
            .collect();
        let mut failure = None;
        while let Some(result) = running.next().await {
            if let Err(error) = result {
                self.cancel.cancel();
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn stage(&self, index: usize) -> Result<(), BuildError> {
        let plan = self.plan;
        let stage = &plan.stages[index];
        let place = self.place(stage.line, &stage.text);
        let name = (plan.stages.len() > 1).then(|| {
            stage
                .name
                .clone()
                .unwrap_or_else(|| format!("stage-{index}"))
        });
        let steps = |instructions: &[Instruction]| {
            let steps = instructions.iter();
            steps.filter(|step| makes_layer(&step.kind)).count()
        };
        let from_image = matches!(stage.base, Base::Image(_));
        let total = usize::from(from_image) + steps(&stage.instructions);
        let mut number = Numbering::new(name, total);
        let mut state = match &stage.base {
            Base::Scratch => State::scratch(),
            Base::Stage(base) => {
                State::from_stage(self.finished.wait(*base, &self.cancel).await?.as_ref())
            }
            Base::Image(image) => {
                let name = number.next(&stage.text);
                let image = self.base(image, name, &place).await?;
                let store = self.store.clone();
                blocking(move || Ok(State::from_image(&store, &image)?))
                    .await
                    .map_err(place.failed("the base image cannot be read"))?
            }
        };
        for instruction in &stage.instructions {
            self.instruction(index, &mut state, instruction, &mut number)
                .await?;
        }
        self.finished.stages[index].send_replace(Some(Arc::new(state)));
        Ok(())
    }

    /// Waits until the step may work: not too many do so at the same time.
    pub(super) async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, BuildError> {
        tokio::select! {
            permit = self.finished.permits.acquire() => permit.map_err(|_| BuildError::Canceled),
            () = self.cancel.cancelled() => Err(BuildError::Canceled),
        }
    }
}
