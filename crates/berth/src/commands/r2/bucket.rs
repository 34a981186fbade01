//! `berth r2 bucket`.

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use crate::cli::R2BucketCommand;
use crate::paths::Paths;
use crate::{answer, remote};

const BUCKETS: &str = "r2/buckets";

pub(super) async fn run(command: R2BucketCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        R2BucketCommand::Create {
            name,
            storage_class,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let mut new = json!({"name": name});
            if let Some(class) = storage_class {
                new["storageClass"] = class.into();
            }
            let call = client.call(Method::POST, BUCKETS).json(&new);
            let made: Value = call.send().await?;
            answer::done(&data, &made, || format!("made `{name}`"))
        }
        R2BucketCommand::List { data } => {
            let client = remote::connect(&data.server, paths)?;
            let found: Value = client.get(BUCKETS).await?;
            let all = found["buckets"].as_array().cloned().unwrap_or_default();
            answer::list(&data, all, ["NAME", "CREATED", "CLASS"], |one| {
                let field = |name: &str| answer::text(&one[name]);
                [
                    field("name"),
                    field("creation_date"),
                    field("storage_class"),
                ]
            })
        }
        R2BucketCommand::Info { bucket, data } => {
            let client = remote::connect(&data.server, paths)?;
            let path = format!("{BUCKETS}/{}", segment(&bucket));
            let mut found: Value = client.get(path.clone()).await?;
            let usage: Value = client.get(format!("{path}/usage")).await?;
            found["object_count"] = usage["objectCount"].clone();
            found["bucket_size"] = usage["payloadSize"].clone();
            let field = |name: &str| answer::text(&found[name]);
            let fields = [
                ("Name", field("name")),
                ("Created", field("creation_date")),
                ("Class", field("storage_class")),
                ("Objects", field("object_count")),
                ("Bytes", field("bucket_size")),
            ];
            answer::fields(&data, &found, fields)
        }
        R2BucketCommand::Delete { bucket, data } => {
            let client = remote::connect(&data.server, paths)?;
            let path = format!("{BUCKETS}/{}", segment(&bucket));
            let _: Value = client.call(Method::DELETE, path).send().await?;
            answer::done(&data, &json!({"name": bucket, "deleted": true}), || {
                format!("deleted `{bucket}`")
            })
        }
    }
}
