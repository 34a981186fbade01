//! The registry's own certificate: wrangler lists and deletes images by HTTPS only, also on this machine.
//!
//! It is signed by itself, made once for each address, and clients trust it because they are told its file
//! (`NODE_EXTRA_CA_CERTS` of `berth env`).

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use berth_error::{Report, ResultExt as _};
use berth_registry::server::{Plain, Server, ServerOptions};

/// How its files' names begin.
const PREFIX: &str = "berth-registry-";

/// Whether a file is such a certificate.
pub(crate) fn is_own(path: &Path) -> bool {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    name.is_some_and(|name| name.starts_with(PREFIX))
}

/// Its files in a directory; made if they are not there or not usable.
pub(super) async fn for_address(
    directory: &Path,
    address: IpAddr,
) -> Result<ServerOptions, Report> {
    let name = address.to_string().replace(':', "_");
    let certificate = directory.join(format!("{PREFIX}{name}.pem"));
    let key = directory.join(format!("{PREFIX}{name}.key"));
    let options = ServerOptions {
        tls: Some((certificate.clone(), key.clone())),
        // Everything else that pushes and pulls here asks for no TLS on this machine.
        plain: Plain::Everybody,
        ..ServerOptions::default()
    };
    // Half of a pair, or one that is not of this key, is no certificate.
    let anywhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    if certificate.exists() && Server::bind(anywhere, options.clone()).await.is_ok() {
        return Ok(options);
    }
    make(&certificate, &key, address).context("could not make the registry's certificate")?;
    Ok(options)
}

fn make(certificate: &Path, key: &Path, address: IpAddr) -> std::io::Result<()> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let own = address.to_string();
    if !address.is_unspecified() && !names.contains(&own) {
        names.push(own);
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    if let Some(directory) = key.parent() {
        fs_err::create_dir_all(directory)?;
    }
    write(key, &made.key_pair.serialize_pem(), 0o600)?;
    write(certificate, &made.cert.pem(), 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut next: PathBuf = path.to_owned();
    next.as_mut_os_string().push(".new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs_err::rename(&next, path)
}
