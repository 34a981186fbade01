//! From instructions to stages: which stage is built on what, and which ones a build needs.
//!
//! Only the target and what it is made of are built, as BuildKit does it.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::expand::expand;
use crate::dockerfile::{Dockerfile, From, Instruction, Kind, Result};
use crate::error::{Problem, nearest};

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    /// An earlier stage, by its index.
    Stage(usize),
    Image(String),
}

/// What `COPY --from` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stage(usize),
    Image(String),
}

/// One `FROM` and what follows it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: Option<String>,
    pub(crate) base: Base,
    /// The `FROM`.
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) instructions: Vec<Instruction>,
}

/// A Dockerfile whose stages are known.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) escape: char,
    pub(crate) stages: Vec<Stage>,
    /// Arguments from before the first `FROM`, and the platform's.
    pub(crate) globals: BTreeMap<String, String>,
}

/// Arguments that are there without `ARG` in `FROM` lines, and with a bare `ARG` in stages.
pub(crate) fn platform_arguments() -> BTreeMap<String, String> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = format!("linux/{architecture}");
    ["TARGET", "BUILD"]
        .iter()
        .flat_map(|side| {
            [
                (format!("{side}PLATFORM"), platform.clone()),
                (format!("{side}OS"), "linux".to_owned()),
                (format!("{side}ARCH"), architecture.to_owned()),
                (format!("{side}VARIANT"), String::new()),
            ]
        })
        .collect()
}

impl Plan {
    /// Finds the stages of a Dockerfile.
    pub(crate) fn new(
        dockerfile: Dockerfile,
        arguments: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut plan = Self {
            escape: dockerfile.escape,
            stages: Vec::new(),
            globals: platform_arguments(),
        };
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
            Kind::From(from) => {
                let stage = self.stage(&from, instruction.line, instruction.text)?;
                self.stages.push(stage);
            }
            Kind::Arg(ref declared) if self.stages.is_empty() => {
                for (name, default) in declared {
                    let value = match arguments.get(name) {
                        Some(given) => Some(given.clone()),
                        None => default
                            .as_deref()
                            .map(|word| expand(word, self.escape, &self.globals))
                            .transpose()?,
                    };
                    if let Some(value) = value {
                        self.globals.insert(name.clone(), value);
                    }
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

    fn stage(&self, from: &From, line: usize, text: String) -> Result<Stage> {
        if let Some(platform) = &from.platform {
            check_platform(
                &expand(platform, self.escape, &self.globals)?,
                &self.globals,
            )?;
        }
        let image = expand(&from.image, self.escape, &self.globals)?;
        if image.is_empty() {
            return Err(Problem::new(format!("`{}` is empty", from.image))
                .hint("give the ARG before the first FROM a default value"));
        }
        let base = match self.by_name(&image) {
            _ if image == "scratch" => Base::Scratch,
            Some(stage) => Base::Stage(stage),
            None => Base::Image(image),
        };
        Ok(Stage {
            name: from.name.clone(),
            base,
            line,
            text,
            instructions: Vec::new(),
        })
    }

    /// The latest stage of this name among those found so far.
    fn by_name(&self, name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.stages
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&name))
    }

    /// What `--from` means in stage `current`.
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
        if self.by_name(from).is_some() {
            return Err(
                Problem::new(format!("stage `{from}` comes later in the file"))
                    .hint("move it before the stage that copies from it"),
            );
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
                open.extend(
                    self.origins(stage)?
                        .into_iter()
                        .filter_map(|origin| match origin {
                            Origin::Stage(stage) => Some(stage),
                            Origin::Image(_) => None,
                        }),
                );
            }
        }
        // A stage can only use earlier ones, so the order of the file is an order of building.
        Ok(needed.into_iter().collect())
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
        let from = match &instruction.kind {
            Kind::Copy(copy) => copy.from.as_deref(),
            _ => None,
        };
        from.iter().map(|from| self.origin(from, stage)).collect()
    }
}

/// Refuses a platform that is not this machine's.
pub(crate) fn check_platform(platform: &str, globals: &BTreeMap<String, String>) -> Result<()> {
    let ours = globals.get("BUILDPLATFORM").map_or("", String::as_str);
    let fits = platform == ours
        || platform
            .strip_prefix(ours)
            .is_some_and(|variant| variant.starts_with("/v"));
    if fits {
        Ok(())
    } else {
        Err(
            Problem::new(format!("images for {platform} cannot be built here"))
                .hint(format!("this machine builds and runs {ours}")),
        )
    }
}
