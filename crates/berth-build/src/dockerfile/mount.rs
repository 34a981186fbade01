//! `RUN --mount`: `type=cache,target=/root/.npm`, comma-separated.
//!
//! Values may hold variables, so a mount is taken apart when the file is read and understood when its
//! step's variables are known.

use super::Result;
use crate::error::{Problem, nearest};
use crate::lint::boolean;

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const OPTIONS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];

/// A mount as written: options with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountText {
    /// `from`: variables are not expanded in it.
    pub(crate) from: Option<String>,
    fields: Vec<(String, Option<String>)>,
}

/// `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunMount {
    pub(crate) kind: RunMountKind,
    /// May be relative to the working directory; empty for secrets and agents without one.
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// The kinds of `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunMountKind {
    /// A part of the context, or of a stage or image.
    Bind {
        from: Option<String>,
        source: String,
    },
    /// A directory that is kept between builds.
    Cache {
        id: Option<String>,
        /// What it begins with.
        from: Option<String>,
        source: String,
        sharing: Sharing,
        owner: Owner,
    },
    /// Bytes it may hold, if that is said.
    Tmpfs { size: Option<u64> },
    /// A file, an environment variable, or both.
    Secret {
        id: String,
        env: Option<String>,
        required: bool,
        owner: Owner,
    },
    /// The socket of an agent.
    Ssh {
        id: String,
        required: bool,
        owner: Owner,
    },
}

/// Who may use a cache while another step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Everybody at once.
    #[default]
    Shared,
    /// Everybody gets another one.
    Private,
    /// One after the other.
    Locked,
}

/// `uid`, `gid` and `mode`, as far as they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<u32>,
}

impl MountText {
    /// Takes one mount apart.
    pub(super) fn new(text: &str) -> Result<Self> {
        let fields: Vec<(String, Option<String>)> = csv(text)?
            .into_iter()
            .map(|field| match field.split_once('=') {
                Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
                None => (field.to_ascii_lowercase(), None),
            })
            .collect();
        for (name, _) in &fields {
            if !OPTIONS.contains(&name.as_str()) {
                let problem = Problem::new(format!("mounts have no option `{name}`"));
                return Err(match nearest(name, &OPTIONS) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!("there are {}", OPTIONS.join(", "))),
                });
            }
        }
        let from = fields.iter().find(|(name, _)| name == "from");
        let from = from.and_then(|(_, value)| value.clone());
        if from.as_ref().is_some_and(|from| from.contains('$')) {
            return Err(Problem::new("variables are not expanded in `from`")
                .hint("name a stage: `FROM $IMAGE AS name`, then `from=name`"));
        }
        Ok(Self { from, fields })
    }

    /// Understands it; `expand` knows the variables.
    pub(crate) fn resolve(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String>,
    ) -> Result<RunMount> {
        let mut options = Vec::new();
        for (name, value) in &self.fields {
            let value = match value {
                Some(value) => Some(expand(value)?),
                None => None,
            };
            options.push((name.as_str(), value));
        }
        let mut options = Options(options);
        let kind = options
            .take(&["type"])?
            .unwrap_or_else(|| "bind".to_owned());
        let kind = kind.to_ascii_lowercase();
        let target = options.take(&["target", "dst", "destination"])?;
        let read_only = options.read_only()?;
        let mount = match kind.as_str() {
            "bind" => bind(&mut options, target, read_only)?,
            "cache" => cache(&mut options, target, read_only)?,
            "tmpfs" => tmpfs(&mut options, target, read_only)?,
            "secret" => secret(&mut options, target)?,
            "ssh" => ssh(&mut options, target)?,
            _ => {
                let problem = Problem::new(format!("there is no mount type `{kind}`"));
                return Err(match nearest(&kind, &TYPES) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!("there are {}", TYPES.join(", "))),
                });
            }
        };
        match options.0.first() {
            None => Ok(mount),
            Some((name, _)) => Err(Problem::new(format!(
                "mounts of type `{kind}` have no option `{name}`"
            ))),
        }
    }
}

fn needed(target: Option<String>) -> Result<String> {
    target
        .filter(|target| !target.is_empty())
        .ok_or_else(|| Problem::new("the mount has no target").hint("add `target=/path`"))
}

fn bind(
    options: &mut Options<'_>,
    target: Option<String>,
    read_only: Option<bool>,
) -> Result<RunMount> {
    Ok(RunMount {
        target: needed(target)?,
        kind: RunMountKind::Bind {
            from: options.take(&["from"])?.filter(|from| !from.is_empty()),
            source: options.take(&["source", "src"])?.unwrap_or_default(),
        },
        read_only: read_only.unwrap_or(true),
    })
}

fn cache(
    options: &mut Options<'_>,
    target: Option<String>,
    read_only: Option<bool>,
) -> Result<RunMount> {
    let sharing = options.take(&["sharing"])?;
    let sharing = match sharing
        .map(|sharing| sharing.to_ascii_lowercase())
        .as_deref()
    {
        None | Some("shared") => Sharing::Shared,
        Some("private") => Sharing::Private,
        Some("locked") => Sharing::Locked,
        Some(other) => {
            return Err(Problem::new(format!("`sharing={other}` is not known"))
                .hint("there are shared, private and locked"));
        }
    };
    Ok(RunMount {
        target: needed(target)?,
        kind: RunMountKind::Cache {
            id: options.take(&["id"])?.filter(|id| !id.is_empty()),
            from: options.take(&["from"])?.filter(|from| !from.is_empty()),
            source: options.take(&["source", "src"])?.unwrap_or_default(),
            sharing,
            owner: options.owner()?,
        },
        read_only: read_only.unwrap_or(false),
    })
}

fn tmpfs(
    options: &mut Options<'_>,
    target: Option<String>,
    read_only: Option<bool>,
) -> Result<RunMount> {
    let size = options
        .take(&["size"])?
        .map(|size| {
            bytes(&size).ok_or_else(|| {
                Problem::new(format!("`size={size}` is no number of bytes"))
                    .hint("for example `64m` or `1g`")
            })
        })
        .transpose()?;
    Ok(RunMount {
        target: needed(target)?,
        kind: RunMountKind::Tmpfs {
            size: size.filter(|size| *size > 0),
        },
        read_only: read_only.unwrap_or(false),
    })
}

fn secret(options: &mut Options<'_>, target: Option<String>) -> Result<RunMount> {
    let source = options.take(&["source", "src"])?;
    let given = options.take(&["id"])?;
    if source.is_some() && given.is_some() {
        return Err(Problem::new(
            "`source` and `id` of a secret mean the same: give one",
        ));
    }
    let base = |path: &str| {
        path.rsplit('/')
            .find(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let id = source
        .or(given)
        .filter(|id| !id.is_empty())
        .or_else(|| base(target.as_deref()?))
        .ok_or_else(|| {
            Problem::new("the secret has neither id nor target").hint("add `id=name`")
        })?;
    let env = options.take(&["env"])?;
    let target = match (target.filter(|target| !target.is_empty()), &env) {
        (Some(target), _) => target,
        (None, Some(_)) => String::new(),
        (None, None) => format!("/run/secrets/{}", base(&id).unwrap_or_else(|| id.clone())),
    };
    Ok(RunMount {
        target,
        kind: RunMountKind::Secret {
            id,
            env,
            required: options.required()?,
            owner: options.owner()?,
        },
        read_only: true,
    })
}

fn ssh(options: &mut Options<'_>, target: Option<String>) -> Result<RunMount> {
    Ok(RunMount {
        target: target.unwrap_or_default(),
        kind: RunMountKind::Ssh {
            id: options
                .take(&["id"])?
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            required: options.required()?,
            owner: options.owner()?,
        },
        read_only: true,
    })
}

/// The options not taken yet.
struct Options<'a>(Vec<(&'a str, Option<String>)>);

impl Options<'_> {
    /// The last value given under one of the names.
    fn find(&mut self, names: &[&str]) -> Option<(String, Option<String>)> {
        let mut found = None;
        self.0.retain(|(name, value)| {
            let taken = names.contains(name);
            if taken {
                found = Some(((*name).to_owned(), value.clone()));
            }
            !taken
        });
        found
    }

    fn take(&mut self, names: &[&str]) -> Result<Option<String>> {
        match self.find(names) {
            None => Ok(None),
            Some((_, Some(value))) => Ok(Some(value)),
            Some((name, None)) => Err(Problem::new(format!("`{name}` needs a value: `{name}=…`"))),
        }
    }

    fn switch(&mut self, names: &[&str]) -> Result<Option<bool>> {
        match self.find(names) {
            None => Ok(None),
            Some((_, None)) => Ok(Some(true)),
            Some((name, Some(value))) => match boolean(&value) {
                Some(value) => Ok(Some(value)),
                None => Err(Problem::new(format!("`{name}` is true or false"))),
            },
        }
    }

    fn read_only(&mut self) -> Result<Option<bool>> {
        let read_only = self.switch(&["readonly", "ro"])?;
        let writable = self.switch(&["readwrite", "rw"])?;
        Ok(read_only.or(writable.map(|writable| !writable)))
    }

    fn required(&mut self) -> Result<bool> {
        Ok(self.switch(&["required"])?.unwrap_or(false))
    }

    fn owner(&mut self) -> Result<Owner> {
        let mut number = |name: &str, radix: u32| -> Result<Option<u32>> {
            let Some(text) = self.take(&[name])? else {
                return Ok(None);
            };
            match u32::from_str_radix(&text, radix) {
                Ok(number) if radix == 10 || number <= 0o7777 => Ok(Some(number)),
                _ => Err(Problem::new(format!("`{name}={text}` is not possible"))
                    .hint("`mode` is octal (`0440`), `uid` and `gid` are numbers")),
            }
        };
        Ok(Owner {
            uid: number("uid", 10)?,
            gid: number("gid", 10)?,
            mode: number("mode", 8)?,
        })
    }
}

/// Fields separated by commas; a field in double quotes may hold some.
fn csv(text: &str) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    if quoted {
        return Err(Problem::new("a quote (\") in the mount is not closed"));
    }
    fields.push(field);
    Ok(fields)
}

/// `1024`, `64m`, `1.5g`, `1GiB`: bytes, in powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim_start();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, as it has no sign; `as` saturates"
    )]
    Some((number * 1024_f64.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<RunMount> {
        MountText::new(text)?.resolve(&mut |value| Ok(value.replace("$X", "x")))
    }

    #[test]
    fn options_of_every_type_are_understood() {
        let bind = resolve("target=/a,source=$X/y,from=stage,rw").unwrap();
        assert!(!bind.read_only);
        assert_eq!(
            bind.kind,
            RunMountKind::Bind {
                from: Some("stage".to_owned()),
                source: "x/y".to_owned()
            }
        );
        assert!(resolve("target=/a").unwrap().read_only);
        let cache = "type=cache,dst=/c,id=i,sharing=locked,mode=0700,uid=1,gid=2,readonly";
        let cache = resolve(cache).unwrap();
        assert!(cache.read_only);
        let owner = Owner {
            uid: Some(1),
            gid: Some(2),
            mode: Some(0o700),
        };
        assert_eq!(
            cache.kind,
            RunMountKind::Cache {
                id: Some("i".to_owned()),
                from: None,
                source: String::new(),
                sharing: Sharing::Locked,
                owner
            }
        );
        for (size, bytes) in [
            ("4096", 4096),
            ("64m", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("2KB", 2048),
        ] {
            let tmpfs = resolve(&format!("type=tmpfs,target=/t,size={size}")).unwrap();
            assert_eq!(
                tmpfs.kind,
                RunMountKind::Tmpfs { size: Some(bytes) },
                "{size}"
            );
        }
        for (text, id, target, env) in [
            ("type=secret,id=a", "a", "/run/secrets/a", None),
            ("type=secret,src=a/b", "a/b", "/run/secrets/b", None),
            ("type=secret,target=/x/npmrc", "npmrc", "/x/npmrc", None),
            ("type=secret,id=a,env=A", "a", "", Some("A")),
            ("type=secret,id=a,env=A,target=/x", "a", "/x", Some("A")),
        ] {
            let mount = resolve(text).unwrap();
            assert_eq!(mount.target, target, "{text}");
            let RunMountKind::Secret {
                id: found,
                env: variable,
                ..
            } = mount.kind
            else {
                panic!("{text}");
            };
            assert_eq!((found.as_str(), variable.as_deref()), (id, env), "{text}");
        }
        assert_eq!(
            resolve("type=ssh,required").unwrap().kind,
            RunMountKind::Ssh {
                id: "default".to_owned(),
                required: true,
                owner: Owner::default()
            }
        );
        assert_eq!(resolve("\"target=/a,b\"").unwrap().target, "/a,b");
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "type=cash,target=/x",
            "type=cache",
            "type=bind,target=/x,colour=red",
            "type=bind,target=/x,mode=0700",
            "type=bind,target=/x,size=1",
            "type=cache,target=/x,sharing=never",
            "type=cache,target=/x,required",
            "type=tmpfs,target=/x,size=big",
            "type=tmpfs,target=/x,mode=9",
            "type=secret",
            "type=secret,id=a,from=b",
            "type=secret,id=a,source=b",
            "type=ssh,source=b",
            "target",
            "target=/x,ro=maybe",
            "target=/x,from=$S",
            "\"target=/x",
        ] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }
}
