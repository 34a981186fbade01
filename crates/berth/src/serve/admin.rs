//! The token of this machine's administrator: made at the first start, kept where only the data
//! directory's owner can read it, so that `berth env` and `berth deploy` work without being told.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use berth_control::Control;
use berth_control::token::Scope;
use berth_error::{Report, ResultExt as _};
use serde::{Deserialize, Serialize};

/// What a client on this machine needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    /// `CLOUDFLARE_API_BASE_URL`.
    pub(crate) api: String,
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
        api: String,
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
            api,
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

    /// For a shell.
    pub(crate) fn exports(&self) -> [String; 3] {
        [
            format!("export CLOUDFLARE_API_BASE_URL={}", self.api),
            format!("export CLOUDFLARE_ACCOUNT_ID={}", self.account),
            format!("export CLOUDFLARE_API_TOKEN={}", self.token),
        ]
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("keys/client.json")
}
