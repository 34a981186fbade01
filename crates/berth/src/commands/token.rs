//! `berth token`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_client::{Client, segment};
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::versions::word;
use crate::cli::{TokenCommand, TokenScope};
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, remote};

pub(crate) async fn run(command: TokenCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        TokenCommand::Create {
            name,
            scope,
            expires,
            server,
            json,
        } => {
            let client = remote::connect(&server, paths)?;
            let expires = expires.as_deref().map(expiry).transpose()?;
            create(&client, &name, scope, expires, json).await
        }
        TokenCommand::List { server, json } => {
            let client = remote::connect(&server, paths)?;
            list(&client, json).await
        }
        TokenCommand::Revoke { id, server, json } => {
            let client = remote::connect(&server, paths)?;
            revoke(&client, &id, json).await
        }
    }
}

async fn create(
    client: &Client,
    name: &str,
    scope: TokenScope,
    expires: Option<String>,
    json: bool,
) -> Result<ExitCode, Report> {
    let scope = match scope {
        TokenScope::Read => "read",
        TokenScope::Deploy => "deploy",
        TokenScope::Admin => "admin",
    };
    let mut body = json!({"name": name, "scope": scope});
    if let Some(expires) = expires {
        body["expires_on"] = expires.into();
    }
    let call = client.at(Method::POST, "/user/tokens");
    let made: Value = call.json(&body).send().await?;
    if json {
        return printer::json(&made);
    }
    // The text alone on standard output, so that it can go into a file.
    printer::note(format!(
        "Token `{name}` ({scope}, id {}); this is shown only now:",
        word(&made["id"])
    ));
    printer::line(word(&made["value"]));
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, json: bool) -> Result<ExitCode, Report> {
    let tokens: Value = client.at(Method::GET, "/user/tokens").send().await?;
    if json {
        return printer::json(&tokens);
    }
    let heading = [
        "ID",
        "NAME",
        "SCOPE",
        "STATUS",
        "CREATED",
        "EXPIRES",
        "LAST USED",
    ];
    let mut table = Table::new(heading);
    let or = |value: &Value, otherwise: &str| match word(value) {
        text if text.is_empty() => otherwise.to_owned(),
        text => text,
    };
    for token in tokens.as_array().into_iter().flatten() {
        table.row([
            word(&token["id"]),
            word(&token["name"]),
            word(&token["scope"]),
            word(&token["status"]),
            word(&token["issued_on"]),
            or(&token["expires_on"], "when revoked"),
            or(&token["last_used_on"], "never"),
        ]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

async fn revoke(client: &Client, wanted: &str, json: bool) -> Result<ExitCode, Report> {
    let tokens: Value = client.at(Method::GET, "/user/tokens").send().await?;
    let tokens = tokens.as_array().into_iter().flatten();
    let found: Vec<&Value> = tokens
        .filter(|token| token["id"] == wanted || token["name"] == wanted)
        .collect();
    let by_id = found.iter().find(|token| token["id"] == wanted);
    let hint = Some("`berth token list` shows what there is".to_owned());
    let token = match (by_id, found.as_slice()) {
        (Some(token), _) | (None, [token]) => token,
        (None, []) => return Err(Report::new(format!("there is no token `{wanted}`"), hint)),
        (None, several) => {
            let text = format!("`{wanted}` means {} tokens", several.len());
            return Err(Report::new(text, hint).with_hint("name it by its id"));
        }
    };
    let id = token["id"].as_str().unwrap_or_default();
    let path = format!("/user/tokens/{}", segment(id));
    let _: Value = client.at(Method::DELETE, path).send().await?;
    if json {
        return printer::json(&json!({"id": id, "revoked": true}));
    }
    printer::line(format!("revoked `{}` ({id})", word(&token["name"])));
    Ok(ExitCode::SUCCESS)
}

/// A duration from now, or a point in time as it is: the server reads it.
fn expiry(text: &str) -> Result<String, Report> {
    let bad = || {
        Report::new(
            format!("`{text}` is not a time"),
            Some(
                "write `30d`, `12h`, or a point in time such as `2030-01-31T12:00:00Z`".to_owned(),
            ),
        )
    };
    let Some((unit, number)) = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| Some((unit, text[..at].parse::<u32>().ok()?)))
    else {
        return match text.contains('T') {
            true => Ok(text.to_owned()),
            false => Err(bad()),
        };
    };
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        _ => return Err(bad()),
    };
    let time = SystemTime::now() + Duration::from_secs(u64::from(number) * seconds);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Ok(berth_control::clock::of_unix_ms(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::expiry;

    #[test]
    fn an_expiry_is_a_duration_or_a_time() {
        assert!(expiry("30d").unwrap() > expiry("12h").unwrap());
        assert_eq!(
            expiry("2030-01-31T12:00:00Z").unwrap(),
            "2030-01-31T12:00:00Z"
        );
        for text in ["", "d", "tomorrow", "30", "3w", "-1d"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
