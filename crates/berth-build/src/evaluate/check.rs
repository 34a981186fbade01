//! The whole file, before anything is done: every word is expanded and every value looked at, so that a
//! mistake at the end does not wait for the steps before it.

use std::collections::BTreeMap;

use super::{Scope, copy_plan, mounts, settings, workdir};
use crate::context::ignore::{Ignore, clean};
use crate::copy::CopyPlan;
use crate::dockerfile::{Instruction, Kind, Result};
use crate::lint::{Linter, Rule};
use crate::stages::Base;
use crate::state::State;

/// Evaluates the stages and collects warnings. `of_image` knows what a stage on an image begins with.
pub(crate) fn check(
    scope: Scope<'_>,
    stages: &[usize],
    ignore: &Ignore,
    mut of_image: impl FnMut(&str) -> Option<State>,
    lint: &mut Linter,
) -> Result<()> {
    let mut finished: BTreeMap<usize, State> = BTreeMap::new();
    for index in stages {
        let stage = &scope.plan.stages[*index];
        let mut state = match &stage.base {
            Base::Scratch => State::scratch(),
            Base::Stage(base) => finished
                .get(base)
                .map(State::from_stage)
                .unwrap_or_default(),
            // What is not there is an error of its own.
            Base::Image(image) => of_image(image).unwrap_or_else(State::scratch),
        };
        for instruction in &stage.instructions {
            one(scope, &mut state, instruction, ignore, lint)
                .map_err(|problem| problem.at(instruction.line, &instruction.text))?;
        }
        finished.insert(*index, state);
    }
    Ok(())
}

fn one(
    scope: Scope<'_>,
    state: &mut State,
    instruction: &Instruction,
    ignore: &Ignore,
    lint: &mut Linter,
) -> Result<()> {
    match &instruction.kind {
        Kind::Run(run) => drop(mounts(scope, state, instruction, run, lint)?),
        Kind::Copy(copy) | Kind::Add(copy) => {
            let is_add = matches!(instruction.kind, Kind::Add(_));
            let plan = copy_plan(scope, state, instruction, copy, is_add, lint)?;
            if copy.from.is_none() {
                ignored(&plan, ignore, instruction, lint);
            }
        }
        Kind::Workdir(path) => drop(workdir(scope, state, instruction, path, lint)?),
        _ => settings(scope, state, instruction, lint)?,
    }
    Ok(())
}

/// A source that `.dockerignore` excludes. With a `!` in it nobody can tell.
fn ignored(plan: &CopyPlan, ignore: &Ignore, instruction: &Instruction, lint: &mut Linter) {
    if ignore.has_exceptions() {
        return;
    }
    for (_, source) in plan.local_sources() {
        let path = clean(&format!("/{source}"));
        let path = path.trim_start_matches('/');
        let excluded = match path {
            "" => ignore.excludes_everything(),
            _ => ignore.excludes(path),
        };
        if excluded {
            let message = format!("`{source}` is excluded by `.dockerignore`");
            let own = instruction.checks.as_ref();
            lint.warn(Rule::CopyIgnoredFile, instruction.line, own, message);
        }
    }
}
