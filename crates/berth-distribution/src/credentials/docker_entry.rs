//! Credentials of one registry as Docker writes them: an entry of `auths` in `config.json`, and the
//! `X-Registry-Auth` header and `POST /auth` of its API.
//!
//! Sources: docker/cli, `cli/config/types` (`AuthConfig`); moby, `api/types/registry`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value};

use super::docker_config::host_of;
use super::{Credential, CredentialError, Secret};

/// What is wrong with an entry: the field, and the end of a sentence about it.
pub(super) type Wrong = (&'static str, &'static str);

/// The secret of an entry; `None`: it has none.
pub(super) fn secret(entry: &Map<String, Value>) -> Result<Option<Secret>, Wrong> {
    let text = |name: &'static str| match entry.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err((name, "must be a text")),
    };
    if let Some(token) = text("identitytoken")? {
        return Ok(Some(Secret::Identity(token)));
    }
    if let Some(token) = text("registrytoken")? {
        return Ok(Some(Secret::Token(token)));
    }
    if let Some(auth) = text("auth")? {
        let wrong = ("auth", "is not base64 of `<user>:<password>`");
        let (username, password) = decode(&auth).ok_or(wrong)?;
        return Ok(Some(Secret::Password { username, password }));
    }
    let both = text("username")?.zip(text("password")?);
    Ok(both.map(|(username, password)| Secret::Password { username, password }))
}

fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    // Docker writes a trailing NUL in some versions.
    Some((
        username.to_owned(),
        password.trim_end_matches('\0').to_owned(),
    ))
}

impl Credential {
    /// The credentials of an `X-Registry-Auth` header; `None`: it has none in it.
    ///
    /// # Errors
    /// It is not base64 of a JSON object as Docker's clients send it.
    pub fn of_docker_header(header: &str) -> Result<Option<Self>, CredentialError> {
        let bytes = URL_SAFE.decode(header.trim());
        let Ok(bytes) = bytes.or_else(|_| STANDARD.decode(header.trim())) else {
            return Err(invalid("`X-Registry-Auth` is not base64".to_owned()));
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        Self::of_docker_entry("X-Registry-Auth", &bytes).map(|(credential, _)| credential)
    }

    /// The credentials of a JSON object as `POST /auth` of Docker's API takes it, and the registry (as
    /// image names have it) that it says they are for.
    ///
    /// # Errors
    /// It is not such an object. `what` names it.
    pub fn of_docker_entry(
        what: &str,
        json: &[u8],
    ) -> Result<(Option<Self>, Option<String>), CredentialError> {
        let Ok(Value::Object(entry)) = serde_json::from_slice(json) else {
            return Err(invalid(format!("`{what}` is not a JSON object")));
        };
        let wrong = |(field, problem): Wrong| invalid(format!("`{field}` of `{what}` {problem}"));
        let secret = secret(&entry).map_err(wrong)?;
        let server = match entry.get("serveraddress") {
            None | Some(Value::Null) => None,
            Some(Value::String(server)) => Some(host_of(server).to_owned()),
            Some(_) => return Err(wrong(("serveraddress", "must be a text"))),
        };
        let credential = secret.map(|secret| Self {
            secret,
            source: "the request".to_owned(),
            expires: None,
        });
        Ok((credential, server.filter(|server| !server.is_empty())))
    }
}

fn invalid(problem: String) -> CredentialError {
    CredentialError::Invalid {
        problem,
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_header_is_read_as_clients_write_it() {
        let read = |value: &Value| {
            let header = URL_SAFE.encode(value.to_string());
            Credential::of_docker_header(&header).map_err(|error| error.to_string())
        };
        let found = read(&json!({"username": "me", "password": "??>>", "serveraddress": "x"}));
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.username(), found.reveal_password()),
            (Some("me"), Some("??>>"))
        );
        let found = read(&json!({"auth": STANDARD.encode("me:a:b")}))
            .unwrap()
            .unwrap();
        assert_eq!(found.reveal_password(), Some("a:b"));
        let found = read(&json!({"identitytoken": "x", "username": ""}))
            .unwrap()
            .unwrap();
        assert!(matches!(found.secret, Secret::Identity(token) if token == "x"));
        assert!(read(&json!({})).unwrap().is_none());
        assert!(Credential::of_docker_header("").unwrap().is_none());
        assert_eq!(
            read(&json!({"username": 1})).unwrap_err(),
            "`username` of `X-Registry-Auth` must be a text"
        );
        assert!(read(&json!([])).unwrap_err().contains("not a JSON object"));
        let error = Credential::of_docker_header("*").unwrap_err().to_string();
        assert!(error.contains("not base64"), "{error}");
    }

    #[test]
    fn a_login_says_which_registry_it_is_for() {
        let server = |server: &str| {
            let entry = json!({"username": "a", "password": "b", "serveraddress": server});
            Credential::of_docker_entry("it", entry.to_string().as_bytes())
                .unwrap()
                .1
        };
        assert_eq!(
            server("https://index.docker.io/v1/").as_deref(),
            Some("docker.io")
        );
        assert_eq!(server("[::1]:5000").as_deref(), Some("[::1]:5000"));
        assert_eq!(server(""), None);
    }
}
