//! Docker's `config.json`: `auths`, `credsStore`, `credHelpers`, identity tokens.
//!
//! Sources: docker/cli, `cli/config/configfile` (file and keys), docker-credential-helpers (protocol).
//! The file belongs to the user and to Docker: what we do not know in it stays as it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::helper::Helper;
use super::{Credential, CredentialError, Secret, docker_entry};
use crate::endpoint::HUB;
use crate::json_file::{self, FileError};

/// What Docker calls Docker Hub in this file.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// User name with which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// One `config.json`, which need not exist.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    path: PathBuf,
}

/// The name of a registry in `config.json` and to credential helpers.
pub fn server_key(host: &str) -> &str {
    if host == HUB { HUB_KEY } else { host }
}

impl DockerConfig {
    /// That of `DOCKER_CONFIG`, or of the home directory; `None`: there is no home.
    pub fn of_user() -> Option<Self> {
        let given = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let directory = match given("DOCKER_CONFIG") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(given("HOME")?).join(".docker"),
        };
        Some(Self::in_directory(&directory))
    }

    /// That of a directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            path: directory.join("config.json"),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credentials for a registry.
    pub async fn find(
        &self,
        host: &str,
        timeout: Duration,
    ) -> Result<Option<Credential>, CredentialError> {
        let fields = self.read()?;
        if let Some(name) = self.helper_name(&fields, host)? {
            let helper = self.helper(&name, timeout);
            return helper.get(server_key(host)).await;
        }
        self.plain(&fields, host)
    }

    /// Keeps credentials where Docker would: with the helper that is configured, or in the file.
    pub async fn store(
        &self,
        host: &str,
        username: &str,
        password: &str,
        timeout: Duration,
    ) -> Result<(), CredentialError> {
        let mut fields = self.read()?;
        let entry = match self.helper_name(&fields, host)? {
            Some(name) => {
                let helper = self.helper(&name, timeout);
                helper.store(server_key(host), username, password).await?;
                json!({})
            }
            None => json!({ "auth": STANDARD.encode(format!("{username}:{password}")) }),
        };
        let auths = fields
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(auths) = auths.as_object_mut() else {
            return Err(self.wrong("auths", "must be an object"));
        };
        auths.retain(|key, _| host_of(key) != host);
        auths.insert(server_key(host).to_owned(), entry);
        self.write(&fields)
    }

    /// Forgets the credentials of a registry; whether there were any.
    pub async fn erase(&self, host: &str, timeout: Duration) -> Result<bool, CredentialError> {
        let mut fields = self.read()?;
        let mut known = false;
        if let Some(name) = self.helper_name(&fields, host)? {
            let helper = self.helper(&name, timeout);
            if helper.get(server_key(host)).await?.is_some() {
                helper.erase(server_key(host)).await?;
                known = true;
            }
        }
        if let Some(auths) = fields.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| host_of(key) != host);
            if auths.len() != before {
                known = true;
                self.write(&fields)?;
            }
        }
        Ok(known)
    }

    /// Whether passwords of this registry are kept by a helper, and not in the file.
    pub fn has_helper(&self, host: &str) -> Result<bool, CredentialError> {
        Ok(self.helper_name(&self.read()?, host)?.is_some())
    }

    fn helper(&self, name: &str, timeout: Duration) -> Helper {
        Helper::new(name, timeout, &self.path)
    }

    fn helper_name(
        &self,
        fields: &Map<String, Value>,
        host: &str,
    ) -> Result<Option<String>, CredentialError> {
        let mut found = None;
        if let Some(value) = fields.get("credsStore") {
            found = Some(("credsStore".to_owned(), value));
        }
        if let Some(helpers) = fields.get("credHelpers") {
            let helpers = helpers
                .as_object()
                .ok_or_else(|| self.wrong("credHelpers", "must be an object"))?;
            if let Some((key, value)) = helpers.iter().find(|(key, _)| host_of(key) == host) {
                found = Some((format!("credHelpers.{key}"), value));
            }
        }
        let Some((field, value)) = found else {
            return Ok(None);
        };
        let name = value
            .as_str()
            .ok_or_else(|| self.wrong(&field, "must be a text"))?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !name.bytes().all(allowed) {
            let problem = "must be the end of a program's name, `docker-credential-<name>`";
            return Err(self.wrong(&field, problem));
        }
        Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
    }

    /// From `auths`.
    fn plain(
        &self,
        fields: &Map<String, Value>,
        host: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let Some(auths) = fields.get("auths") else {
            return Ok(None);
        };
        let auths = auths
            .as_object()
            .ok_or_else(|| self.wrong("auths", "must be an object"))?;
        let exact = auths.get_key_value(server_key(host));
        let Some((key, entry)) =
            exact.or_else(|| auths.iter().find(|(key, _)| host_of(key) == host))
        else {
            return Ok(None);
        };
        let field = format!("auths.{key}");
        let entry = entry
            .as_object()
            .ok_or_else(|| self.wrong(&field, "must be an object"))?;
        let secret = docker_entry::secret(entry)
            .map_err(|(name, problem)| self.wrong(&format!("{field}.{name}"), problem))?;
        let Some(secret) = secret else {
            return Ok(None);
        };
        Ok(Some(Credential {
            secret,
            source: format!("`{}`", self.path.display()),
            expires: None,
        }))
    }

    fn read(&self) -> Result<Map<String, Value>, CredentialError> {
        let bytes = json_file::read(&self.path)?.unwrap_or_default();
        if bytes.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        match json_file::parse(&self.path, &bytes)? {
            Value::Object(fields) => Ok(fields),
            _ => Err(self.wrong("the whole file", "must be an object")),
        }
    }

    /// Replaces the file as a whole; only its owner may read it. A link is followed, not replaced.
    fn write(&self, fields: &Map<String, Value>) -> Result<(), CredentialError> {
        let path = fs_err::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let text = format!("{:#}\n", Value::Object(fields.clone()));
        Ok(json_file::replace(&path, text.as_bytes())?)
    }

    fn wrong(&self, field: &str, problem: &str) -> CredentialError {
        FileError::field(&self.path, field, problem).into()
    }
}

/// What a helper answered.
pub(super) fn from_helper(username: String, secret: String, program: &str) -> Credential {
    let source = format!("the credential helper `{program}`");
    if username == TOKEN_USER {
        return Credential {
            secret: Secret::Identity(secret),
            source,
            expires: None,
        };
    }
    Credential::password(username, secret, source)
}

/// The host that a key means: old keys are URLs.
pub(super) fn host_of(key: &str) -> &str {
    if key == HUB_KEY || key == "index.docker.io" {
        return HUB;
    }
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let host = rest.split('/').next().unwrap_or(rest);
    if host == "index.docker.io" { HUB } else { host }
}

#[cfg(test)]
mod tests;
