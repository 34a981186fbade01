//! `RUN`, with its cache.

use std::collections::BTreeMap;

use berth_jail::ExitStatus;

use super::mounts::Ready;
use super::{At, Builder, Place, Step};
use crate::BuildRequest;
use crate::cache::{Key, Record};
use crate::dockerfile::Run;
use crate::error::{BuildError, StepError};
use crate::evaluate::run_history;
use crate::run::proxies::{Proxies, is_predefined};
use crate::run::{RunPlan, argv, read_ca_bundle, run};
use crate::state::State;
use crate::view::Writable;

/// Build arguments that mean something without an `ARG`.
pub(super) fn needs_no_arg(name: &str) -> bool {
    is_predefined(name) || name == crate::epoch::NAME || name.starts_with("BUILDKIT_")
}

impl Builder<'_> {
    /// Whether the result came from the cache.
    pub(super) async fn run_step(
        &self,
        state: &mut State,
        instruction: &Run,
        at: At<'_>,
    ) -> Result<bool, BuildError> {
        let (place, step) = (at.place, at.step);
        let wanted = self.wanted(state, instruction, at).await?;
        let key = run_key(state, instruction, &wanted.key, self.request);
        let make = async {
            let ready = self.ready(wanted, at).await?;
            let plan = self.run_plan(state, instruction, &ready, place)?;
            let record = self.carry_out(state, &plan, place, step).await;
            drop(ready);
            record
        };
        let (record, cached) = self.once(&[key], step, place, make).await?;
        let (argv, _) = argv(instruction, &state.shell());
        let line = run_history(state, &argv);
        state.add(&record, &line);
        Ok(cached)
    }

    async fn carry_out(
        &self,
        state: &State,
        plan: &RunPlan,
        place: &Place,
        step: &Step<'_>,
    ) -> Result<Record, BuildError> {
        let failed = || place.failed("the command could not be run");
        let zygote = self
            .host
            .zygote()
            .await
            .map_err(|error| failed()(error.into()))?;
        let writable = Writable::new(self.store).map_err(failed())?;
        let line = |line: String| step.line(line);
        let ended = run(
            self.store,
            &zygote,
            &state.layers,
            &writable,
            plan,
            &line,
            &self.cancel,
        )
        .await
        .map_err(failed())?;
        if self.cancel.is_cancelled() {
            return Err(BuildError::Canceled);
        }
        if ended.status.code != 0 {
            return Err(BuildError::RunFailed {
                location: place.0.clone(),
                status: describe(ended.status),
                last_lines: ended.last_lines,
            });
        }
        self.commit(writable)
            .await
            .map_err(place.failed("the step's changes could not be stored"))
    }

    fn run_plan(
        &self,
        state: &State,
        instruction: &Run,
        ready: &Ready,
        place: &Place,
    ) -> Result<RunPlan, BuildError> {
        let (argv, script) = argv(instruction, &state.shell());
        let proxies = Proxies::new(&self.request.proxies, &self.request.args);
        let ca_bundle = match &self.request.ca_bundle {
            Some(path) => Some(read_ca_bundle(path).map_err(|error| {
                place.failed("the certificate bundle cannot be read")(StepError::Io(error))
            })?),
            None => None,
        };
        let mut env = state.run_env(&proxies.env);
        for variable in &ready.env {
            let name = variable.split('=').next().unwrap_or_default();
            env.retain(|known| {
                !known
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('='))
            });
            env.push(variable.clone());
        }
        let mut files = ready.files.clone();
        files.extend(script);
        Ok(RunPlan {
            argv,
            env,
            proxies,
            hosts: self.request.hosts.clone(),
            cwd: state.clean("."),
            user: state.user().to_owned(),
            mounts: ready.mounts.clone(),
            files,
            offline: instruction.offline || self.request.offline,
            ca_bundle,
            bounds: self.request.bounds,
            deadline: self.deadline,
        })
    }
}

/// Everything that a command's result depends on, as far as we can know.
fn run_key(
    state: &State,
    instruction: &Run,
    mounts: &[String],
    request: &BuildRequest,
) -> berth_image::Digest {
    let mut key = Key::new("run", &state.layers);
    let (argv, script) = argv(instruction, &state.shell());
    key.add(argv.len().to_le_bytes());
    for argument in argv {
        key.add(argument);
    }
    key.add(script.map(|script| script.content).unwrap_or_default());
    for variable in state.run_env(&BTreeMap::new()) {
        key.add(variable);
    }
    key.add("user").add(state.user()).add(state.clean("."));
    let offline = instruction.offline || request.offline;
    key.add(if offline { "offline" } else { "online" });
    for (name, address) in &request.hosts {
        key.add("host").add(name).add(address);
    }
    for mount in mounts {
        key.add(mount);
    }
    key.finish()
}

fn describe(status: ExitStatus) -> String {
    let how = match status.signal {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", status.code),
    };
    if status.oom_killed {
        how + ", because memory ran out"
    } else {
        how
    }
}
