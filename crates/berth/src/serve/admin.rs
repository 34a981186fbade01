//! The token of this machine's administrator: made at the first start, kept where only the data
//! directory's owner can read it, so that `berth env` and `berth deploy` work without being told.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use berth_control::Control;
use berth_control::token::Scope;
use berth_error::{Report, ResultExt as _};
use serde::{Deserialize, Serialize};

/// In which Node finds certificates to trust.
const CA_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";

/// Where the server's parts are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// `CLOUDFLARE_API_BASE_URL`.
    pub(crate) api: String,
    /// `CLOUDFLARE_CONTAINER_REGISTRY`.
    pub(crate) registry: String,
    /// `DOCKER_HOST`.
    pub(crate) docker_host: String,
    /// `WRANGLER_DOCKER_BIN`.
    pub(crate) docker: PathBuf,
    /// `NODE_EXTRA_CA_CERTS`: the registry's certificate.
    #[serde(default)]
    pub(crate) certificate: PathBuf,
    /// The endpoint of S3 clients, if there is one.
    #[serde(default)]
    pub(crate) s3: Option<String>,
}

/// What a client on this machine needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    #[serde(flatten)]
    pub(crate) addresses: Addresses,
    /// `CLOUDFLARE_ACCOUNT_ID`.
    pub(crate) account: String,
    /// `CLOUDFLARE_API_TOKEN`.
    pub(crate) token: String,
}

impl Client {
    /// What the server of this data directory has left for clients.
    pub(crate) fn read(data: &Path) -> Result<Self, Report> {
        let path = path(data);
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Report::new(
                    format!(
                        "no server has been started with the data directory `{}`",
                        data.display()
                    ),
                    Some(
                        "start one with `berth serve`, or name its directory with `--data-dir`"
                            .to_owned(),
                    ),
                ));
            }
            Err(error) => return Err(Report::from_error(&error)),
        };
        serde_json::from_str(&text).map_err(|error| {
            Report::from_error(&error).context(format!("`{}` cannot be understood", path.display()))
        })
    }

    /// Leaves for clients where the server is; with the token that is there, if it still works, or a
    /// new one. Whether it is new.
    pub(crate) fn write(
        data: &Path,
        control: &Control,
        addresses: Addresses,
    ) -> Result<(Self, bool), Report> {
        let kept = Self::read(data).ok();
        let kept = match kept {
            Some(kept) => control.authenticate(&kept.token)?.map(|_| kept.token),
            None => None,
        };
        let new = kept.is_none();
        let token = match kept {
            Some(token) => token,
            None => control.make_token("admin", Scope::Admin, None)?.1,
        };
        let client = Self {
            addresses,
            account: control.account().id.clone(),
            token,
        };
        client
            .keep(&path(data))
            .context("could not leave the token for clients")?;
        Ok((client, new))
    }

    fn keep(&self, path: &Path) -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let next = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(next, path)
    }

    /// The variables that wrangler needs.
    pub(crate) fn variables(&self) -> [(&'static str, String); 7] {
        let Addresses {
            api,
            registry,
            docker_host,
            docker,
            certificate,
            ..
        } = self.addresses.clone();
        [
            ("CLOUDFLARE_API_BASE_URL", api),
            ("CLOUDFLARE_ACCOUNT_ID", self.account.clone()),
            ("CLOUDFLARE_API_TOKEN", self.token.clone()),
            ("CLOUDFLARE_CONTAINER_REGISTRY", registry),
            ("WRANGLER_DOCKER_BIN", docker.display().to_string()),
            ("DOCKER_HOST", docker_host),
            (CA_VARIABLE, certificate.display().to_string()),
        ]
    }

    /// The same as lines for a shell.
    pub(crate) fn exports(&self) -> Vec<String> {
        exports(&self.variables())
    }
}

/// Variables as lines for a shell.
pub(crate) fn exports(variables: &[(&str, String)]) -> Vec<String> {
    let line = |(name, value): &(&str, String)| {
        // Somebody's own authorities are not taken away from Node.
        let taken = *name == CA_VARIABLE
            && std::env::var_os(name).is_some_and(|set| !set.is_empty() && set != **value);
        if taken {
            format!("# {name} is set: add {value} to its file for `containers images`")
        } else {
            format!("export {name}={}", quoted(value))
        }
    };
    variables.iter().map(line).collect()
}

fn path(data: &Path) -> PathBuf {
    data.join("keys/client.json")
}

/// As a shell reads it as one word.
fn quoted(value: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=@".contains(char);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word() {
        assert_eq!(quoted("unix:///var/lib/x.sock"), "unix:///var/lib/x.sock");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
