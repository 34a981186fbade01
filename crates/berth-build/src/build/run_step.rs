//! `RUN`, with its cache.

use std::collections::BTreeMap;

use berth_jail::ExitStatus;
use rustix::fs::OFlags;

use super::{Builder, Place, Step};
use crate::BuildRequest;
use crate::cache::{Key, Record};
use crate::dockerfile::expand::expand;
use crate::dockerfile::{Run, RunMountKind};
use crate::error::{BuildError, Problem, StepError};
use crate::run::proxies::{Proxies, is_predefined};
use crate::run::{PlannedMount, PlannedSource, RunPlan, argv, read_ca_bundle, run};
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
        _stage: usize,
        state: &mut State,
        instruction: &Run,
        text: &str,
        place: &Place,
        step: &Step<'_>,
    ) -> Result<bool, BuildError> {
        let mounts = self.mounts(state, instruction, place)?;
        let key = run_key(state, instruction, &mounts, self.request);
        let make = async {
            let plan = self.run_plan(state, instruction, mounts, place)?;
            self.carry_out(state, &plan, place, step).await
        };
        let (record, cached) = self.once(&[key], step, place, make).await?;
        state.add(&record, text);
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
        mounts: Vec<PlannedMount>,
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
        Ok(RunPlan {
            argv,
            env: state.run_env(&proxies.env),
            proxies,
            hosts: self.request.hosts.clone(),
            cwd: state.working_dir().to_owned(),
            user: state.user().to_owned(),
            script,
            mounts,
            offline: instruction.offline || self.request.offline,
            ca_bundle,
        })
    }

    fn mounts(
        &self,
        state: &State,
        instruction: &Run,
        place: &Place,
    ) -> Result<Vec<PlannedMount>, BuildError> {
        let io = |error| place.failed("the mount's directory cannot be used")(StepError::Io(error));
        let mut planned = Vec::new();
        for mount in &instruction.mounts {
            let target = expand(&mount.target, self.plan.escape, state)
                .map_err(|problem| place.problem(problem))?;
            let source = match &mount.kind {
                RunMountKind::Cache { id } => {
                    let id = expand(id, self.plan.escape, state)
                        .map_err(|problem| place.problem(problem))?;
                    PlannedSource::Directory(self.cache.mount(&id).map_err(io)?)
                }
                RunMountKind::Tmpfs { size } => PlannedSource::Tmpfs(*size),
                RunMountKind::Bind { source } => {
                    // Resolved inside the context, so that no link leads out of it; the path is
                    // that of what was found.
                    let root = self.context.root().map_err(io)?;
                    let found = root.open_any(source.as_bytes(), OFlags::PATH).map_err(io)?;
                    let found = found.ok_or_else(|| {
                        place.problem(Problem::new(format!(
                            "`{source}` is not in the build context"
                        )))
                    })?;
                    use std::os::fd::AsRawFd as _;
                    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
                    PlannedSource::Directory(fs_err::read_link(link).map_err(io)?)
                }
            };
            planned.push(PlannedMount {
                target: state.absolute(&target),
                read_only: mount.read_only,
                source,
            });
        }
        Ok(planned)
    }
}

/// Everything that a command's result depends on, as far as we can know.
fn run_key(
    state: &State,
    instruction: &Run,
    mounts: &[PlannedMount],
    request: &BuildRequest,
) -> berth_image::Digest {
    let mut key = Key::new("run", &state.layers);
    let (argv, script) = argv(instruction, &state.shell());
    key.add(argv.len().to_le_bytes());
    for argument in argv {
        key.add(argument);
    }
    key.add(script.unwrap_or_default());
    for variable in state.run_env(&BTreeMap::new()) {
        key.add(variable);
    }
    key.add("user").add(state.user()).add(state.working_dir());
    let offline = instruction.offline || request.offline;
    key.add(if offline { "offline" } else { "online" });
    for (name, address) in &request.hosts {
        key.add("host").add(name).add(address);
    }
    for mount in mounts {
        key.add(&mount.target)
            .add(format!("{:?} {}", mount.source, mount.read_only));
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
