//! Logical lines → instructions.

use super::arguments::{json_list, pairs, words};
use super::flags;
use super::healthcheck::healthcheck;
use super::heredoc::Heredoc;
use super::instruction::{Command, Copy, From, Instruction, Kind, Run};
use super::lines::{Logical, split};
use super::mount::mount;
use super::{Dockerfile, Result};
use crate::error::{Problem, nearest};

const KNOWN: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses a whole Dockerfile.
pub(crate) fn parse(text: &str) -> Result<Dockerfile> {
    let (escape, logical) = split(text)?;
    let instructions = logical
        .into_iter()
        .map(|logical| instruction(logical, escape))
        .collect::<Result<Vec<_>>>()?;
    Ok(Dockerfile {
        escape,
        instructions,
    })
}

/// Parses an `ONBUILD` trigger of a base image, which runs where the image is used.
pub(crate) fn parse_trigger(text: &str, line: usize) -> Result<Instruction> {
    let logical = Logical {
        line,
        text: text.to_owned(),
        heredocs: Vec::new(),
    };
    instruction(logical, '\\')
}

fn instruction(logical: Logical, escape: char) -> Result<Instruction> {
    let Logical {
        line,
        text,
        heredocs,
    } = logical;
    let (keyword, rest) = text.split_once([' ', '\t']).unwrap_or((&text, ""));
    let kind =
        kind(keyword, rest.trim(), heredocs, escape).map_err(|problem| problem.at(line, &text))?;
    Ok(Instruction { line, text, kind })
}

fn kind(written: &str, rest: &str, heredocs: Vec<Heredoc>, escape: char) -> Result<Kind> {
    let keyword = written.to_ascii_uppercase();
    let keyword = keyword.as_str();
    if rest.is_empty() && KNOWN.contains(&keyword) {
        return Err(Problem::new(format!("{keyword} needs an argument")));
    }
    let plain = |keyword: &str| -> Result<String> {
        let (_, rest) = flags::take(rest, keyword, &[])?;
        Ok(rest.to_owned())
    };
    Ok(match keyword {
        "FROM" => Kind::From(from(rest)?),
        "ARG" => Kind::Arg(arg(rest, escape)?),
        "ENV" => Kind::Env(pairs(rest, escape, true)?),
        "LABEL" => Kind::Label(pairs(rest, escape, true)?),
        "WORKDIR" => Kind::Workdir(plain(keyword)?),
        "USER" => Kind::User(plain(keyword)?),
        "STOPSIGNAL" => Kind::StopSignal(plain(keyword)?),
        "MAINTAINER" => Kind::Maintainer(rest.to_owned()),
        "EXPOSE" => Kind::Expose(words(rest, escape)?),
        "CMD" => Kind::Cmd(command(rest)),
        "ENTRYPOINT" => Kind::Entrypoint(command(rest)),
        "SHELL" => Kind::Shell(
            json_list(rest)
                .filter(|shell| !shell.is_empty())
                .ok_or_else(|| {
                    Problem::new("SHELL needs a JSON list")
                        .hint("for example `SHELL [\"/bin/bash\", \"-c\"]`")
                })?,
        ),
        "VOLUME" => Kind::Volume(match json_list(rest) {
            Some(list) => list,
            None => words(rest, escape)?,
        }),
        "HEALTHCHECK" => Kind::Healthcheck(healthcheck(rest)?),
        "ONBUILD" => Kind::OnBuild(trigger(rest)?),
        "COPY" => Kind::Copy(copy(keyword, rest, heredocs, escape)?),
        "ADD" => Kind::Add(copy(keyword, rest, heredocs, escape)?),
        "RUN" => Kind::Run(run(rest, heredocs)?),
        _ => return Err(unknown(written)),
    })
}

fn unknown(keyword: &str) -> Problem {
    let problem = Problem::new(format!("unknown instruction `{keyword}`"));
    match nearest(&keyword.to_ascii_uppercase(), &KNOWN) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => {
            problem.hint("a line that continues the one before it needs a `\\` at that line's end")
        }
    }
}

pub(super) fn command(rest: &str) -> Command {
    match json_list(rest) {
        Some(list) => Command::Exec(list),
        None => Command::Shell(rest.to_owned()),
    }
}

fn from(rest: &str) -> Result<From> {
    let (flags, rest) = flags::take(rest, "FROM", &["platform"])?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (image, name) = match words[..] {
        [image] => (image, None),
        [image, keyword, name] if keyword.eq_ignore_ascii_case("as") => (image, Some(name)),
        _ => {
            return Err(Problem::new(
                "FROM takes an image and, if wanted, `AS <name>`",
            ));
        }
    };
    if let Some(name) = name {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(allowed) {
            return Err(Problem::new(format!("`{name}` cannot name a stage"))
                .hint("a letter, then letters, digits, `-`, `_` and `.`"));
        }
    }
    Ok(From {
        image: image.to_owned(),
        platform: flags.one("platform")?,
        name: name.map(str::to_ascii_lowercase),
    })
}

fn arg(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>> {
    words(rest, escape)?
        .iter()
        .map(|word| {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(allowed) {
                return Err(Problem::new(format!("`{name}` cannot name an argument"))
                    .hint("put values with blanks in quotes"));
            }
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn trigger(rest: &str) -> Result<String> {
    let inner = parse_trigger(rest, 0)?;
    match inner.kind {
        Kind::OnBuild(_) | Kind::From(_) | Kind::Maintainer(_) => Err(Problem::new(
            "ONBUILD cannot hold FROM, ONBUILD or MAINTAINER",
        )),
        _ => Ok(rest.to_owned()),
    }
}

fn copy(keyword: &str, rest: &str, heredocs: Vec<Heredoc>, escape: char) -> Result<Copy> {
    let known: &[&str] = if keyword == "COPY" {
        &["from", "chown", "chmod", "link", "parents", "exclude"]
    } else {
        &[
            "chown",
            "chmod",
            "link",
            "exclude",
            "keep-git-dir",
            "checksum",
            "unpack",
        ]
    };
    let (flags, rest) = flags::take(rest, keyword, known)?;
    let mut arguments = match json_list(rest) {
        Some(list) => list,
        None => words(rest, escape)?,
    };
    let Some(destination) = arguments.pop().filter(|_| !arguments.is_empty()) else {
        return Err(Problem::new(format!(
            "{keyword} needs a source and a destination"
        )));
    };
    // A here-document stands among the sources as the word that opened it.
    let sources = arguments
        .into_iter()
        .filter(|word| !word.starts_with("<<"))
        .collect();
    // Every step of ours is independent of the ones below it as far as `--link` asks.
    flags.switch("link")?;
    Ok(Copy {
        from: if keyword == "COPY" {
            flags.one("from")?
        } else {
            None
        },
        chown: flags.one("chown")?,
        chmod: flags.one("chmod")?,
        exclude: flags.all("exclude")?,
        parents: flags.switch("parents")?,
        sources,
        heredocs,
        destination,
    })
}

fn run(rest: &str, heredocs: Vec<Heredoc>) -> Result<Run> {
    let (flags, rest) = flags::take(rest, "RUN", &["mount", "network", "security"])?;
    let offline = match flags.one("network")?.as_deref() {
        None | Some("default") => false,
        Some("none") => true,
        Some(other) => {
            return Err(
                Problem::new(format!("`--network={other}` is not supported"))
                    .hint("`default` and `none` are"),
            );
        }
    };
    if let Some(security) = flags.one("security")?
        && security != "sandbox"
    {
        return Err(Problem::new(format!(
            "`--security={security}` is not supported"
        )));
    }
    if rest.is_empty() {
        return Err(Problem::new("RUN needs a command"));
    }
    let mounts = flags
        .all("mount")?
        .iter()
        .map(|text| mount(text))
        .collect::<Result<_>>()?;
    Ok(Run {
        command: command(rest),
        heredocs,
        mounts,
        offline,
    })
}
