//! Files behind HTTP URLs. What the server said last time is remembered, so that a file that did not
//! change is not fetched again; with a checksum nobody is asked at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_image::Digest;
use reqwest::header::{ETAG, IF_NONE_MATCH, LAST_MODIFIED};
use rustix::fs::{Timespec, Timestamps};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Download, RemoteError};

/// What a server said of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    etag: Option<String>,
    /// As the server writes it.
    modified: Option<String>,
    digest: Digest,
}

impl Known {
    pub(super) fn identity(&self, name: &str) -> String {
        let modified = self.modified.as_deref().unwrap_or_default();
        format!("http {name} {} {modified}", self.digest)
    }
}

/// Asks servers.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    /// Where [`Known`] is kept.
    memory: PathBuf,
}

impl Http {
    /// `ca_bundle` has certificate authorities besides the host's.
    pub(super) fn new(memory: PathBuf, ca_bundle: Option<&Path>) -> Result<Self, RemoteError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_bundle {
            let pem = fs_err::read(path)?;
            let more = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            roots.add_parsable_certificates(more);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(std::time::Duration::from_secs(30))
            .read_timeout(std::time::Duration::from_secs(120))
            .build()?;
        Ok(Self { client, memory })
    }

    /// What the file is now. Its content lands in `file` unless it is what is known already; `None`
    /// then.
    pub(super) async fn ask(
        &self,
        download: &Download,
        file: &Path,
        use_memory: bool,
    ) -> Result<(Known, bool), RemoteError> {
        let memory = self.memory.join(Digest::of(download.url.as_bytes()).hex());
        let remembered: Option<Known> = fs_err::read(&memory)
            .ok()
            .filter(|_| use_memory)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut request = self.client.get(&download.url);
        let etag = remembered.as_ref().and_then(|known| known.etag.as_ref());
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let failed = |source: reqwest::Error| RemoteError::Http {
            url: shown(&download.url),
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if let Some(known) = remembered.filter(|_| status == reqwest::StatusCode::NOT_MODIFIED) {
            return Ok((known, false));
        }
        if !status.is_success() {
            return Err(RemoteError::Status {
                url: shown(&download.url),
                status: status.as_u16(),
            });
        }
        let header = |name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (etag, modified) = (header(ETAG), header(LAST_MODIFIED));
        let mut hasher = Sha256::new();
        let mut content = fs_err::File::create(file)?;
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            hasher.update(&chunk);
            content.write_all(&chunk)?;
        }
        let known = Known {
            etag,
            modified,
            digest: Digest::from_hasher(hasher),
        };
        if let Some(expected) = &download.checksum
            && *expected != known.digest
        {
            return Err(RemoteError::Checksum {
                url: shown(&download.url),
                expected: expected.to_string(),
                found: known.digest.to_string(),
            });
        }
        set_attributes(content.into_file(), known.modified.as_deref())?;
        if known.etag.is_some() {
            remember(&memory, &known);
        }
        Ok((known, true))
    }
}

/// Failing to remember costs a download later, but no build.
fn remember(memory: &Path, known: &Known) {
    let write = || -> std::io::Result<()> {
        let directory = memory.parent().unwrap_or(memory);
        fs_err::create_dir_all(directory)?;
        let file = tempfile::NamedTempFile::new_in(directory)?;
        fs_err::write(file.path(), serde_json::to_vec(known)?)?;
        file.persist(memory)?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "what a server said is not remembered");
    }
}

/// For its owner only; as old as the server says, or of 1970.
fn set_attributes(file: std::fs::File, modified: Option<&str>) -> std::io::Result<()> {
    let modified = modified.and_then(|text| httpdate::parse_http_date(text).ok());
    let seconds = modified
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600))?;
    Ok(rustix::fs::futimens(
        &file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?)
}

/// A URL without the password that may be in it.
pub(super) fn shown(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("***"));
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}
