//! Logical lines → instructions.

use serde_json::{Value, json};

use super::arguments::{json_list, pairs, words};
use super::flags::{self, Flags};
use super::heredoc::Heredoc;
use super::instruction::{Command, Copy, From, Instruction, Kind, Run, RunMount, RunMountKind};
use super::lines::{Logical, split};
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

/// Largest tmpfs of a `RUN --mount=type=tmpfs` that names no size: 1 GiB.
const TMPFS_BYTES: u64 = 1 << 30;

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

fn command(rest: &str) -> Command {
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

/// `type=cache,target=/root/.npm`, comma-separated.
fn mount(text: &str) -> Result<RunMount> {
    let mut fields: Vec<(&str, &str)> = text
        .split(',')
        .map(|field| field.split_once('=').unwrap_or((field, "true")))
        .collect();
    let mut take = |names: &[&str]| -> Option<String> {
        let at = fields.iter().position(|(name, _)| names.contains(name))?;
        Some(fields.remove(at).1.to_owned())
    };
    let kind = take(&["type"]).unwrap_or_else(|| "bind".to_owned());
    let target = take(&["target", "dst", "destination"]);
    let read_only = take(&["readonly", "ro"]).map(|value| value != "false");
    let writable = take(&["rw", "readwrite"]).map(|value| value != "false");
    let need = || {
        target
            .clone()
            .ok_or_else(|| Problem::new("the mount has no target"))
    };
    let mount = match kind.as_str() {
        "cache" => {
            let target = need()?;
            // How builds share the directory makes no difference as long as one runs at a time,
            // and a fresh one belongs to root.
            for ignored in ["sharing", "mode", "uid", "gid"] {
                take(&[ignored]);
            }
            RunMount {
                kind: RunMountKind::Cache {
                    id: take(&["id"]).unwrap_or_else(|| target.clone()),
                },
                target,
                read_only: read_only.unwrap_or(false),
            }
        }
        "tmpfs" => RunMount {
            target: need()?,
            kind: RunMountKind::Tmpfs {
                size: match take(&["size"]) {
                    Some(size) => size.parse().map_err(|_| {
                        Problem::new(format!("`size={size}` is no number of bytes"))
                    })?,
                    None => TMPFS_BYTES,
                },
            },
            read_only: false,
        },
        "bind" => {
            if take(&["from"]).is_some() {
                return Err(
                    Problem::new("bind mounts from another stage are not supported yet")
                        .hint("use `COPY --from=…`"),
                );
            }
            if writable == Some(true) {
                return Err(Problem::new("writable bind mounts are not supported yet")
                    .hint("use `COPY`, or leave out `rw`"));
            }
            RunMount {
                target: need()?,
                kind: RunMountKind::Bind {
                    source: take(&["source", "src"]).unwrap_or_default(),
                },
                read_only: true,
            }
        }
        "secret" | "ssh" => {
            return Err(
                Problem::new(format!("mounts of type `{kind}` are not supported yet"))
                    .hint("supported are cache, tmpfs and bind"),
            );
        }
        _ => {
            let known = ["bind", "cache", "tmpfs", "secret", "ssh"];
            let problem = Problem::new(format!("there is no mount type `{kind}`"));
            return Err(match nearest(&kind, &known) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("supported are cache, tmpfs and bind"),
            });
        }
    };
    match fields.first() {
        None => Ok(mount),
        Some((name, _)) => Err(Problem::new(format!(
            "mounts of type `{kind}` have no option `{name}`"
        ))),
    }
}

fn healthcheck(rest: &str) -> Result<Value> {
    let known = [
        "interval",
        "timeout",
        "start-period",
        "start-interval",
        "retries",
    ];
    let (flags, rest) = flags::take(rest, "HEALTHCHECK", &known)?;
    if rest.eq_ignore_ascii_case("none") {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    let (keyword, command_text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    if !keyword.eq_ignore_ascii_case("cmd") || command_text.trim().is_empty() {
        return Err(Problem::new(
            "HEALTHCHECK is followed by `CMD <command>` or `NONE`",
        ));
    }
    let test = match command(command_text.trim()) {
        Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
        Command::Exec(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
    };
    let mut check = json!({ "Test": test });
    for (flag, field) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ] {
        if let Some(value) = flag_duration(&flags, flag)? {
            check[field] = value.into();
        }
    }
    if let Some(retries) = flags.one("retries")? {
        let retries: u32 = retries
            .parse()
            .map_err(|_| Problem::new(format!("`--retries={retries}` is no number")))?;
        check["Retries"] = retries.into();
    }
    Ok(check)
}

fn flag_duration(flags: &Flags, name: &str) -> Result<Option<u64>> {
    let Some(text) = flags.one(name)? else {
        return Ok(None);
    };
    match nanoseconds(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(Problem::new(format!("`--{name}={text}` is no duration"))
            .hint("for example `30s` or `1m30s`")),
    }
}

/// `1h2m3.5s` in nanoseconds, as Go writes durations.
fn nanoseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |next| end + next);
        let unit = &rest[end..unit_end];
        total += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = &rest[unit_end..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite, positive and far below 2^53 for any sensible time; `as` saturates"
    )]
    (!text.is_empty()).then_some(total as u64)
}
