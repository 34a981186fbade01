//! `berth r2 keys`: access keys of S3 clients.

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;
use clap::ValueEnum as _;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{R2KeysCommand, R2KeysCreateArgs, R2KeysDeleteArgs, R2KeysListArgs};
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, remote};

pub(super) async fn run(command: R2KeysCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        R2KeysCommand::Create(args) => create(&args, paths).await,
        R2KeysCommand::List(args) => list(&args, paths).await,
        R2KeysCommand::Delete(args) => delete(&args, paths).await,
    }
}

async fn create(args: &R2KeysCreateArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let permission = args.permission.to_possible_value();
    let mut new = json!({
        "name": args.name,
        "permission": permission.as_ref().map(clap::builder::PossibleValue::get_name),
    });
    if !args.buckets.is_empty() {
        new["buckets"] = args.buckets.clone().into();
    }
    let call = client.call(Method::POST, "r2/keys").json(&new);
    let made: Value = call.send().await?;
    if args.json {
        return printer::json(&made);
    }
    let word = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    printer::line(format!("export AWS_ACCESS_KEY_ID={}", word("accessKeyId")));
    printer::line(format!(
        "export AWS_SECRET_ACCESS_KEY={}",
        word("secretAccessKey")
    ));
    printer::line("export AWS_DEFAULT_REGION=auto");
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &R2KeysListArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let keys: Value = client.get("r2/keys").await?;
    if args.json {
        return printer::json(&keys);
    }
    let mut table = Table::new(["ID", "NAME", "PERMISSION", "BUCKETS", "CREATED"]);
    for key in keys.as_array().into_iter().flatten() {
        let word = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
        let buckets = key["buckets"].as_array().map(|buckets| {
            let names = buckets.iter().filter_map(Value::as_str);
            names.collect::<Vec<_>>().join(",")
        });
        table.row([
            word("id"),
            word("name"),
            word("permission"),
            buckets.unwrap_or_else(|| "all".to_owned()),
            word("created_on"),
        ]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

async fn delete(args: &R2KeysDeleteArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let path = format!("r2/keys/{}", segment(&args.id));
    let _: Value = client.call(Method::DELETE, path).send().await?;
    Ok(ExitCode::SUCCESS)
}
