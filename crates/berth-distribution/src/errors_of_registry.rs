//! The error bodies of registries: `{"errors":[{"code":…,"message":…}]}` (distribution
//! specification, "Error codes"), or whatever else a proxy in between says.

use serde::Deserialize;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<One>,
    /// Token servers and some registries answer like this.
    details: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Longest text that is shown of an answer.
const SHOWN: usize = 300;

/// What a registry says about its refusal, in one line; empty if it says nothing readable.
pub(crate) fn text(body: &[u8]) -> String {
    if let Ok(parsed) = serde_json::from_slice::<Body>(body) {
        let mut parts: Vec<String> = parsed
            .errors
            .iter()
            .map(|one| match (one.code.as_str(), one.message.as_str()) {
                (code, "") => code.to_owned(),
                ("", message) => message.to_owned(),
                (code, message) => format!("{message} ({code})"),
            })
            .collect();
        parts.extend(parsed.details);
        parts.extend(parsed.message);
        parts.retain(|part| !part.is_empty());
        return line(&parts.join("; "));
    }
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('<') {
        // A page for browsers.
        return String::new();
    }
    line(&text)
}

/// Printable, in one line, not endless: it goes to a terminal.
fn line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push('…');
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_printable_line() {
        let denied = br#"{"errors":[{"code":"DENIED","message":"access\u001b[31m denied"}]}"#;
        assert_eq!(text(denied), "access [31m denied (DENIED)");
        assert_eq!(
            text(br#"{"details":"incorrect username or password"}"#),
            "incorrect username or password"
        );
        assert_eq!(text(b"<html>502</html>"), "");
        assert_eq!(text(b"try\r\nlater\n"), "try  later");
        assert!(text(&[b'a'; 5000]).chars().count() <= SHOWN + 1);
    }
}
