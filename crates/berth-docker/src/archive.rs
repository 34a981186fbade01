//! `/containers/{id}/archive`: files in and out of containers as tar streams.
//!
//! workerd 1.20261117.1 reads `<dir>/.` for a directory snapshot, writes that archive into a helper
//! container with a volume at `/mnt`, and puts the sidecar's certificate authority below `/etc`.
//! Bodies of a gigabyte and more pass through in pieces.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use berth_engine::{EngineError, PathStat, WriteOptions};
use bytes::Bytes;
use futures_util::future::join;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::Api;
use crate::error::ApiError;
use crate::query::Query;
use crate::respond::{Body, Reply, empty, failing_stream};
use crate::time;

/// Carries what is at the path.
const STAT_HEADER: &str = "x-docker-container-path-stat";

/// Pieces of an incoming body that wait to be unpacked.
const PIECES: usize = 4;

/// 200 and the stat header; 404.
pub(crate) async fn stat(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    refuse_helpers(api, name)?;
    let found = api.engine.path_stat(name, path(query)?).await;
    let mut response = empty(StatusCode::OK);
    add_stat(&mut response, &found.map_err(reading)?)?;
    Ok(response)
}

/// 200 and a tar stream; 404.
pub(crate) async fn read(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    refuse_helpers(api, name)?;
    let opened = api.engine.read_archive(name, path(query)?).await;
    let (stat, pieces) = opened.map_err(reading)?;
    let mut response = failing_stream("application/x-tar", ReceiverStream::new(pieces));
    add_stat(&mut response, &stat)?;
    Ok(response)
}

/// 200 when everything is unpacked; 400, 403, 404.
pub(crate) async fn write(
    api: &Arc<Api>,
    name: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Reply {
    let path = path(query)?;
    let options = WriteOptions {
        keep_kinds: query.flag("noOverwriteDirNonDir"),
    };
    let (sender, pieces) = mpsc::channel(PIECES);
    let unpacked = async {
        match api.helpers.get(name) {
            Some(helper) => helper.write_archive(path, pieces, options).await,
            None => Ok(api
                .engine
                .write_archive(name, path, pieces, options)
                .await?),
        }
    };
    // The rest of a body that cannot be used is read all the same: the client may not look for an
    // answer before it has sent everything.
    let (result, ()) = join(unpacked, receive(request.into_body(), sender)).await;
    result.map(|()| empty(StatusCode::OK))
}

async fn receive(mut body: Incoming, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut to = Some(to);
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => Ok(data),
                // Trailers.
                Err(_) => continue,
            },
            Err(error) => Err(io::Error::other(error)),
        };
        let last = piece.is_err();
        if let Some(wanted) = &to
            && wanted.send(piece).await.is_err()
        {
            to = None;
        }
        if last {
            return;
        }
    }
}

/// The path inside; Docker insists on one.
fn path(query: &Query) -> Result<&str, ApiError> {
    let missing = || ApiError::bad_request("bad parameter: 'path' cannot be empty");
    query.get("path").ok_or_else(missing)
}

fn refuse_helpers(api: &Api, name: &str) -> Result<(), ApiError> {
    if api.helpers.get(name).is_some() {
        return Err(ApiError::unsupported("reading files of a helper container"));
    }
    Ok(())
}

/// Docker answers 500 for a path that should be a directory when it reads.
fn reading(error: EngineError) -> ApiError {
    let no_directory = matches!(error, EngineError::NotADirectory(_));
    let mut error = ApiError::from(error);
    if no_directory {
        error.status = StatusCode::INTERNAL_SERVER_ERROR;
    }
    error
}

fn add_stat(response: &mut Response<Body>, stat: &PathStat) -> Result<(), ApiError> {
    let (seconds, _) = stat.mtime;
    let unix_ms = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let description = json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": time::rfc3339(unix_ms),
        "linkTarget": stat.link_target,
    });
    let text = base64::engine::general_purpose::STANDARD.encode(description.to_string());
    let value = HeaderValue::from_str(&text)
        .map_err(|error| ApiError::internal(format!("describing the path: {error}")))?;
    response.headers_mut().insert(STAT_HEADER, value);
    Ok(())
}

/// A mode as Go's `fs.FileMode` has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        0o020_000 => 1 << 26 | 1 << 21,
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let set = bits.iter().filter(|(bit, _)| mode & bit != 0);
    (mode & 0o777) | kind | set.fold(0, |all, (_, go)| all | go)
}

#[cfg(test)]
mod tests {
    use super::go_mode;

    #[test]
    fn modes_are_those_of_go() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 0x8000_01ed);
        assert_eq!(go_mode(0o120_777), 0x0800_01ff);
        assert_eq!(go_mode(0o104_755), 0x0080_01ed);
        assert_eq!(go_mode(0o041_777), 0x8010_01ff);
        assert_eq!(go_mode(0o020_666), 0x0420_01b6);
    }
}
