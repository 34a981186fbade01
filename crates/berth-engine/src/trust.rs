//! The certificate authority of intercepted HTTPS in an image's own trust stores.
//!
//! workerd 1.20261117.1 puts the authority of a container's sidecar at [`CA_PATH`] before the start
//! and leaves it there: programs that do not know of it refuse intercepted connections. Here it is
//! also put into the bundles that TLS libraries read, between two marker lines at the end, so that
//! it can be replaced and taken out again. Every path is resolved in the container's root; what is
//! written is in its writable layer, or in what is mounted there.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use berth_image::Root;
use rustix::fs::{Mode, OFlags};

/// Where workerd puts it.
const CA_PATH: &str = "/etc/cloudflare/certs/cloudflare-containers-ca.crt";

/// What makes Node.js trust it, beside its own list.
const NODE_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";

/// Bundles of the distributions: Debian, Alpine and Arch; Alpine's OpenSSL; Fedora and its kin;
/// SUSE.
const BUNDLES: [&str; 5] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/cert.pem",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
];

/// Debian's OpenSSL reads a directory of hashed names, and this file if there is one.
const DEBIAN_OPENSSL: (&str, &str) = ("usr/lib/ssl", "cert.pem");

const BEGIN: &[u8] = b"\n# Begin of the certificate authority of intercepted HTTPS\n";
const END: &[u8] = b"\n# End of the certificate authority of intercepted HTTPS\n";

/// Largest certificate and largest bundle that are read.
const MAX_CA: u64 = 64 << 10;
const MAX_BUNDLE: u64 = 16 << 20;

/// Tells Node.js of the authority, unless the container's author told it something else.
pub(crate) fn add_variable(env: &mut Vec<String>) {
    let set = |entry: &String| {
        entry
            .split_once('=')
            .is_some_and(|(name, _)| name == NODE_VARIABLE)
    };
    if !env.iter().any(set) {
        env.push(format!("{NODE_VARIABLE}={CA_PATH}"));
    }
}

/// Whether an archive unpacked at a path can have brought the authority.
pub(crate) fn may_hold_ca(path: &str) -> bool {
    let mut parts = CA_PATH.split('/').filter(|part| !part.is_empty());
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .all(|part| parts.next() == Some(part))
}

/// Puts the authority into every bundle of the root. `false`: there is no authority.
pub(crate) fn install(root: &mut Root) -> io::Result<bool> {
    let Some(file) = root.open_file(CA_PATH)? else {
        return Ok(false);
    };
    let mut ca = Vec::new();
    file.take(MAX_CA).read_to_end(&mut ca)?;
    if !ca.trim_ascii().starts_with(b"-----BEGIN CERTIFICATE-----") {
        return Ok(false);
    }
    create_debian_openssl(root)?;
    change(root, Some(ca.trim_ascii()))?;
    Ok(true)
}

/// Takes the authority out of every bundle of a root that nobody else uses, and its file away.
pub(crate) fn remove(root: &mut Root) -> io::Result<()> {
    change(root, None)?;
    let (directory, name) = CA_PATH.rsplit_once('/').unwrap_or_default();
    if let Some(parent) = root.existing_parent(directory.as_bytes())? {
        match rustix::fs::unlinkat(parent, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn change(root: &Root, ca: Option<&[u8]>) -> io::Result<()> {
    let openssl = format!("{}/{}", DEBIAN_OPENSSL.0, DEBIAN_OPENSSL.1);
    for path in BUNDLES.into_iter().chain([openssl.as_str()]) {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        // Read-only first: opening for writing copies the file up from the image.
        let Some(found) = root.open_any(path.as_bytes(), flags)? else {
            continue;
        };
        let mut file = File::from(found);
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_BUNDLE {
            continue;
        }
        let mut bundle = Vec::new();
        file.read_to_end(&mut bundle)?;
        let kept = without_block(&bundle);
        let block = ca.map(|ca| [BEGIN, ca, END].concat()).unwrap_or_default();
        if bundle[kept..] == block {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        if let Some(found) = root.open_any(path.as_bytes(), flags)? {
            replace_end(File::from(found), kept, &block)?;
        }
    }
    Ok(())
}

/// Where an earlier block begins: everything of ours is at the end.
fn without_block(bundle: &[u8]) -> usize {
    let begin = bundle.windows(BEGIN.len()).position(|part| part == BEGIN);
    begin.unwrap_or(bundle.len())
}

fn replace_end(mut file: File, kept: usize, block: &[u8]) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let kept = u64::try_from(kept).unwrap_or(u64::MAX);
    // The new block before the old one's rest is cut off: readers always find whole certificates.
    file.write_all_at(block, kept)?;
    let length = u64::try_from(block.len()).unwrap_or_default();
    file.set_len(kept.saturating_add(length))?;
    file.seek(SeekFrom::Start(0))?;
    file.flush()
}

/// Makes the file that Debian's OpenSSL reads beside its directory, if OpenSSL is there.
fn create_debian_openssl(root: &mut Root) -> io::Result<()> {
    let (directory, name) = DEBIAN_OPENSSL;
    let Some(directory) = root.existing_parent(directory.as_bytes())? else {
        return Ok(());
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";

    fn root(directory: &Path) -> Root {
        Root::open(directory).unwrap()
    }

    fn debian() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["etc/ssl/certs", "usr/lib/ssl", "etc/cloudflare/certs"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("etc/ssl/certs/ca-certificates.crt"), "old\n").unwrap();
        std::fs::write(at(&CA_PATH[1..]), CA).unwrap();
        directory
    }

    fn read(directory: &Path, path: &str) -> String {
        std::fs::read_to_string(directory.join(path)).unwrap()
    }

    #[test]
    fn the_authority_is_added_replaced_and_removed() {
        let directory = debian();
        let mut tree = root(directory.path());
        assert!(install(&mut tree).unwrap());
        let bundle = || read(directory.path(), "etc/ssl/certs/ca-certificates.crt");
        assert!(bundle().starts_with("old\n\n# Begin of"), "{}", bundle());
        assert!(bundle().contains(CA));
        assert!(read(directory.path(), "usr/lib/ssl/cert.pem").contains(CA));
        let once = bundle();
        assert!(install(&mut tree).unwrap());
        assert_eq!(bundle(), once, "twice is once");
        let other = CA.replace("AAAA", "B");
        std::fs::write(directory.path().join(&CA_PATH[1..]), &other).unwrap();
        assert!(install(&mut tree).unwrap());
        assert!(bundle().contains(&other) && !bundle().contains("AAAA"));
        remove(&mut tree).unwrap();
        assert_eq!(bundle(), "old\n");
        assert!(!directory.path().join(&CA_PATH[1..]).exists());
    }

    #[test]
    fn a_link_out_of_the_root_is_not_followed() {
        let directory = debian();
        let outside = tempfile::tempdir().unwrap();
        let host = outside.path().join("host.pem");
        std::fs::write(&host, "host").unwrap();
        for bundle in ["etc/ssl/cert.pem", "etc/ssl/ca-bundle.pem"] {
            let target = directory.path().join(bundle);
            std::os::unix::fs::symlink(&host, target).unwrap();
        }
        // Alpine's, inside.
        std::fs::remove_file(directory.path().join("etc/ssl/cert.pem")).unwrap();
        let inside = directory.path().join("etc/ssl/cert.pem");
        std::os::unix::fs::symlink("certs/ca-certificates.crt", inside).unwrap();
        assert!(install(&mut root(directory.path())).unwrap());
        assert_eq!(std::fs::read_to_string(&host).unwrap(), "host");
        let bundle = read(directory.path(), "etc/ssl/certs/ca-certificates.crt");
        assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 1);
    }

    #[test]
    fn an_image_without_stores_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("etc/cloudflare/certs")).unwrap();
        assert!(!install(&mut root(directory.path())).unwrap());
        std::fs::write(directory.path().join(&CA_PATH[1..]), "no certificate").unwrap();
        assert!(!install(&mut root(directory.path())).unwrap());
        std::fs::write(directory.path().join(&CA_PATH[1..]), CA).unwrap();
        assert!(install(&mut root(directory.path())).unwrap());
        assert!(!directory.path().join("usr").exists());
        assert!(!directory.path().join("etc/ssl").exists());
    }

    #[test]
    fn only_archives_that_can_hold_it_are_looked_at() {
        for path in [
            "/",
            "/etc",
            "/etc/",
            "/etc/cloudflare/.",
            "etc/cloudflare/certs",
        ] {
            assert!(may_hold_ca(path), "{path}");
        }
        for path in ["/mnt", "/etc/ssl", "/etc/cloudflare/certs/x"] {
            assert!(!may_hold_ca(path), "{path}");
        }
    }
}
