//! `pull`, `push` and `manifest inspect`: the registry is asked from this process, over the engine's
//! store.

use std::path::Path;
use std::process::ExitCode;

use berth_distribution::Client;
use berth_docker::client::ClientError;
use berth_error::Report;
use berth_image::Reference;
use serde_json::{Value, json};

use super::args::{ManifestInspectArgs, PullArgs, PushArgs};
use super::{Target, refused};
use crate::host::open_store;
use crate::paths::Paths;
use crate::transfer::{Failure, Mode, Transfer};
use crate::{base, printer};

/// The sidecar is no image, and so it is there under whatever name. Other images are asked for at
/// their registry; if that is out of reach, what is here does.
pub(super) async fn pull(target: &Target, args: &PullArgs) -> Result<ExitCode, Report> {
    let reference: Reference = args.reference.parse()?;
    let known = match target.client.image(&args.reference).await {
        Ok(document) => Some(document),
        Err(ClientError::Refused { status: 404, .. }) => None,
        Err(error) => return Err(refused(error)),
    };
    if known.as_ref().is_some_and(is_sidecar) || is_named_sidecar(&args.reference) {
        printer::line(&args.reference);
        return Ok(ExitCode::SUCCESS);
    }
    let data = target.data_dir().await?;
    let store = open_store(&data)?;
    let mode = Mode::of(false, args.quiet);
    let transfer =
        Transfer::new(&data, &store, mode)?.with_docker_config(target.config.as_deref())?;
    let note = |message: String| {
        if !args.quiet {
            printer::note(message);
        }
    };
    match transfer.pull(&reference, args.platform.as_deref()).await {
        Ok(Some(pulled)) => note(format!("Digest: {}", pulled.digest)),
        Ok(None) => return Ok(ExitCode::from(130)),
        Err(Failure::Unreachable(report)) if known.is_some() => {
            let cause = report.chain().join(": ");
            note(format!("{cause}; what is on this machine is used"));
        }
        Err(Failure::Unreachable(_)) => {
            base::provide(&store, &args.reference, "", &note).await?;
        }
        Err(Failure::Other(report)) => return Err(report),
    }
    printer::line(&args.reference);
    Ok(ExitCode::SUCCESS)
}

fn is_sidecar(document: &Value) -> bool {
    let id = document["Id"].as_str().unwrap_or_default();
    id.strip_prefix("sha256:")
        .is_some_and(|hex| hex.bytes().all(|byte| byte == b'0'))
}

/// miniflare takes another sidecar image from this variable.
fn is_named_sidecar(reference: &str) -> bool {
    std::env::var("MINIFLARE_CONTAINER_EGRESS_IMAGE").is_ok_and(|named| named == reference)
}

pub(super) async fn push(target: &Target, args: &PushArgs) -> Result<ExitCode, Report> {
    let data = target.data_dir().await?;
    let store = open_store(&data)?;
    let transfer = Transfer::new(&data, &store, Mode::of(false, args.quiet))?
        .with_docker_config(target.config.as_deref())?;
    transfer.push_named(&args.reference, None).await
}

/// As `docker manifest inspect`: the document, or with `--verbose` where it is and what it says.
pub(super) async fn manifest(
    args: &ManifestInspectArgs,
    config: Option<&Path>,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let reference: Reference = args.reference.parse()?;
    let client = Client::open(&paths.data, config)?;
    let found = client.manifest(&reference).await?;
    let document: Value = serde_json::from_slice(&found.bytes).unwrap_or_default();
    if !args.verbose {
        printer::line(format!("{document:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let name = |digest: &str| format!("{}/{}@{digest}", reference.host(), reference.repository());
    let shown = match document["manifests"].as_array() {
        Some(members) => members
            .iter()
            .map(|member| {
                json!({
                    "Ref": name(member["digest"].as_str().unwrap_or_default()),
                    "Descriptor": member,
                })
            })
            .collect::<Vec<_>>()
            .into(),
        None => json!({
            "Ref": reference.canonical(),
            "Descriptor": {
                "mediaType": found.media_type,
                "digest": found.digest,
                "size": found.bytes.len(),
            },
            "Manifest": document,
        }),
    };
    printer::line(format!("{shown:#}"));
    Ok(ExitCode::SUCCESS)
}
