//! Which images a checkpoint has, and how long they are: CRIU may wait for ever for the rest of one
//! that has lost its end.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The list, beside the images: a line each of length and name.
const FILE: &str = "inventory";

/// Writes the list of what is in `dir`.
pub(super) fn write(dir: &Path) -> io::Result<()> {
    let mut list = String::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        list += &format!("{} {name}\n", entry.metadata()?.len());
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(dir.join(FILE))?;
    file.write_all(list.as_bytes())
}

/// Compares `dir` with its list.
///
/// # Errors
/// What is missing or of another length, for people.
pub(super) fn check(dir: &Path) -> Result<(), String> {
    let list = fs_err::read_to_string(dir.join(FILE)).map_err(|error| error.to_string())?;
    if list.is_empty() {
        return Err("its list of images is empty".to_owned());
    }
    for line in list.lines() {
        let entry = line.split_once(' ');
        let entry = entry.and_then(|(length, name)| Some((length.parse::<u64>().ok()?, name)));
        let (length, name) = entry.ok_or("its list of images is damaged")?;
        let found = fs_err::metadata(dir.join(name)).map_err(|error| error.to_string())?;
        if found.len() != length {
            let found = found.len();
            return Err(format!("`{name}` has {found} bytes of {length}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_gone_or_shorter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(dir.path()).unwrap_err().contains("inventory"));
        for name in ["pages-1.img", "mm-1.img"] {
            fs_err::write(dir.path().join(name), "0123456789").unwrap();
        }
        write(dir.path()).unwrap();
        check(dir.path()).unwrap();
        fs_err::write(dir.path().join("restore.log"), "later").unwrap();
        check(dir.path()).unwrap();
        fs_err::write(dir.path().join("pages-1.img"), "01234").unwrap();
        let expected = "`pages-1.img` has 5 bytes of 10";
        assert_eq!(check(dir.path()).unwrap_err(), expected);
        fs_err::remove_file(dir.path().join("pages-1.img")).unwrap();
        assert!(check(dir.path()).unwrap_err().contains("pages-1.img"));
        fs_err::write(dir.path().join(FILE), "").unwrap();
        assert!(check(dir.path()).is_err());
    }
}
