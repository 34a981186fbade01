//! Symbolic links that are there or not, never half.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use berth_error::{Report, ResultExt as _};

/// Longest path of a unix socket: `sun_path` less its final NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Whether a socket's link may be put here: nothing is, or what no server answers at.
pub(super) fn check_socket(path: &Path) -> Result<(), Report> {
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Report::new(
            format!(
                "`{}` is longer than the {SOCKET_PATH_MAX} bytes that a socket's path can have",
                path.display()
            ),
            Some("name a shorter one with `--socket`".to_owned()),
        ));
    }
    let found = match fs_err::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Report::from_error(&error)),
    };
    if !found.is_symlink() && !found.is_socket() {
        return Err(Report::new(
            format!("`{}` exists and is not a socket", path.display()),
            Some("name another path with `--socket`".to_owned()),
        ));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(Report::new(
            format!("another server answers at `{}`", path.display()),
            Some("name another path with `--socket`".to_owned()),
        ));
    }
    Ok(())
}

/// Makes a link, in place of what is there.
pub(super) fn replace(target: &Path, link: &Path) -> Result<(), Report> {
    let mut new = link.as_os_str().to_owned();
    new.push("~");
    let new = Path::new(&new);
    let make = || -> io::Result<()> {
        if let Some(directory) = link.parent() {
            fs_err::create_dir_all(directory)?;
        }
        match fs_err::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs_err::os::unix::fs::symlink(target, new)?;
        fs_err::rename(new, link)
    };
    make().context(format!("could not make the link `{}`", link.display()))
}

/// Removes a link if it still leads there.
pub(super) fn remove(link: &Path, target: &Path) {
    if fs_err::read_link(link).is_ok_and(|found| found == target)
        && let Err(error) = fs_err::remove_file(link)
    {
        tracing::warn!(%error, "the link to the socket stays behind");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_or_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        check_socket(&at("nothing")).unwrap();
        drop(UnixListener::bind(at("dead")).unwrap());
        check_socket(&at("dead")).unwrap();
        let _living = UnixListener::bind(at("living")).unwrap();
        assert!(check_socket(&at("living")).is_err());
        replace(&at("living"), &at("link")).unwrap();
        assert!(check_socket(&at("link")).is_err());
        replace(&at("gone"), &at("link")).unwrap();
        check_socket(&at("link")).unwrap();
        fs_err::write(at("file"), "").unwrap();
        assert!(check_socket(&at("file")).is_err());
        assert!(check_socket(&at(&"x".repeat(120))).is_err());
    }

    #[test]
    fn only_our_own_link_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("sub/link");
        replace(Path::new("/a"), &link).unwrap();
        remove(&link, Path::new("/b"));
        assert_eq!(fs_err::read_link(&link).unwrap(), Path::new("/a"));
        remove(&link, Path::new("/a"));
        assert!(fs_err::symlink_metadata(&link).is_err());
    }
}
