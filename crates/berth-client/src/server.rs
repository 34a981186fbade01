//! Which server is meant: that of the flags, else of the environment (the variables that wrangler
//! reads), else the one of this machine's data directory.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ClientError;

/// Where Berth and Cloudflare have the API.
const API_PATH: &str = "/client/v4";

/// A server and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Base of every path, such as `http://127.0.0.1:8081/client/v4`; no slash at the end.
    pub api: String,
    /// The account, if it is known without asking.
    pub account: Option<String>,
    /// Shown with every call.
    pub token: String,
    /// The server's own registry, where it is known: `host:port`.
    pub registry: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("api", &self.api)
            .field("account", &self.account)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// What `berth serve` leaves in `keys/client.json` of its data directory.
#[derive(Clone, Deserialize, Serialize)]
pub struct LocalServer {
    /// `CLOUDFLARE_API_BASE_URL`.
    pub api: String,
    /// `CLOUDFLARE_CONTAINER_REGISTRY`.
    pub registry: String,
    /// `CLOUDFLARE_ACCOUNT_ID`.
    pub account: String,
    /// `CLOUDFLARE_API_TOKEN`.
    pub token: String,
}

impl LocalServer {
    /// Where it is left.
    pub fn path(data: &Path) -> PathBuf {
        data.join("keys/client.json")
    }

    /// What the server of a data directory has left; `None` if none was ever started there.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn read(data: &Path) -> Result<Option<Self>, ClientError> {
        let path = Self::path(data);
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ClientError::File { path, source }),
        };
        let parsed = serde_json::from_slice(&text);
        parsed
            .map(Some)
            .map_err(|source| ClientError::Content { path, source })
    }
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `--server`.
    pub server: Option<String>,
    /// `--token`.
    pub token: Option<String>,
}

impl Choice {
    /// Whether flags or environment name a server.
    pub fn is_made(&self) -> bool {
        self.server.is_some() || variable("CLOUDFLARE_API_BASE_URL").is_some()
    }

    /// The server that is meant.
    ///
    /// # Errors
    /// None is named and none is on this machine, or it is not known with which token.
    pub fn find(&self, data: &Path) -> Result<Server, ClientError> {
        self.find_in(data, &variable)
    }

    fn find_in(
        &self,
        data: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Server, ClientError> {
        let (named, by_flag) = match &self.server {
            Some(server) => (Some(server.clone()), true),
            None => (variable("CLOUDFLARE_API_BASE_URL"), false),
        };
        let token = self
            .token
            .clone()
            .or_else(|| variable("CLOUDFLARE_API_TOKEN"));
        let Some(named) = named else {
            let local = LocalServer::read(data)?;
            let local = local.ok_or_else(|| ClientError::NoServer {
                data: data.to_owned(),
            })?;
            // A token in the environment without a server is for another one.
            let token = self.token.clone().unwrap_or(local.token);
            return Ok(Server {
                api: base(&local.api)?,
                account: Some(local.account),
                token,
                registry: Some(local.registry),
            });
        };
        let api = base(&named)?;
        // The one of this machine needs no token: who can read the file may use it.
        let local = LocalServer::read(data).ok().flatten();
        let local = local.filter(|local| base(&local.api).is_ok_and(|base| base == api));
        let token = token.or_else(|| local.as_ref().map(|local| local.token.clone()));
        let account = variable("CLOUDFLARE_ACCOUNT_ID").filter(|_| !by_flag);
        Ok(Server {
            account: local.as_ref().map(|it| it.account.clone()).or(account),
            token: token.ok_or_else(|| ClientError::NoToken { api: api.clone() })?,
            registry: match local {
                Some(local) => Some(local.registry),
                None => variable("CLOUDFLARE_CONTAINER_REGISTRY").filter(|_| !by_flag),
            },
            api,
        })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The address as paths are appended to it. A bare host gets the usual path.
fn base(text: &str) -> Result<String, ClientError> {
    let bad = |problem: &str| ClientError::Address {
        text: text.to_owned(),
        problem: problem.to_owned(),
    };
    let url = reqwest::Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it is not of the form http://host:port"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(bad("it has more than host, port and path"));
    }
    let trimmed = text.trim_end_matches('/');
    Ok(match url.path() {
        "" | "/" => format!("{trimmed}{API_PATH}"),
        _ => trimmed.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(data: &Path) {
        fs_err::create_dir_all(data.join("keys")).unwrap();
        let text = r#"{"api": "http://127.0.0.1:8081/client/v4", "registry": "127.0.0.1:8082",
            "docker": "/d", "account": "acc", "token": "own"}"#;
        fs_err::write(LocalServer::path(data), text).unwrap();
    }

    fn find(
        data: &Path,
        server: Option<&str>,
        token: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Server, ClientError> {
        let choice = Choice {
            server: server.map(str::to_owned),
            token: token.map(str::to_owned),
        };
        choice.find_in(data, &|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_this_machine() {
        let data = tempfile::tempdir().unwrap();
        let variables = [
            ("CLOUDFLARE_API_BASE_URL", "https://there.test/client/v4/"),
            ("CLOUDFLARE_API_TOKEN", "theirs"),
            ("CLOUDFLARE_ACCOUNT_ID", "id"),
        ];
        assert!(matches!(
            find(data.path(), None, None, &[]),
            Err(ClientError::NoServer { .. })
        ));
        local(data.path());
        let own = find(data.path(), None, None, &variables[1..]).unwrap();
        assert_eq!(own.api, "http://127.0.0.1:8081/client/v4");
        assert_eq!(
            (own.token.as_str(), own.account.as_deref()),
            ("own", Some("acc"))
        );
        let theirs = find(data.path(), None, None, &variables).unwrap();
        assert_eq!(theirs.api, "https://there.test/client/v4");
        assert_eq!(
            (theirs.token.as_str(), theirs.account.as_deref()),
            ("theirs", Some("id"))
        );
        let flag = find(
            data.path(),
            Some("http://flag.test:1"),
            Some("t"),
            &variables,
        )
        .unwrap();
        assert_eq!(
            (flag.api.as_str(), flag.token.as_str()),
            ("http://flag.test:1/client/v4", "t")
        );
        assert_eq!(flag.account, None, "that of another server");
        let same = find(data.path(), Some("http://127.0.0.1:8081"), None, &[]).unwrap();
        assert_eq!(same.token, "own");
        assert!(matches!(
            find(data.path(), Some("http://flag.test"), None, &[]),
            Err(ClientError::NoToken { .. })
        ));
        assert!(!format!("{own:?}").contains("own\""), "{own:?}");
    }

    #[test]
    fn what_is_no_address_is_said() {
        for text in ["host", "ftp://host", "http://u@host", "http://host/?a", ""] {
            assert!(
                matches!(base(text), Err(ClientError::Address { .. })),
                "{text}"
            );
        }
    }
}
