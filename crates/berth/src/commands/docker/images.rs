//! `images`, `image inspect`, `tag`, `rmi`, `load`.

use std::process::ExitCode;

use berth_docker::client::ClientError;
use berth_error::{Report, ResultExt as _};
use serde_json::{Value, json};

use super::args::{ImagesArgs, InspectArgs, LoadArgs, RmiArgs, TagArgs};
use super::{Target, filters, print_documents, print_rows, refused};
use crate::host::open_store;
use crate::printer;
use crate::table::Table;

/// Digits of an id that listings show.
const SHORT_ID: usize = 12;

pub(super) async fn list(target: &Target, args: &ImagesArgs) -> Result<ExitCode, Report> {
    let mut filter = args.filter.clone();
    filter.extend(
        args.reference
            .iter()
            .map(|name| format!("reference={name}")),
    );
    let images = target
        .client
        .images(&filters(&filter)?)
        .await
        .map_err(refused)?;
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|image| rows(image, args.no_trunc))
        .collect();
    let cell = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    if args.quiet {
        let mut ids: Vec<String> = rows.iter().map(|row| cell(row, "ID")).collect();
        ids.dedup();
        ids.iter().for_each(printer::line);
    } else if let Some(format) = &args.format {
        print_rows(&rows, format)?;
    } else {
        let mut table = Table::new(["REPOSITORY", "TAG", "IMAGE ID", "SIZE"]);
        for row in &rows {
            table.row(["Repository", "Tag", "ID", "Size"].map(|key| cell(row, key)));
        }
        printer::line(table.render());
    }
    Ok(ExitCode::SUCCESS)
}

/// One row for each name of an image.
fn rows(image: &Value, whole_ids: bool) -> Vec<Value> {
    let id = image["Id"].as_str().unwrap_or_default();
    let shown = if whole_ids {
        id.to_owned()
    } else {
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        hex.chars().take(SHORT_ID).collect()
    };
    let names = |key: &str| image[key].as_array().cloned().unwrap_or_default();
    let row = |repository: &str, tag: &str, digest: &str| {
        json!({
            "ID": shown,
            "Repository": repository,
            "Tag": tag,
            "Digest": digest,
            "Size": megabytes(image["Size"].as_u64().unwrap_or_default()),
        })
    };
    let tags = names("RepoTags");
    let mut rows: Vec<Value> = tags
        .iter()
        .filter_map(Value::as_str)
        .map(|name| {
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
            row(repository, tag, "<none>")
        })
        .collect();
    if rows.is_empty() {
        // It was asked for by its digest.
        let digests = names("RepoDigests");
        let named = digests
            .iter()
            .filter_map(|name| name.as_str()?.split_once('@'));
        rows.extend(named.map(|(repository, digest)| row(repository, "<none>", digest)));
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1}MB", bytes as f64 / 1e6)
}

pub(super) async fn inspect(target: &Target, args: &InspectArgs) -> Result<ExitCode, Report> {
    let mut documents = Vec::new();
    for name in &args.names {
        documents.push(target.client.image(name).await.map_err(refused)?);
    }
    print_documents(&documents, args.format.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn tag(target: &Target, args: &TagArgs) -> Result<ExitCode, Report> {
    let tagged = target.client.tag(&args.source, &args.target).await;
    tagged.map_err(refused)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(target: &Target, args: &RmiArgs) -> Result<ExitCode, Report> {
    for name in &args.names {
        match target.client.remove_image(name).await {
            Ok(steps) => {
                for step in steps {
                    for what in ["Untagged", "Deleted"] {
                        if let Some(which) = step[what].as_str() {
                            printer::line(format!("{what}: {which}"));
                        }
                    }
                }
            }
            Err(ClientError::Refused { status: 404, .. }) if args.force => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn load(target: &Target, args: &LoadArgs) -> Result<ExitCode, Report> {
    let store = open_store(&target.data_dir().await?)?;
    let images = match &args.input {
        Some(path) => store.import_archive(path, None)?,
        None => {
            let mut file = tempfile_in(&store)?;
            std::io::copy(&mut std::io::stdin(), &mut file)
                .context("could not read the archive from standard input")?;
            store.import_archive(file.path(), None)?
        }
    };
    let named = store.list()?;
    for image in images {
        for name in named.iter().filter(|named| named.id == image.id) {
            printer::line(format!("Loaded image: {}", name.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tempfile_in(store: &berth_image::ImageStore) -> Result<tempfile::NamedTempFile, Report> {
    tempfile::NamedTempFile::new_in(store.scratch_dir()).context("could not keep the archive")
}
