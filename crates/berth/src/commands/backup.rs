//! `berth backup`: of the server that is meant, or of a data directory whose server does not run.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use berth_api::Backup;
use berth_error::{Report, ResultExt as _};
use futures_util::StreamExt as _;
use http::Method;
use serde_json::json;

use crate::backup::{Guard, Options, stream};
use crate::cli::BackupArgs;
use crate::lock::Lock;
use crate::paths::Paths;
use crate::transfer::units::size;
use crate::{printer, remote};

pub(crate) async fn run(args: &BackupArgs, paths: &Paths) -> Result<ExitCode, Report> {
    // The lock is held as long as it takes: no server starts meanwhile.
    let (pieces, _lock) = begin(args, paths).await?;
    let to_output = args.file == Path::new("-");
    let written = match to_output {
        true => take(pieces, &mut std::io::stdout().lock()).await?,
        false => into_file(pieces, &args.file).await?,
    };
    if args.json && !to_output {
        return printer::json(&json!({
            "file": args.file, "bytes": written, "keys": args.keys, "images": !args.no_images,
        }));
    }
    printer::note(format!(
        "wrote {} to {}",
        size(written),
        args.file.display()
    ));
    printer::note(match args.keys {
        true => {
            "It holds the keys: whoever reads it can read every secret and change what is deployed"
        }
        false => {
            "It holds no keys: secrets in it can be read only with `keys/control.key` of the data \
             directory, which must be kept apart (`--keys` puts the keys in)"
        }
    });
    Ok(ExitCode::SUCCESS)
}

async fn begin(args: &BackupArgs, paths: &Paths) -> Result<(Backup, Option<Lock>), Report> {
    if !args.server.is_named() {
        let server = paths.data.join("server");
        if !server.is_dir() {
            return Err(Report::new(
                format!(
                    "no server was started with the data directory `{}`",
                    paths.data.display()
                ),
                Some("name its directory with `--data-dir`".to_owned()),
            ));
        }
        if let Some(lock) = Lock::take(&server.join("lock"))? {
            let options = Options {
                data: paths.data.clone(),
                keys: args.keys,
                images: !args.no_images,
            };
            // Nobody runs.
            let pieces = stream(options, |_| async { None::<Guard> }).await?;
            return Ok((pieces, Some(lock)));
        }
    }
    let client = remote::connect(&args.server, paths)?;
    let call = client
        .call(Method::GET, "berth/backup")
        .query("keys", args.keys)
        .query("images", !args.no_images);
    let response = call.stream().await?;
    let pieces = response.bytes_stream();
    let pieces = pieces.map(|piece| piece.map_err(std::io::Error::other));
    Ok((pieces.boxed(), None))
}

/// Under another name until it is whole.
async fn into_file(pieces: Backup, path: &Path) -> Result<u64, Report> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part);
    let mut file = file.context(format!("could not write `{}`", part.display()))?;
    let outcome = async {
        let written = take(pieces, &mut file).await?;
        file.sync_all().context("could not write the backup")?;
        std::fs::rename(part, path).context(format!("could not write `{}`", path.display()))?;
        Ok(written)
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        let _ = std::fs::remove_file(part);
    }
    outcome
}

async fn take(mut pieces: Backup, to: &mut impl Write) -> Result<u64, Report> {
    let mut written = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.context("the backup broke off")?;
        to.write_all(&piece).context("could not write the backup")?;
        written += piece.len() as u64;
    }
    to.flush().context("could not write the backup")?;
    Ok(written)
}
