//! From instructions to stages: which stage is built on what, and which ones a build needs.
//!
//! Only the target and what it is made of are built, as BuildKit does it.

use std::collections::{BTreeMap, BTreeSet};

use berth_image::Reference;

use crate::dockerfile::expand::{Expanded, Lexer};
use crate::dockerfile::{Dockerfile, From, Instruction, Kind, Result, parse_trigger};
use crate::error::{Problem, nearest};
use crate::lint::{Checks, Linter, Rule};

mod platform;

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    /// An earlier stage, by its index.
    Stage(usize),
    Image(String),
}

/// What `COPY --from` and `RUN --mount=from=` mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `scratch`: nothing.
    Scratch,
    Stage(usize),
    Image(String),
}

/// One `FROM` and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: Option<String>,
    pub(crate) base: Base,
    /// The `FROM`.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// `# check=` before it.
    pub(crate) checks: Option<Checks>,
    /// The triggers of the base first, once [`Plan::resolve_triggers`] has found them.
    pub(crate) instructions: Vec<Instruction>,
}

/// A Dockerfile whose stages are known.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) escape: char,
    pub(crate) stages: Vec<Stage>,
    /// Arguments from before the first `FROM`, and the platform's.
    pub(crate) globals: BTreeMap<String, String>,
    /// What is legal but probably not meant, as far as it is known.
    pub(crate) lint: Linter,
    /// `--build-arg`s that an `ARG` before the first `FROM` asked for.
    pub(crate) used_args: BTreeSet<String>,
    /// The same arguments if no `--build-arg` were given; `None` if that is no valid file.
    defaults: Option<BTreeMap<String, String>>,
    /// Stages that have the triggers of their base.
    resolved: BTreeSet<usize>,
}

impl Plan {
    /// Finds the stages of a Dockerfile. `arguments` are the build arguments that are given.
    pub(crate) fn new(
        dockerfile: Dockerfile,
        arguments: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let last = dockerfile.instructions.iter().rev();
        let last = last
            .into_iter()
            .find_map(|instruction| match &instruction.kind {
                Kind::From(from) => from.name.clone(),
                _ => None,
            });
        let target = last.unwrap_or_else(|| "default".to_owned());
        let mut plan = Self {
            escape: dockerfile.escape,
            stages: Vec::new(),
            globals: platform::arguments(&target),
            lint: dockerfile.lint,
            used_args: BTreeSet::new(),
            defaults: Some(platform::arguments(&target)),
            resolved: BTreeSet::new(),
        };
        for (name, value) in &mut plan.globals {
            if let Some(given) = arguments.get(name) {
                value.clone_from(given);
            }
        }
        for instruction in dockerfile.instructions {
            let place = (instruction.line, instruction.text.clone());
            plan.add(instruction, arguments)
                .map_err(|problem| problem.at(place.0, &place.1))?;
        }
        if plan.stages.is_empty() {
            return Err(Problem::new("there is no FROM in it")
                .hint("a Dockerfile begins with `FROM <image>` or `FROM scratch`"));
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        instruction: Instruction,
        arguments: &BTreeMap<String, String>,
    ) -> Result<()> {
        match instruction.kind {
            Kind::From(ref from) => {
                let stage = self.stage(from, &instruction)?;
                self.stages.push(stage);
            }
            Kind::Arg(ref declared) if self.stages.is_empty() => {
                for (name, default) in declared {
                    self.declare(name, default.as_deref(), arguments.get(name))?;
                }
            }
            _ => match self.stages.last_mut() {
                Some(stage) => stage.instructions.push(instruction),
                None => {
                    return Err(Problem::new("only ARG may come before the first FROM")
                        .hint("a Dockerfile begins with `FROM <image>` or `FROM scratch`"));
                }
            },
        }
        Ok(())
    }

    /// An `ARG` before the first `FROM`.
    fn declare(&mut self, name: &str, default: Option<&str>, given: Option<&String>) -> Result<()> {
        self.used_args.insert(name.to_owned());
        let lexer = Lexer::new(self.escape);
        if let (Some(defaults), Some(word)) = (&mut self.defaults, default) {
            match lexer.process(word, defaults) {
                Ok(value) => drop(defaults.insert(name.to_owned(), value.text)),
                Err(_) => self.defaults = None,
            }
        }
        let value = match (given, default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(word)) => Some(lexer.process(word, &self.globals)?.text),
            (None, None) => None,
        };
        if let Some(value) = value {
            self.globals.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn stage(&mut self, from: &From, instruction: &Instruction) -> Result<Stage> {
        let own = instruction.checks.as_ref();
        let expanded = self.expand(&from.image, instruction.line, own)?;
        self.check_default(&from.image, instruction.line, own);
        let image = expanded.text;
        if image.is_empty() {
            return Err(Problem::new(format!("`{}` is empty", from.image))
                .hint("give the ARG before the first FROM a default value"));
        }
        if let Some(platform) = &from.platform {
            self.platform(platform, from, instruction)?;
        }
        let base = match self.by_name(&image) {
            Some(stage) => Base::Stage(stage),
            None if image == "scratch" => Base::Scratch,
            None => Base::Image(image),
        };
        Ok(Stage {
            name: from.name.clone(),
            base,
            line: instruction.line,
            text: instruction.text.clone(),
            checks: instruction.checks.clone(),
            instructions: Vec::new(),
        })
    }

    /// Expands a word of a `FROM`.
    fn expand(&mut self, word: &str, line: usize, own: Option<&Checks>) -> Result<Expanded> {
        let expanded = Lexer::new(self.escape).process(word, &self.globals)?;
        for name in &expanded.unmatched {
            // An ARG without a value is declared, too.
            if self.used_args.contains(name) {
                continue;
            }
            let known: Vec<&str> = self.globals.keys().map(String::as_str).collect();
            let near = nearest(name, &known).map(|near| format!(", did you mean `{near}`?"));
            let message = format!(
                "`{name}` is no ARG before the first FROM{}",
                near.unwrap_or_default()
            );
            self.lint.warn(Rule::UndefinedArgInFrom, line, own, message);
        }
        Ok(expanded)
    }

    /// Without `--build-arg`s the file should be valid, too.
    fn check_default(&mut self, image: &str, line: usize, own: Option<&Checks>) {
        let Some(defaults) = &self.defaults else {
            return;
        };
        let Ok(expanded) = Lexer::new(self.escape).process(image, defaults) else {
            return;
        };
        if expanded.text.parse::<Reference>().is_err() {
            let message = format!("without build arguments, `{image}` is no image");
            self.lint
                .warn(Rule::InvalidDefaultArgInFrom, line, own, message);
        }
    }

    fn platform(&mut self, word: &str, from: &From, instruction: &Instruction) -> Result<()> {
        let own = instruction.checks.as_ref();
        let line = instruction.line;
        let expanded = self.expand(word, line, own)?;
        if expanded.text.is_empty() {
            return Err(Problem::new(format!("the platform `{word}` is empty")));
        }
        let only_target = expanded.unmatched.is_empty()
            && expanded.matched.len() == 1
            && expanded.matched.contains("TARGETPLATFORM")
            && self.globals.get("TARGETPLATFORM") == Some(&expanded.text);
        if only_target {
            let message = format!("`--platform={word}` is what is taken anyway");
            self.lint
                .warn(Rule::RedundantTargetPlatform, line, own, message);
        }
        let platform = platform::Platform::parse(&expanded.text)?;
        if expanded.matched.is_empty() && expanded.unmatched.is_empty() {
            let name = from.name.as_deref().unwrap_or_default();
            if !name.contains(platform.os.as_str()) && !name.contains(&platform.architecture) {
                let message = format!("`--platform={word}` should not be fixed in the file");
                self.lint
                    .warn(Rule::FromPlatformFlagConstDisallowed, line, own, message);
            }
        }
        platform.check()
    }

    /// The latest stage of this name among those found so far.
    fn by_name(&self, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.stages
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&name))
    }

    /// Puts the `ONBUILD` triggers of every needed stage's base in front of its instructions.
    /// `of_image` knows those of an image; where it does not, this stops and is to be called again.
    /// Whether it is done.
    pub(crate) fn resolve_triggers(
        &mut self,
        target: usize,
        mut of_image: impl FnMut(&str) -> Option<Vec<String>>,
    ) -> Result<bool> {
        // A trigger may copy from a stage that nothing else needs, which has triggers of its own.
        loop {
            let mut open = self.needed(target)?.into_iter();
            let Some(index) = open.find(|stage| !self.resolved.contains(stage)) else {
                return Ok(true);
            };
            let stage = &self.stages[index];
            let triggers = match &stage.base {
                Base::Scratch => Vec::new(),
                Base::Stage(base) => {
                    let base = self.stages[*base].instructions.iter();
                    let triggers = base.filter_map(|instruction| match &instruction.kind {
                        Kind::OnBuild(trigger) => Some(trigger.clone()),
                        _ => None,
                    });
                    triggers.collect()
                }
                Base::Image(image) => match of_image(image) {
                    Some(triggers) => triggers,
                    None => return Ok(false),
                },
            };
            let (line, text) = (stage.line, stage.text.clone());
            let triggers = triggers
                .iter()
                .map(|trigger| {
                    parse_trigger(trigger, line).map_err(|mut problem| {
                        // Its lines are not those of this file.
                        problem.line = 0;
                        problem.at(line, &text)
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            self.stages[index].instructions.splice(0..0, triggers);
            self.resolved.insert(index);
        }
    }

    /// What `from` means in stage `current`.
    pub(crate) fn origin(&self, from: &str, current: usize) -> Result<Origin> {
        if from.contains('$') {
            return Err(Problem::new("variables are not expanded in `--from`")
                .hint("name a stage: `FROM $IMAGE AS name`, then `--from=name`"));
        }
        let name = from.to_ascii_lowercase();
        let earlier = &self.stages[..current];
        if let Some(stage) = earlier
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&name))
        {
            return Ok(Origin::Stage(stage));
        }
        if let Ok(index) = from.parse::<usize>() {
            return if index < current {
                Ok(Origin::Stage(index))
            } else {
                Err(Problem::new(format!(
                    "there is no stage {index} before this one"
                )))
            };
        }
        if self.by_name(from) == Some(current) {
            return Err(Problem::new(format!("stage `{from}` cannot use itself")));
        }
        if self.by_name(from).is_some() {
            return Err(
                Problem::new(format!("stage `{from}` comes later in the file"))
                    .hint("move it before the stage that uses it"),
            );
        }
        if from == "scratch" {
            return Ok(Origin::Scratch);
        }
        Ok(Origin::Image(from.to_owned()))
    }

    /// The stage to build.
    pub(crate) fn target(&self, target: Option<&str>) -> Result<usize> {
        let Some(target) = target else {
            return Ok(self.stages.len() - 1);
        };
        if let Some(stage) = self.by_name(target) {
            return Ok(stage);
        }
        if let Some(index) = target
            .parse()
            .ok()
            .filter(|index| *index < self.stages.len())
        {
            return Ok(index);
        }
        let names: Vec<&str> = self
            .stages
            .iter()
            .filter_map(|stage| stage.name.as_deref())
            .collect();
        let problem = Problem::new(format!("there is no stage `{target}`"));
        Err(match nearest(target, &names) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None if names.is_empty() => problem.hint("no stage has a name (`FROM … AS name`)"),
            None => problem.hint(format!("its stages are {}", names.join(", "))),
        })
    }

    /// The stages that `target` needs, itself last, each after what it needs.
    pub(crate) fn needed(&self, target: usize) -> Result<Vec<usize>> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target];
        while let Some(stage) = open.pop() {
            if needed.insert(stage) {
                open.extend(self.stages_of(stage)?);
            }
        }
        // A stage can only use earlier ones, so the order of the file is an order of building.
        Ok(needed.into_iter().collect())
    }

    /// The stages that a stage is built on, copies from or mounts.
    fn stages_of(&self, stage: usize) -> Result<BTreeSet<usize>> {
        let origins = self.origins(stage)?;
        let stages = origins.into_iter().filter_map(|origin| match origin {
            Origin::Stage(stage) => Some(stage),
            Origin::Image(_) | Origin::Scratch => None,
        });
        Ok(stages.collect())
    }

    fn origins(&self, stage: usize) -> Result<Vec<Origin>> {
        let mut origins = Vec::new();
        match &self.stages[stage].base {
            Base::Scratch => {}
            Base::Stage(base) => origins.push(Origin::Stage(*base)),
            Base::Image(image) => origins.push(Origin::Image(image.clone())),
        }
        for instruction in &self.stages[stage].instructions {
            let named = self
                .named_by(instruction, stage)
                .map_err(|problem| problem.at(instruction.line, &instruction.text))?;
            origins.extend(named);
        }
        Ok(origins)
    }

    /// The stages and images that an instruction of a stage takes files from.
    pub(crate) fn named_by(&self, instruction: &Instruction, stage: usize) -> Result<Vec<Origin>> {
        let from: Vec<&String> = match &instruction.kind {
            Kind::Copy(copy) => copy.from.iter().collect(),
            Kind::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| mount.from.as_ref())
                .filter(|from| !from.is_empty())
                .collect(),
            _ => Vec::new(),
        };
        from.into_iter()
            .map(|from| self.origin(from, stage))
            .collect()
    }
}

/// The platform of an image that is not for this machine, and this machine's.
pub(crate) fn foreign_platform(os: &str, architecture: &str) -> Option<(String, String)> {
    let platform = platform::Platform::parse(&format!("{os}/{architecture}")).ok()?;
    let own = platform::arguments("").remove("TARGETPLATFORM")?;
    let of_image = format!("{}/{}", platform.os, platform.architecture);
    (of_image != own).then_some((of_image, own))
}

/// Refuses a platform that is not this machine's.
pub(crate) fn check_platform(platform: &str) -> Result<()> {
    platform::Platform::parse(platform)?.check()
}
