//! The flags of a build, shared by `berth docker build` and `berth containers build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_build::{BuildRequest, Secret};
use berth_error::Report;
use clap::{Args, ValueEnum};

use super::bounds::BoundsFlags;
use super::progress::Mode;
use crate::paths::absolute;

/// Largest secret, as BuildKit has it.
const MAX_SECRET: u64 = 500 * 1024;

/// What can be said of a build, with Docker's names.
#[derive(Debug, Default, Args)]
pub(crate) struct BuildFlags {
    /// Name for the image; may be repeated
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// The Dockerfile; `-` reads it from standard input [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Value for an `ARG`; a name alone takes the environment's; may be repeated
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    pub(crate) args: Vec<String>,
    /// Label for the image; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Only this machine's can be built
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Stage to build [default: the last]
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Build every step anew
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Secret for `RUN --mount=type=secret`: `id=NAME[,src=FILE|,env=VARIABLE]`; may be repeated
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// Agent for `RUN --mount=type=ssh`: `default`, `NAME=SOCKET` or `NAME=KEY[,KEY]`; may be repeated
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Line for /etc/hosts during `RUN`; may be repeated
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub(crate) hosts: Vec<String>,
    /// Network of `RUN`: `default`, or `none`
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// How progress is shown [default: auto]
    #[arg(
        long,
        env = "BUILDKIT_PROGRESS",
        hide_env = true,
        value_enum,
        value_name = "HOW"
    )]
    pub(crate) progress: Option<ProgressFlag>,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bounds: BoundsFlags,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressFlag {
    /// Redrawn in place on a terminal, lines elsewhere
    Auto,
    /// Lines
    Plain,
    /// Redrawn in place
    Tty,
    /// Only the image's id
    Quiet,
    /// One JSON object per line, on standard output
    Json,
}

impl BuildFlags {
    /// How progress is to be shown.
    pub(crate) fn shown(&self) -> Mode {
        if self.quiet {
            return Mode::Quiet;
        }
        match self.progress.unwrap_or(ProgressFlag::Auto) {
            ProgressFlag::Quiet => Mode::Quiet,
            ProgressFlag::Json => Mode::Json,
            ProgressFlag::Plain => Mode::Plain,
            ProgressFlag::Tty => Mode::Screen,
            ProgressFlag::Auto => Mode::fitting(),
        }
    }

    /// What to build: `dockerfile` and `context` are absolute.
    pub(crate) fn request(
        &self,
        dockerfile: PathBuf,
        context: &Path,
    ) -> Result<BuildRequest, Report> {
        let offline = match self.network.as_deref() {
            None | Some("default" | "host" | "bridge" | "") => false,
            Some("none") => true,
            Some(other) => {
                return Err(Report::new(
                    format!("`--network={other}`: builds have no such network"),
                    Some("it is `default` or `none`".to_owned()),
                ));
            }
        };
        let hosts = self.hosts.iter().map(|text| host(text));
        let secrets = self.secrets.iter().map(|text| secret(text));
        let ssh = self.ssh.iter().map(|text| ssh(text));
        let labels = self.labels.iter();
        Ok(BuildRequest {
            dockerfile,
            context: context.to_owned(),
            args: self
                .args
                .iter()
                .filter_map(|text| build_arg(text))
                .collect(),
            target: self.target.clone(),
            platform: self.platform.clone(),
            tags: self.tags.clone(),
            labels: labels
                .map(|text| text.split_once('=').unwrap_or((text, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            no_cache: self.no_cache,
            secrets: secrets.collect::<Result<_, _>>()?,
            ssh: ssh.collect::<Result<_, _>>()?,
            offline,
            hosts: hosts.collect::<Result<_, _>>()?,
            proxies: BTreeMap::new(),
            ca_bundle: None,
            bounds: self.bounds.bounds(),
        })
    }
}

/// A name without a value takes the environment's, as the docker command does.
fn build_arg(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.to_owned(), std::env::var(text).ok()?)),
    }
}

/// `name:address`, `name=address`; an IPv6 address may be in brackets.
fn host(text: &str) -> Result<(String, String), Report> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let found = parts.and_then(|(name, address)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let parsed: std::net::IpAddr = address.parse().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), parsed.to_string()))
    });
    found.ok_or_else(|| {
        Report::new(
            format!("`--add-host={text}` is no name and address"),
            Some("for example `--add-host=registry.internal:10.0.0.5`".to_owned()),
        )
    })
}

/// `id=x,src=file`, `id=x,env=VARIABLE`; with the id alone, the variable or file of that name.
fn secret(text: &str) -> Result<(String, Secret), Report> {
    let bad = |problem: &str| {
        Report::new(
            format!("`--secret={text}`: {problem}"),
            Some(
                "for example `--secret=id=token,src=token.txt` or `--secret=id=token,env=TOKEN`"
                    .to_owned(),
            ),
        )
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| bad(&format!("`{field}` is not `name=value`")))?;
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            other => return Err(bad(&format!("there is no option `{other}`"))),
        };
        *slot = Some(value.to_owned());
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| bad("it has no id"))?;
    match kind.as_deref() {
        None | Some("file") => {}
        Some("env") => variable = variable.or(file.take()).or(Some(id.clone())),
        Some(other) => return Err(bad(&format!("there is no type `{other}`"))),
    }
    if variable.is_none() && file.is_none() {
        match std::env::var_os(&id) {
            Some(_) => variable = Some(id.clone()),
            None => file = Some(id.clone()),
        }
    }
    let secret = match (variable, file) {
        (Some(name), _) => match std::env::var(&name) {
            Ok(value) => Secret::Value(value.into_bytes()),
            Err(_) => return Err(bad(&format!("the variable `{name}` is not set"))),
        },
        (None, file) => {
            let path = absolute(Path::new(file.as_deref().unwrap_or(&id)))?;
            let metadata = fs_err::metadata(&path).map_err(|error| {
                Report::from_error(&error).context(format!("`--secret={text}`"))
            })?;
            if metadata.len() > MAX_SECRET {
                return Err(bad("the file has more than 500 KB"));
            }
            Secret::File(path)
        }
    };
    Ok((id, secret))
}

/// `default`, `id=path[,path]`; without a path, the running agent's socket.
fn ssh(text: &str) -> Result<(String, Vec<PathBuf>), Report> {
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths.split(',').map(PathBuf::from).collect()),
        None => (text, Vec::new()),
    };
    let id = if id.is_empty() { "default" } else { id };
    let paths = if paths.is_empty() {
        let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let socket = socket.ok_or_else(|| {
            Report::new(
                format!("`--ssh={text}`: no agent runs, for `SSH_AUTH_SOCK` is not set"),
                Some("start one with `ssh-agent`, add the key with `ssh-add`, or name its socket: `--ssh=default=SOCKET`".to_owned()),
            )
        })?;
        vec![PathBuf::from(socket)]
    } else {
        paths
    };
    let paths = paths.iter().map(|path| {
        let path = absolute(path)?;
        fs_err::metadata(&path)
            .map_err(|error| Report::from_error(&error).context(format!("`--ssh={text}`")))?;
        Ok(path)
    });
    Ok((id.to_owned(), paths.collect::<Result<_, Report>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("s");
        std::fs::write(&file, "x").unwrap();
        let path = file.to_str().unwrap();
        let (id, found) = secret(&format!("id=a,src={path}")).unwrap();
        assert_eq!((id.as_str(), found), ("a", Secret::File(file.clone())));
        let (_, found) = secret("id=a,env=PATH").unwrap();
        assert!(matches!(&found, Secret::Value(value) if !value.is_empty()));
        assert_eq!(format!("{found:?}"), "Value(…)", "secrets are not shown");
        assert_eq!(secret("type=env,id=PATH").unwrap().1, found);
        for bad in [
            "src=x",
            "id=a,env=NOT_SET_AT_ALL",
            "id=a,mode=1",
            "id",
            "id=a,src=/no/such",
        ] {
            let report = secret(bad).unwrap_err().render_plain();
            assert!(report.contains(bad), "{report}");
        }
    }

    #[test]
    fn hosts_have_addresses() {
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(host("a:1.2.3.4").unwrap(), pair("a", "1.2.3.4"));
        assert_eq!(host("a=[::1]").unwrap(), pair("a", "::1"));
        assert!(host("a:b").is_err());
        assert!(host(":1.2.3.4").is_err());
    }

    #[test]
    fn an_unknown_network_is_refused() {
        let flags = BuildFlags {
            network: Some("mine".to_owned()),
            ..BuildFlags::default()
        };
        let report = flags.request("/d".into(), Path::new("/")).unwrap_err();
        assert!(report.render_plain().contains("--network=mine"));
    }
}
