//! Before the first step: base images are brought in, their `ONBUILD` triggers become instructions, and
//! the whole file is evaluated, so that what is wrong anywhere is said at once.

use std::collections::{BTreeMap, BTreeSet};

use berth_image::Image;
use futures_util::future::try_join_all;

use super::{Builder, blocking};
use crate::BuildEvent;
use crate::dockerfile::Kind;
use crate::error::{BuildError, Problem};
use crate::evaluate::{Scope, check};
use crate::lint::{Linter, Rule, Warning};
use crate::stages::{Base, Plan, foreign_platform};
use crate::state::State;

impl Builder<'_> {
    /// The plan with the triggers of all base images. Tells of everything that is probably not meant.
    pub(super) async fn prepare(&self, target: usize, text: &str) -> Result<Plan, BuildError> {
        let in_file = |problem: Problem| problem.in_file(&self.request.dockerfile);
        let mut plan = self.plan.clone();
        let mut states: BTreeMap<String, State> = BTreeMap::new();
        let mut triggers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        loop {
            for (name, image) in self.bases_of(&plan, target, &states).await? {
                let store = self.store.clone();
                let (state, left) = blocking(move || {
                    let left = State::triggers_of(&store, &image)?;
                    Ok((State::from_image(&store, &image)?, left))
                })
                .await
                .map_err(|error| BuildError::Export(Box::new(error)))?;
                states.insert(name.clone(), state);
                triggers.insert(name, left);
            }
            let known = |image: &str| triggers.get(image).cloned();
            if plan.resolve_triggers(target, known).map_err(in_file)? {
                break;
            }
        }
        let needed = plan.needed(target).map_err(in_file)?;
        let scope = Scope {
            plan: &plan,
            args: &self.request.args,
        };
        let mut lint = plan.lint.clone();
        warn_of_platforms(&plan, &needed, &states, &mut lint);
        let of_image = |name: &str| states.get(name).cloned();
        check(scope, &needed, &self.context.ignore, of_image, &mut lint).map_err(in_file)?;
        for warning in lint.warnings() {
            let Warning {
                rule,
                line,
                message,
            } = warning;
            self.steps.tell(BuildEvent::Warning {
                rule: rule.map(Rule::name),
                message,
                line: Some(line),
            });
        }
        self.warn_of_unused_args(&plan, &needed);
        let line_text = |line: usize| {
            let text = text.lines().nth(line.saturating_sub(1));
            text.unwrap_or_default().trim().to_owned()
        };
        lint.failure(line_text).map_err(in_file)?;
        Ok(plan)
    }

    /// The images that needed stages are built on, as far as they are not known.
    async fn bases_of(
        &self,
        plan: &Plan,
        target: usize,
        known: &BTreeMap<String, State>,
    ) -> Result<Vec<(String, Image)>, BuildError> {
        let needed = plan
            .needed(target)
            .map_err(|problem| problem.in_file(&self.request.dockerfile))?;
        let mut wanted = BTreeMap::new();
        for index in needed {
            let stage = &plan.stages[index];
            if let Base::Image(name) = &stage.base
                && !known.contains_key(name)
            {
                wanted
                    .entry(name.clone())
                    .or_insert_with(|| self.place(stage.line, &stage.text));
            }
        }
        let images = wanted.iter().map(async |(name, place)| {
            // Only bringing one in is worth telling.
            let image = match self.find_image(name, place).await? {
                Some(image) => image,
                None => {
                    let shown = format!("[internal] load metadata for {name}");
                    self.base(name, shown, place).await?
                }
            };
            Ok::<_, BuildError>((name.clone(), image))
        });
        try_join_all(images).await
    }

    fn warn_of_unused_args(&self, plan: &Plan, needed: &[usize]) {
        let mut used: BTreeSet<&str> = plan.used_args.iter().map(String::as_str).collect();
        for index in needed {
            for instruction in &plan.stages[*index].instructions {
                if let Kind::Arg(declared) = &instruction.kind {
                    used.extend(declared.iter().map(|(name, _)| name.as_str()));
                }
            }
        }
        for name in self.request.args.keys() {
            let predefined = plan.globals.contains_key(name);
            if !used.contains(name.as_str()) && !predefined && !super::run_step::needs_no_arg(name)
            {
                self.steps.tell(BuildEvent::Warning {
                    rule: None,
                    message: format!("no ARG asks for the build argument `{name}`"),
                    line: None,
                });
            }
        }
    }
}

/// An image for another kind of machine may be a base, though nothing of it can be run.
fn warn_of_platforms(
    plan: &Plan,
    needed: &[usize],
    states: &BTreeMap<String, State>,
    lint: &mut Linter,
) {
    for index in needed {
        let stage = &plan.stages[*index];
        let Base::Image(name) = &stage.base else {
            continue;
        };
        let platform = states.get(name).and_then(State::platform);
        let foreign = platform.and_then(|(os, architecture)| foreign_platform(os, architecture));
        if let Some((image, own)) = foreign {
            let message = format!("`{name}` is an image for {image}, this build is for {own}");
            let own = stage.checks.as_ref();
            lint.warn(Rule::InvalidBaseImagePlatform, stage.line, own, message);
        }
    }
}
