//! Google Artifact Registry: a service account's JSON key, in base64, is the password of the user
//! `_json_key_base64` (Artifact Registry documentation, "Configure authentication to Docker").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::CredentialError;

/// The user to whom the key is the password.
pub(super) const USERNAME: &str = "_json_key_base64";

/// The key in base64, from the JSON or from base64 of it; it must be the key of this account.
pub fn encode_key(given: &str, email: &str) -> Result<String, CredentialError> {
    let given = given.trim();
    if given.starts_with("-----BEGIN") {
        return Err(invalid(
            "this is a private key, not the key of a service account",
        ));
    }
    let (json, encoded) = match serde_json::from_str::<Value>(given) {
        Ok(json) => (json, STANDARD.encode(given)),
        Err(_) => {
            let encoded: String = given.split_whitespace().collect();
            let json = STANDARD
                .decode(&encoded)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .ok_or_else(|| invalid("this is neither JSON nor base64 of JSON"))?;
            (json, encoded)
        }
    };
    let field = |name: &str| {
        json[name]
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| invalid(&format!("the key has no `{name}`")))
    };
    field("private_key")?;
    let owner = field("client_email")?;
    if owner != email {
        return Err(CredentialError::Invalid {
            problem: format!("the key belongs to `{owner}`, not to `{email}`"),
            hint: Some("`--gar-email` must be the `client_email` of the key".to_owned()),
        });
    }
    Ok(encoded)
}

fn invalid(problem: &str) -> CredentialError {
    CredentialError::Invalid {
        problem: problem.to_owned(),
        hint: Some(
            "give the JSON key file of a Google service account: its path, its text, or base64 of it"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_in_both_forms_and_checked() {
        let json = r#"{"type":"service_account","private_key":"k","client_email":"a@b.iam"}"#;
        let encoded = encode_key(json, "a@b.iam").unwrap();
        assert_eq!(STANDARD.decode(&encoded).unwrap(), json.as_bytes());
        assert_eq!(encode_key(&encoded, "a@b.iam").unwrap(), encoded);
        for (key, expected) in [
            ("-----BEGIN PRIVATE KEY-----", "private key"),
            ("nonsense", "neither JSON nor base64"),
            (r#"{"client_email":"a@b.iam"}"#, "no `private_key`"),
            (r#"{"private_key":"k"}"#, "no `client_email`"),
            (
                r#"{"private_key":"k","client_email":"c"}"#,
                "belongs to `c`",
            ),
        ] {
            let error = encode_key(key, "a@b.iam").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
