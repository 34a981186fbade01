//! `RUN --mount`: `type=cache,target=/root/.npm`, comma-separated.

use super::Result;
use super::instruction::{RunMount, RunMountKind};
use crate::error::{Problem, nearest};

/// Largest tmpfs of a mount that names no size: 1 GiB.
const TMPFS_BYTES: u64 = 1 << 30;
const KNOWN: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SUPPORTED: &str = "supported are cache, tmpfs and bind";

/// Parses one mount.
pub(super) fn mount(text: &str) -> Result<RunMount> {
    let mut options = Options::new(text);
    let kind = options.take(&["type"]).unwrap_or_else(|| "bind".to_owned());
    let mount = match kind.as_str() {
        "cache" => cache(&mut options)?,
        "tmpfs" => tmpfs(&mut options)?,
        "bind" => bind(&mut options)?,
        "secret" | "ssh" => {
            let problem = format!("mounts of type `{kind}` are not supported yet");
            return Err(Problem::new(problem).hint(SUPPORTED));
        }
        _ => {
            let problem = Problem::new(format!("there is no mount type `{kind}`"));
            return Err(match nearest(&kind, &KNOWN) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(SUPPORTED),
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

fn cache(options: &mut Options<'_>) -> Result<RunMount> {
    let target = options.target()?;
    // How builds share the directory makes no difference as long as one runs at a time, and a
    // fresh one belongs to root.
    for ignored in ["sharing", "mode", "uid", "gid"] {
        options.take(&[ignored]);
    }
    Ok(RunMount {
        kind: RunMountKind::Cache {
            id: options.take(&["id"]).unwrap_or_else(|| target.clone()),
        },
        target,
        read_only: options.switch(&["readonly", "ro"]),
    })
}

fn tmpfs(options: &mut Options<'_>) -> Result<RunMount> {
    let size = match options.take(&["size"]) {
        Some(size) => size
            .parse()
            .map_err(|_| Problem::new(format!("`size={size}` is no number of bytes")))?,
        None => TMPFS_BYTES,
    };
    Ok(RunMount {
        target: options.target()?,
        kind: RunMountKind::Tmpfs { size },
        read_only: false,
    })
}

fn bind(options: &mut Options<'_>) -> Result<RunMount> {
    if options.take(&["from"]).is_some() {
        let problem = Problem::new("bind mounts from another stage are not supported yet");
        return Err(problem.hint("use `COPY --from=…`"));
    }
    if options.switch(&["rw", "readwrite"]) {
        let problem = Problem::new("writable bind mounts are not supported yet");
        return Err(problem.hint("use `COPY`, or leave out `rw`"));
    }
    options.switch(&["readonly", "ro"]);
    Ok(RunMount {
        target: options.target()?,
        kind: RunMountKind::Bind {
            source: options.take(&["source", "src"]).unwrap_or_default(),
        },
        read_only: true,
    })
}

/// The options not taken yet.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn new(text: &'a str) -> Self {
        let fields = text.split(',');
        Self(
            fields
                .map(|field| field.split_once('=').unwrap_or((field, "true")))
                .collect(),
        )
    }

    fn take(&mut self, names: &[&str]) -> Option<String> {
        let at = self.0.iter().position(|(name, _)| names.contains(name))?;
        Some(self.0.remove(at).1.to_owned())
    }

    fn switch(&mut self, names: &[&str]) -> bool {
        self.take(names).is_some_and(|value| value != "false")
    }

    fn target(&mut self) -> Result<String> {
        self.take(&["target", "dst", "destination"])
            .ok_or_else(|| Problem::new("the mount has no target"))
    }
}
