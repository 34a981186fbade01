//! `WWW-Authenticate`: what a registry asks for (RFC 9110, 11.6.1; RFC 6750; the distribution
//! project's token specification).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
        /// `insufficient_scope`, `invalid_token`.
        error: Option<String>,
    },
}

impl Challenge {
    /// Whether the token that was sent has ended, or was never good.
    pub(crate) fn is_invalid_token(&self) -> bool {
        matches!(self, Self::Bearer { error: Some(error), .. } if error == "invalid_token")
    }
}

/// The challenge of an answer that is understood; a token is preferred to a password.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Challenge> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        for challenge in value.to_str().map(parse).unwrap_or_default() {
            match challenge {
                Challenge::Bearer { .. } => return Some(challenge),
                Challenge::Basic => found = Some(challenge),
            }
        }
    }
    found
}

/// All challenges of one header that are understood.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            // Nothing of a challenge: give up rather than guess.
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
                error: get("error"),
            });
        }
        rest = after;
    }
    challenges
}

/// `name=value, …` up to the next scheme; what follows it.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(rest);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            // A name without `=` is the next scheme.
            return (found, rest);
        };
        if name.is_empty() {
            return (found, "");
        }
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, after) = token(value);
                (value.to_owned(), after)
            }
        };
        found.push((name.to_owned(), value));
        rest = after;
    }
}

fn token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The rest of a quoted string, after its first quote.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: some(service),
            scope: some(scope),
            error: None,
        }
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        let cases = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/node:pull""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    "repository:library/node:pull",
                )],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            (
                r#"bearer  realm = "https://x/t" , scope="repository:a:pull,push repository:b:pull""#,
                vec![bearer(
                    "https://x/t",
                    "",
                    "repository:a:pull,push repository:b:pull",
                )],
            ),
            (
                r#"Negotiate, Basic realm="a, b", Bearer realm=https://x/t"#,
                vec![Challenge::Basic, bearer("https://x/t", "", "")],
            ),
            (r#"Bearer realm="a\"b\\c""#, vec![bearer("a\"b\\c", "", "")]),
            ("Bearer", vec![]),
            ("", vec![]),
            ("=,=", vec![]),
            (r#"Bearer realm="open"#, vec![bearer("open", "", "")]),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn the_error_of_a_token_is_kept() {
        let header = r#"Bearer realm="https://x/t",error="insufficient_scope""#;
        let [Challenge::Bearer { error, .. }] = &parse(header)[..] else {
            panic!("one challenge");
        };
        assert_eq!(error.as_deref(), Some("insufficient_scope"));
    }
}
