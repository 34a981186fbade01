//! `SOURCE_DATE_EPOCH`, as far as it is more than a number: `context`, and the name of a stage whose
//! one download or repository gives the time, as in BuildKit.
//!
//! Whatever it says, steps and words see the number, or nothing.

use crate::BuildRequest;
use crate::copy::CopyPlan;
use crate::dockerfile::{Instruction, Kind, Result};
use crate::epoch::{Epoch, NAME};
use crate::error::{BuildError, Problem, StepError};
use crate::evaluate::{Scope, copy_plan, settings};
use crate::lint::Linter;
use crate::remote::{Fetcher, Remote, RemoteError};
use crate::stages::{Base, Plan, Stage};
use crate::state::State;

/// The source of the time of a build on a directory, which has none.
const CONTEXT: &str = "context";

/// The time that the build arguments say, or an `ARG` before the first `FROM`. Puts the number into
/// both, or takes them out.
pub(super) async fn resolve(
    request: &mut BuildRequest,
    plan: &mut Plan,
    fetcher: &Fetcher,
) -> std::result::Result<Option<Epoch>, BuildError> {
    let given = request.args.get(NAME);
    let default = || plan.globals.get(NAME).filter(|value| !value.is_empty());
    let Some(text) = given.or_else(default).cloned() else {
        return Ok(None);
    };
    let stage = plan
        .stages
        .iter()
        .position(|stage| stage.name.as_deref() == Some(&text.to_ascii_lowercase()));
    let epoch = match (text.as_str(), text.parse(), stage) {
        ("" | CONTEXT, ..) => None,
        (_, Ok(seconds), _) => Some(Epoch(seconds)),
        (_, _, Some(stage)) => of_stage(request, plan, stage, fetcher).await?,
        _ => {
            let problem = Problem::new(format!("`{NAME}={text}` is no time")).hint(
                "seconds since 1970, such as `git log -1 --format=%ct` prints, or a stage with one remote ADD",
            );
            return Err(problem.in_file(&request.dockerfile));
        }
    };
    let value = epoch.map(|Epoch(seconds)| seconds.to_string());
    for arguments in [&mut request.args, &mut plan.globals] {
        if !arguments.contains_key(NAME) {
            continue;
        }
        match &value {
            Some(value) => arguments.insert(NAME.to_owned(), value.clone()),
            None => arguments.remove(NAME),
        };
    }
    Ok(epoch)
}

/// When the commit was made, or the file last changed, that a stage consists of.
async fn of_stage(
    request: &BuildRequest,
    plan: &Plan,
    index: usize,
    fetcher: &Fetcher,
) -> std::result::Result<Option<Epoch>, BuildError> {
    let stage = &plan.stages[index];
    let scope = Scope {
        plan,
        args: &request.args,
    };
    let place = |problem: Problem| {
        let problem = problem.at(stage.line, &stage.text);
        problem.in_file(&request.dockerfile)
    };
    let remote = source(scope, stage).map_err(place)?;
    let time = async {
        let resolved = fetcher.resolve(&remote).await?;
        Ok::<_, RemoteError>(fetcher.fetch(resolved).await?.time()?)
    };
    match time.await {
        Ok(seconds) => Ok(seconds.map(Epoch)),
        Err(error) => match place(Problem::new(String::new())) {
            BuildError::Dockerfile { location, .. } => Err(BuildError::Step {
                location,
                action: format!("the time for {NAME} could not be had"),
                source: Box::new(StepError::Remote(error)),
            }),
            other => Err(other),
        },
    }
}

/// The one source of a stage that consists of nothing else.
fn source(scope: Scope<'_>, stage: &Stage) -> Result<Remote> {
    let name = stage.name.as_deref().unwrap_or_default();
    let wrong = || {
        Problem::new(format!(
            "`{NAME}={name}`: the stage must be `FROM scratch` and one ADD of one URL or repository"
        ))
    };
    if stage.base != Base::Scratch {
        return Err(wrong());
    }
    let mut state = State::scratch();
    let mut lint = Linter::default();
    let mut found = None;
    for instruction in &stage.instructions {
        let at = |problem: Problem| problem.at(instruction.line, &instruction.text);
        match &instruction.kind {
            Kind::Arg(_) => settings(scope, &mut state, instruction, &mut lint).map_err(at)?,
            Kind::Add(_) if found.is_none() => {
                let plan = add(scope, &state, instruction, &mut lint).map_err(at)?;
                let [(_, remote)] = plan.remote.as_slice() else {
                    return Err(at(wrong()));
                };
                if plan.sources.len() != 1 || !plan.heredocs.is_empty() {
                    return Err(at(wrong()));
                }
                found = Some(remote.clone());
            }
            _ => return Err(at(wrong())),
        }
    }
    found.ok_or_else(wrong)
}

fn add(
    scope: Scope<'_>,
    state: &State,
    instruction: &Instruction,
    lint: &mut Linter,
) -> Result<CopyPlan> {
    match &instruction.kind {
        Kind::Add(copy) => copy_plan(scope, state, instruction, copy, true, lint),
        _ => Ok(CopyPlan::default()),
    }
}
