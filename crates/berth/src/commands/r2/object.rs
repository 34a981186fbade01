//! `berth r2 object`. Objects pass through, however large they are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_client::{Body, Call, Response, segment};
use berth_error::{Report, ResultExt as _};
use http::Method;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
    HeaderName, HeaderValue,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::cli::{R2About, R2ObjectCommand};
use crate::paths::Paths;
use crate::{answer, printer, remote};

/// What is known of a kind that nobody says.
const BYTES: &str = "application/octet-stream";

pub(super) async fn run(command: R2ObjectCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        R2ObjectCommand::Get {
            object_path,
            file,
            pipe,
            server,
        } => {
            let (bucket, key) = split(&object_path)?;
            let client = remote::connect(&server, paths)?;
            let call = client.call(Method::GET, path(bucket, key));
            let response = call.stream().await;
            let response = response.context(format!("could not read `{object_path}`"))?;
            if pipe {
                copy(response, tokio::io::stdout()).await?;
                return Ok(ExitCode::SUCCESS);
            }
            let file = match file {
                Some(file) => file,
                None => PathBuf::from(key.rsplit('/').next().unwrap_or(key)),
            };
            save(response, &file).await?;
            printer::note(format!("wrote `{}`", file.display()));
            Ok(ExitCode::SUCCESS)
        }
        R2ObjectCommand::Put {
            object_path,
            file,
            pipe: _,
            about,
            data,
        } => {
            let (bucket, key) = split(&object_path)?;
            let body = body(file.as_deref()).await?;
            let client = remote::connect(&data.server, paths)?;
            let call = client.call(Method::PUT, path(bucket, key)).body(body);
            let written: Value = described(call, &about)?.send().await?;
            answer::done(&data, &written, || {
                format!(
                    "wrote `{object_path}` ({} bytes)",
                    answer::text(&written["size"])
                )
            })
        }
        R2ObjectCommand::Delete { object_path, data } => {
            let (bucket, key) = split(&object_path)?;
            let client = remote::connect(&data.server, paths)?;
            let call = client.call(Method::DELETE, path(bucket, key));
            let _: Value = call.send().await?;
            answer::done(&data, &json!({"key": key, "deleted": true}), || {
                format!("deleted `{object_path}`")
            })
        }
    }
}

fn split(object: &str) -> Result<(&str, &str), Report> {
    let parts = object.split_once('/');
    let parts = parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
    parts.ok_or_else(|| {
        Report::new(
            format!("`{object}` names no object"),
            Some("write `<bucket>/<key>`".to_owned()),
        )
    })
}

fn path(bucket: &str, key: &str) -> String {
    format!("r2/buckets/{}/objects/{}", segment(bucket), segment(key))
}

/// A file, or all of standard input, whose length is known at its end.
async fn body(file: Option<&Path>) -> Result<Body, Report> {
    let Some(file) = file else {
        let mut bytes = Vec::new();
        let read = tokio::io::stdin().read_to_end(&mut bytes).await;
        read.context("could not read the object from standard input")?;
        return Ok(Body::Bytes(BYTES, bytes.into()));
    };
    let open = async {
        let open = fs_err::tokio::File::open(file).await?;
        let length = open.metadata().await?.len();
        Ok::<_, std::io::Error>(Body::File(open.into_parts().0, length))
    };
    open.await.context("could not read the object")
}

fn described<'a>(mut call: Call<'a>, about: &R2About) -> Result<Call<'a>, Report> {
    let class = HeaderName::from_static("cf-r2-storage-class");
    for (flag, name, text) in [
        ("content-type", CONTENT_TYPE, &about.content_type),
        (
            "content-disposition",
            CONTENT_DISPOSITION,
            &about.content_disposition,
        ),
        (
            "content-encoding",
            CONTENT_ENCODING,
            &about.content_encoding,
        ),
        (
            "content-language",
            CONTENT_LANGUAGE,
            &about.content_language,
        ),
        ("cache-control", CACHE_CONTROL, &about.cache_control),
        ("expires", EXPIRES, &about.expires),
        ("storage-class", class, &about.storage_class),
    ] {
        if let Some(text) = text {
            let value = HeaderValue::try_from(text.as_str());
            let value = value.context(format!("`--{flag}` has impossible characters"))?;
            call = call.header(name, value);
        }
    }
    Ok(call)
}

/// Writes a file that is whole or not there.
async fn save(response: Response, file: &Path) -> Result<(), Report> {
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(directory);
    let temporary = temporary.context(format!("could not write `{}`", file.display()))?;
    let open = temporary.reopen().context("could not write the object")?;
    copy(response, tokio::fs::File::from_std(open)).await?;
    let kept = temporary.persist(file);
    kept.context(format!("could not write `{}`", file.display()))?;
    Ok(())
}

async fn copy(mut response: Response, mut to: impl AsyncWrite + Unpin) -> Result<(), Report> {
    while let Some(piece) = response.chunk().await.context("the object broke off")? {
        to.write_all(&piece)
            .await
            .context("could not write the object")?;
    }
    to.flush().await.context("could not write the object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_bucket_and_a_key() {
        assert_eq!(split("files/a/b.txt").unwrap(), ("files", "a/b.txt"));
        for wrong in ["files", "files/", "/a", ""] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
