//! Logical lines → instructions.

use super::arguments::{json_list, pairs, plain_words, words};
use super::flags::{Flags, Head};
use super::healthcheck::healthcheck;
use super::heredoc::{self, Heredoc};
use super::instruction::{Command, Copy, From, Instruction, Kind, Run};
use super::lines::{Logical, Split, split};
use super::mount::MountText;
use super::{Dockerfile, Result};
use crate::error::{Problem, nearest};
use crate::lint::Linter;

mod checks;

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
    let Split {
        escape,
        mut lint,
        logical,
    } = split(text)?;
    let instructions = logical
        .into_iter()
        .map(|logical| instruction(logical, escape, &mut lint))
        .collect::<Result<Vec<_>>>()?;
    checks::whole_file(&instructions, &mut lint);
    Ok(Dockerfile {
        escape,
        instructions,
        lint,
    })
}

/// Parses an `ONBUILD` trigger of a base image, which runs where the image is used.
pub(crate) fn parse_trigger(text: &str, line: usize) -> Result<Instruction> {
    let mut logical = split(text)?.logical;
    let only = logical.pop().filter(|_| logical.is_empty());
    let Some(mut only) = only else {
        return Err(Problem::new(
            "an ONBUILD of the base image is not one instruction",
        ));
    };
    only.line = line;
    let mut instruction = instruction(only, '\\', &mut Linter::default())?;
    if matches!(
        instruction.kind,
        Kind::OnBuild(_) | Kind::From(_) | Kind::Maintainer(_)
    ) {
        let problem = Problem::new("ONBUILD cannot hold FROM, ONBUILD or MAINTAINER");
        return Err(problem.at(line, text));
    }
    instruction.is_trigger = true;
    Ok(instruction)
}

fn instruction(logical: Logical, escape: char, lint: &mut Linter) -> Result<Instruction> {
    let Logical {
        line,
        text,
        head,
        heredocs,
        checks,
        comment,
    } = logical;
    let kind = kind(&head, &text, heredocs, escape).map_err(|problem| problem.at(line, &text))?;
    let instruction = Instruction {
        line,
        text,
        keyword: head.keyword.clone(),
        kind,
        is_trigger: false,
        checks,
    };
    checks::instruction(&instruction, &head, comment.as_deref(), lint);
    Ok(instruction)
}

fn kind(head: &Head, text: &str, heredocs: Vec<Heredoc>, escape: char) -> Result<Kind> {
    let keyword = head.keyword.to_ascii_uppercase();
    let keyword = keyword.as_str();
    if !KNOWN.contains(&keyword) {
        return Err(unknown(&head.keyword));
    }
    if head.rest.is_empty() {
        let problem = Problem::new(format!("{keyword} needs an argument"));
        return Err(match keyword {
            "CMD" | "ENTRYPOINT" => {
                problem.hint(format!("`{keyword} []` takes an inherited one away"))
            }
            _ => problem,
        });
    }
    let rest = head.rest.as_str();
    match keyword {
        "FROM" => return Ok(Kind::From(from(head)?)),
        "HEALTHCHECK" => return Ok(Kind::Healthcheck(healthcheck(head)?)),
        "COPY" | "ADD" => {
            let copy = copy(keyword, head, heredocs)?;
            return Ok(if keyword == "COPY" {
                Kind::Copy(copy)
            } else {
                Kind::Add(copy)
            });
        }
        "RUN" => return Ok(Kind::Run(run(head, heredocs)?)),
        _ => {}
    }
    // The others have no flags.
    Flags::new(head, &[])?;
    Ok(match keyword {
        "ARG" => Kind::Arg(arg(rest, escape)?),
        "ENV" => Kind::Env(pairs(rest, escape, keyword)?.pairs),
        "LABEL" => Kind::Label(pairs(rest, escape, keyword)?.pairs),
        "WORKDIR" => Kind::Workdir(rest.to_owned()),
        "USER" => Kind::User(rest.to_owned()),
        "STOPSIGNAL" => Kind::StopSignal(rest.to_owned()),
        "MAINTAINER" => Kind::Maintainer(rest.to_owned()),
        "EXPOSE" => {
            let mut ports = plain_words(rest);
            ports.sort();
            Kind::Expose(ports)
        }
        "CMD" => Kind::Cmd(command(rest)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(rest)?),
        "SHELL" => Kind::Shell(
            json_list(rest)?
                .filter(|shell| !shell.is_empty())
                .ok_or_else(|| {
                    Problem::new("SHELL needs a JSON list")
                        .hint("for example `SHELL [\"/bin/bash\", \"-c\"]`")
                })?,
        ),
        "VOLUME" => Kind::Volume(volume(rest)?),
        _ => Kind::OnBuild(trigger(head, text, &heredocs, escape)?),
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

pub(super) fn command(rest: &str) -> Result<Command> {
    Ok(match json_list(rest)? {
        Some(list) => Command::Exec(list),
        None => Command::Shell(rest.to_owned()),
    })
}

fn from(head: &Head) -> Result<From> {
    let words = plain_words(&head.rest);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (image, name) = match words[..] {
        [image] => (image, None),
        [image, keyword, name] if keyword.eq_ignore_ascii_case("as") => (image, Some(name)),
        _ => {
            return Err(Problem::new(
                "FROM takes an image and, if wanted, `AS <name>`",
            ));
        }
    };
    let flags = Flags::new(head, &["platform"])?;
    if let Some(name) = name {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(allowed) {
            return Err(Problem::new(format!("`{name}` cannot name a stage"))
                .hint("a letter, then letters, digits, `-`, `_` and `.`"));
        }
    }
    Ok(From {
        image: image.to_owned(),
        platform: flags
            .one("platform")?
            .filter(|platform| !platform.is_empty()),
        name: name.map(str::to_ascii_lowercase),
    })
}

fn arg(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>> {
    words(rest, escape)
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Problem::new(format!("`{word}` has no name"))),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((word.clone(), None)),
        })
        .collect()
}

fn volume(rest: &str) -> Result<Vec<String>> {
    let paths = match json_list(rest)? {
        Some(list) => list,
        None => plain_words(rest),
    };
    let paths: Vec<String> = paths.iter().map(|path| path.trim().to_owned()).collect();
    if paths.is_empty() || paths.iter().any(String::is_empty) {
        return Err(Problem::new("a volume needs a path"));
    }
    Ok(paths)
}

/// The trigger as the image keeps it: with its here-documents.
fn trigger(head: &Head, text: &str, heredocs: &[Heredoc], escape: char) -> Result<String> {
    let inner = Head::new(&head.rest, escape)?;
    match inner.keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            return Err(Problem::new(
                "ONBUILD cannot hold FROM, ONBUILD or MAINTAINER",
            ));
        }
        _ => {}
    }
    // Mistakes in it are found now, not when somebody uses the image.
    kind(&inner, &head.rest, heredocs.to_vec(), escape)?;
    let mut trigger = text[head.keyword.len()..].trim_start().to_owned();
    for heredoc in heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.content);
        trigger.push_str(&heredoc.name);
    }
    Ok(trigger)
}

fn copy(keyword: &str, head: &Head, heredocs: Vec<Heredoc>) -> Result<Copy> {
    let known: &[&str] = if keyword == "COPY" {
        &["from", "chown", "chmod", "link", "parents", "exclude*"]
    } else {
        &[
            "chown",
            "chmod",
            "link",
            "exclude*",
            "keep-git-dir",
            "checksum",
            "unpack",
        ]
    };
    let flags = Flags::new(head, known)?;
    let mut arguments = match json_list(&head.rest)? {
        Some(list) => list,
        None => plain_words(&head.rest),
    };
    let Some(destination) = arguments.pop().filter(|_| !arguments.is_empty()) else {
        return Err(Problem::new(format!(
            "{keyword} needs a source and a destination"
        )));
    };
    if matches!(heredoc::parse(&destination), Ok(Some(_))) {
        return Err(Problem::new("a here-document cannot be the destination"));
    }
    // A here-document stands among the sources as the word that opened it.
    let mut sources = Vec::new();
    let mut documents = Vec::new();
    for word in arguments {
        match heredoc::parse(&word) {
            Ok(Some(opening)) if !heredocs.is_empty() => {
                if opening.name.contains('/') {
                    return Err(Problem::new(format!(
                        "`{}` is no name for the file that the here-document makes",
                        opening.name
                    ))
                    .hint("name it without `/`, and put the directory into the destination"));
                }
                let document = heredocs
                    .iter()
                    .rfind(|document| document.name == opening.name);
                documents.extend(document.cloned());
            }
            _ => sources.push(word),
        }
    }
    let given = |name: &str| -> Result<Option<String>> {
        Ok(flags.one(name)?.filter(|value| !value.is_empty()))
    };
    // Layers here never depend on what is below them, except by names and links.
    flags.switch("link")?;
    Ok(Copy {
        from: given("from")?,
        chown: given("chown")?,
        chmod: given("chmod")?,
        exclude: flags.all("exclude")?,
        parents: flags.switch("parents")?.unwrap_or(false),
        unpack: flags.switch("unpack")?,
        keep_git_dir: flags.switch("keep-git-dir")?,
        checksum: given("checksum")?,
        sources,
        heredocs: documents,
        destination,
    })
}

fn run(head: &Head, heredocs: Vec<Heredoc>) -> Result<Run> {
    let flags = Flags::new(head, &["mount*", "network", "security", "device*"])?;
    let offline = match flags.one("network")?.as_deref() {
        None | Some("default") => false,
        Some("none") => true,
        Some("host") => {
            return Err(Problem::new("`--network=host` is not supported").hint(
                "the default network reaches the internet; services of this machine are kept out of builds",
            ));
        }
        Some(other) => {
            return Err(Problem::new(format!("there is no network `{other}`"))
                .hint("there are `default` and `none`"));
        }
    };
    match flags.one("security")?.as_deref() {
        None | Some("sandbox") => {}
        Some("insecure") => {
            return Err(Problem::new("`--security=insecure` is not supported")
                .hint("builds never have more rights than a container; most need none of this"));
        }
        Some(other) => {
            return Err(Problem::new(format!("there is no security mode `{other}`"))
                .hint("there is `sandbox`"));
        }
    }
    if !flags.all("device")?.is_empty() {
        return Err(Problem::new("`--device` is not supported")
            .hint("builds have no devices of this machine"));
    }
    let mounts = flags.all("mount")?;
    let mounts = mounts.iter().map(|text| MountText::new(text));
    Ok(Run {
        command: command(&head.rest)?,
        heredocs,
        mounts: mounts.collect::<Result<_>>()?,
        offline,
    })
}
