//! From an archive to a data directory. Nothing is there before everything is.

use std::io::Read;
use std::path::{Component, Path};

use berth_error::{Report, ResultExt as _};
use serde_json::Value;

use super::archive::{ABOUT, FORMAT, WHOLE};

/// Where it is unpacked, below the data directory.
const UNPACKED: &str = ".restore";

/// Unpacks an archive into a directory that is empty or not there; what the archive says of itself.
pub(crate) fn restore(archive: impl Read, data: &Path) -> Result<Value, Report> {
    check_empty(data)?;
    let unpacked = data.join(UNPACKED);
    let outcome = unpack(archive, &unpacked).and_then(|about| {
        // `server` comes last: without it there is nothing to serve.
        flush(data)?;
        let mut names = super::stage::names(&unpacked);
        names.sort_by_key(|name| name == "server");
        for name in names {
            fs_err::rename(unpacked.join(&name), data.join(&name))
                .context("could not put what was restored in its place")?;
        }
        flush(data)?;
        Ok(about)
    });
    // Whatever happened, nothing half stays.
    let _ = fs_err::remove_dir_all(&unpacked);
    outcome
}

/// What has its place is whole, also after a power cut.
fn flush(data: &Path) -> Result<(), Report> {
    let directory = fs_err::File::open(data).context("could not write what was restored")?;
    let flushed = rustix::fs::syncfs(&directory).map_err(std::io::Error::from);
    flushed.context("could not write what was restored")
}

fn check_empty(data: &Path) -> Result<(), Report> {
    let mut entries = match fs_err::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Report::from_error(&error)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Report::new(
        format!("the data directory `{}` is not empty", data.display()),
        Some("name a new one with `--data-dir`, or move what is there away".to_owned()),
    ))
}

fn unpack(archive: impl Read, to: &Path) -> Result<Value, Report> {
    let broken = "could not read the backup";
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    let mut about = None;
    let mut whole = false;
    for entry in archive.entries().context(broken)? {
        let mut entry = entry.context(broken)?;
        let path = entry.path().context(broken)?.into_owned();
        let Some(known) = &about else {
            about = Some(read_about(&path, &mut entry)?);
            make(to)?;
            continue;
        };
        let _: &Value = known;
        if path == Path::new(WHOLE) {
            whole = true;
            continue;
        }
        let is_plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || !entry.unpack_in(to).context(broken)? {
            return Err(foreign());
        }
    }
    match about {
        Some(about) if whole => Ok(about),
        Some(_) => Err(Report::new(
            "the backup is cut off: its end is missing",
            Some("nothing was restored; take another backup".to_owned()),
        )),
        None => Err(foreign()),
    }
}

fn make(directory: &Path) -> Result<(), Report> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.context(format!("could not make `{}`", directory.display()))
}

fn read_about(path: &Path, entry: &mut impl Read) -> Result<Value, Report> {
    if path != Path::new(ABOUT) {
        return Err(foreign());
    }
    let mut text = Vec::new();
    let read = entry.take(1 << 20).read_to_end(&mut text);
    read.context("could not read the backup")?;
    let about: Value = serde_json::from_slice(&text).map_err(|_| foreign())?;
    match about["format"].as_u64() {
        Some(FORMAT) => Ok(about),
        Some(format) => Err(Report::new(
            format!("the backup has the format {format}; this version of Berth reads {FORMAT}"),
            Some("restore it with the version that made it".to_owned()),
        )),
        None => Err(foreign()),
    }
}

fn foreign() -> Report {
    Report::new(
        "this is no backup of `berth backup`",
        Some("if it is compressed, unpack it first: `zstd -dc FILE | berth restore -`".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_uid(rustix::process::getuid().as_raw().into());
            header.set_gid(rustix::process::getgid().as_raw().into());
            let added = builder.append_data(&mut header, name, text.as_bytes());
            added.unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn only_a_whole_backup_into_an_empty_directory() {
        let world = tempfile::tempdir().unwrap();
        let data = world.path().join("data");
        let about = (ABOUT, r#"{"format": 1}"#);
        let good = [about, ("server/x", "text"), (WHOLE, "")];
        for (bad, said) in [
            (&good[1..], "no backup"),
            (&good[..2], "cut off"),
            (&[], "no backup"),
            (&[(ABOUT, r#"{"format": 2}"#), (WHOLE, "")], "format 2"),
        ] {
            let refused = restore(archive(bad).as_slice(), &data).unwrap_err();
            assert!(refused.chain().join(": ").contains(said), "{refused:?}");
            assert!(super::super::stage::names(&data).is_empty());
        }
        assert!(restore(b"not a tar".as_slice(), &data).is_err());
        restore(archive(&good).as_slice(), &data).unwrap();
        assert_eq!(
            fs_err::read_to_string(data.join("server/x")).unwrap(),
            "text"
        );
        assert_eq!(super::super::stage::names(&data), ["server"]);
        let again = restore(archive(&good).as_slice(), &data).unwrap_err();
        assert!(again.chain()[0].contains("not empty"));
    }
}
