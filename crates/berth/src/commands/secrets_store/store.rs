//! `berth secrets-store store`.

use std::process::ExitCode;

use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::{STORES, path};
use crate::cli::StoreCommand;
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn run(command: StoreCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        StoreCommand::Create { name, data } => {
            let client = remote::connect(&data.server, paths)?;
            let call = client.call(Method::POST, STORES);
            let made: Value = call.json(&json!({"name": name})).send().await?;
            answer::done(&data, &made, || {
                format!("made `{name}` ({})", answer::text(&made["id"]))
            })
        }
        StoreCommand::List { data } => {
            let client = remote::connect(&data.server, paths)?;
            let all = answer::pages(&client, STORES).await?;
            answer::list(&data, all, ["ID", "NAME", "CREATED"], |one| {
                let field = |name: &str| answer::text(&one[name]);
                [field("id"), field("name"), field("created")]
            })
        }
        StoreCommand::Delete {
            store_id,
            sure,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let doomed = answer::Doomed {
                path: path(&store_id, ""),
                what: format!("the store {store_id} with its secrets"),
                named: ("id", &store_id),
            };
            answer::delete(&client, doomed, &sure, &data).await
        }
    }
}
