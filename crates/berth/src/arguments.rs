//! What this program was called with, and as what.
//!
//! `WRANGLER_DOCKER_BIN` takes a path and no arguments, so under the name `docker` the program is
//! `berth docker`. Called as `<data>/bin/docker`, the link that `berth engine` makes, it also knows
//! the data directory.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The command line of this process as of `berth`.
pub(crate) fn of_process() -> Vec<OsString> {
    let has_data_dir = std::env::var_os("BERTH_DATA_DIR").is_some();
    translate(std::env::args_os().collect(), has_data_dir)
}

fn translate(arguments: Vec<OsString>, has_data_dir: bool) -> Vec<OsString> {
    let Some(program) = arguments.first().map(Path::new) else {
        return arguments;
    };
    if program.file_name() != Some(OsStr::new("docker")) {
        return arguments;
    }
    let mut translated = vec![OsString::from("berth")];
    if let Some(data) = data_dir(program).filter(|_| !has_data_dir) {
        translated.extend([OsString::from("--data-dir"), data.into()]);
    }
    translated.push("docker".into());
    translated.extend(arguments.into_iter().skip(1));
    translated
}

/// `<data>` of `<data>/bin/docker` where an engine has been. A name without a directory was found
/// in `PATH` and says nothing.
fn data_dir(program: &Path) -> Option<PathBuf> {
    program.parent().filter(|bin| !bin.as_os_str().is_empty())?;
    let program = std::path::absolute(program).ok()?;
    let bin = program.parent()?;
    let data = bin.parent()?;
    (bin.ends_with("bin") && data.join("engine.lock").exists()).then(|| data.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(arguments: &[&str], has_data_dir: bool) -> Vec<String> {
        let arguments = arguments.iter().map(OsString::from).collect();
        translate(arguments, has_data_dir)
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn under_the_name_docker_it_is_berth_docker() {
        assert_eq!(
            translated(&["/usr/bin/docker", "ps", "-a"], false),
            ["berth", "docker", "ps", "-a"]
        );
        assert_eq!(
            translated(&["docker", "info"], false),
            ["berth", "docker", "info"]
        );
        assert_eq!(translated(&["./berth", "ps"], false), ["./berth", "ps"]);
    }

    #[test]
    fn the_engines_link_knows_the_data_directory() {
        let data = tempfile::tempdir().unwrap();
        let link = data.path().join("bin/docker");
        let link = link.to_str().unwrap();
        assert_eq!(translated(&[link, "ps"], false), ["berth", "docker", "ps"]);
        fs_err::write(data.path().join("engine.lock"), "").unwrap();
        let directory = data.path().to_str().unwrap();
        assert_eq!(
            translated(&[link, "ps"], false),
            ["berth", "--data-dir", directory, "docker", "ps"]
        );
        assert_eq!(translated(&[link, "ps"], true), ["berth", "docker", "ps"]);
    }
}
