//! Credentials that say themselves what they allow: `v1` and a signed password.
//!
//! This is what wrangler gets from its credentials call, and what `berth registry credentials`
//! prints. Nothing is stored; a credential ends by its date, all of them with the key.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Actions, Authority, AuthorityError, Grant, Identity, Pattern, SigningKey, now};

/// The user name that wrangler always sends.
pub(crate) const USER: &str = "v1";

const PASSWORD: &str = "password";

/// What may be done without credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nothing.
    #[default]
    Nothing,
    /// Read everything.
    Read,
    /// Everything: no authentication at all.
    Everything,
}

/// The authority that needs only a key.
#[derive(Clone, Debug)]
pub struct SignedCredentials {
    key: SigningKey,
    anonymous: Anonymous,
}

#[derive(Serialize, Deserialize)]
struct Password {
    sub: String,
    /// In seconds since 1970; `None` never ends.
    exp: Option<u64>,
    grants: Vec<Grant>,
}

impl SignedCredentials {
    /// With this key.
    pub fn new(key: SigningKey, anonymous: Anonymous) -> Self {
        Self { key, anonymous }
    }

    /// The name that goes with every password.
    pub fn user() -> &'static str {
        USER
    }

    /// A password for somebody, valid for `seconds`, or for as long as the key.
    pub fn issue(&self, identity: &Identity, seconds: Option<u64>) -> String {
        let password = Password {
            sub: identity.name.clone(),
            exp: seconds.map(|seconds| now().saturating_add(seconds)),
            grants: identity.grants.clone(),
        };
        self.key.sign(PASSWORD, &password)
    }
}

#[async_trait]
impl Authority for SignedCredentials {
    async fn authenticate(
        &self,
        _user: &str,
        password: &str,
    ) -> Result<Option<Identity>, AuthorityError> {
        let password: Option<Password> = self.key.verify(PASSWORD, password);
        let valid = password.filter(|password| password.exp.is_none_or(|exp| exp > now()));
        Ok(valid.map(|password| Identity {
            name: password.sub,
            grants: password.grants,
        }))
    }

    fn anonymous(&self) -> Option<Identity> {
        let actions = match self.anonymous {
            Anonymous::Nothing => return None,
            Anonymous::Read => Actions::PULL,
            Anonymous::Everything => Actions::ALL,
        };
        Some(Identity {
            name: "anonymous".to_owned(),
            grants: vec![Grant {
                repositories: Pattern::all(),
                actions,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::{Claims, Tokens};
    use super::*;

    fn key() -> SigningKey {
        SigningKey::new(&SigningKey::generate().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_taken_until_its_date_and_only_with_its_key() {
        let authority = SignedCredentials::new(key(), Anonymous::Nothing);
        let identity = Identity {
            name: "ci".into(),
            grants: vec![Grant {
                repositories: Pattern::all(),
                actions: Actions::PULL,
            }],
        };
        for (seconds, valid) in [(Some(60), true), (None, true), (Some(0), false)] {
            let password = authority.issue(&identity, seconds);
            let found = authority.authenticate(USER, &password).await.unwrap();
            assert_eq!(found, valid.then(|| identity.clone()), "{seconds:?}");
        }
        let password = authority.issue(&identity, None);
        let other = SignedCredentials::new(key(), Anonymous::Nothing);
        assert_eq!(other.authenticate(USER, &password).await.unwrap(), None);
        for changed in [
            password.replace('.', ""),
            format!("x{password}"),
            password[..password.len() - 1].to_owned(),
            String::new(),
            ".".to_owned(),
        ] {
            let found = authority.authenticate(USER, &changed).await.unwrap();
            assert_eq!(found, None, "{changed}");
        }
    }

    #[tokio::test]
    async fn a_token_is_no_password_and_belongs_to_its_service() {
        let key = key();
        let authority = SignedCredentials::new(key.clone(), Anonymous::Nothing);
        let tokens = Tokens::new(key.clone(), "a");
        let claims = Claims {
            sub: "x".into(),
            exp: now() + 60,
            aud: "a".into(),
            grants: Vec::new(),
            catalog: None,
            denied: Vec::new(),
        };
        let token = tokens.issue(&claims);
        assert_eq!(tokens.check(&token), Some(claims.clone()));
        assert_eq!(authority.authenticate(USER, &token).await.unwrap(), None);
        assert_eq!(Tokens::new(key, "b").check(&token), None);
        let expired = Claims {
            exp: now(),
            ..claims
        };
        assert_eq!(tokens.check(&tokens.issue(&expired)), None);
    }
}
