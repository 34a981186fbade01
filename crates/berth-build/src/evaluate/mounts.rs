//! `RUN --mount` with its variables.

use super::{Scope, Words};
use crate::dockerfile::mount::RunMount;
use crate::dockerfile::{Instruction, Result, Run};
use crate::error::Problem;
use crate::lint::Linter;
use crate::state::State;

/// The mounts of a `RUN`, targets absolute; those of secrets and agents without a target stay empty.
pub(crate) fn mounts(
    scope: Scope<'_>,
    state: &State,
    instruction: &Instruction,
    run: &Run,
    lint: &mut Linter,
) -> Result<Vec<RunMount>> {
    let mut words = Words::new(scope, state, instruction, lint);
    let mut mounts = Vec::new();
    for text in &run.mounts {
        let mut mount = text.resolve(&mut |word| words.one(word))?;
        if !mount.target.is_empty() {
            let absolute = state.absolute(&mount.target);
            let target = absolute.trim_end_matches('/');
            if target.is_empty() {
                return Err(Problem::new("nothing can be mounted on `/`"));
            }
            mount.target = target.to_owned();
        }
        mounts.push(mount);
    }
    Ok(mounts)
}
