//! Debian's own Python and pip on top of Debian, laid out as `python:<version>-slim` has them.

use std::path::Path;

use berth_image::{Image, ImageStore};

use crate::BaseError;
use crate::command::{isolated, run};
use crate::error::file;
use crate::image::{Description, PATH, assemble, trees};
use crate::lock::scratch;
use crate::recipe::Release;

/// Installs the packages in an overlay over the base image, in a mount namespace of its own.
/// `$1`: overlay options, `$2`: mount point, `$3`: version of Python.
///
/// Debian marks its Python as externally managed, which makes `pip install` refuse; the official
/// images' Python is not, and there is nothing else in the image to protect.
const INSTALL: &str = r#"
set -eu
mount -t overlay overlay -o "$1" "$2"
mount --rbind /dev "$2/dev"
mount -t proc proc "$2/proc"
mount --bind /etc/resolv.conf "$2/etc/resolv.conf"
root=$2
proxy=''
eval "$(apt-config shell proxy Acquire::http::Proxy)"
apt() { chroot "$root" apt-get -q -y ${proxy:+-o "Acquire::http::Proxy=$proxy"} "$@"; }
apt update
apt install --no-install-recommends python3 python3-pip
apt clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/apt/* "$root"/var/log/dpkg.log
rm -f "$root/usr/lib/python$3/EXTERNALLY-MANAGED"
for name in python python3 "python$3"; do ln -s "/usr/bin/python$3" "$root/usr/local/bin/$name"; done
for name in pip pip3; do ln -s /usr/bin/pip3 "$root/usr/local/bin/$name"; done
"#;

/// Makes the image.
pub(crate) async fn make(
    store: &ImageStore,
    base: &Image,
    release: &Release,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<Image, BaseError> {
    let scratch = scratch(store)?;
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| scratch.path().join(name));
    for directory in [&upper, &work, &merged] {
        fs_err::create_dir(directory).map_err(file("create", directory))?;
    }
    let lower: Vec<_> = trees(store, base)
        .iter()
        .map(|tree| option_value(tree))
        .collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        option_value(&upper),
        option_value(&work)
    );
    report("installing python3 and pip from Debian");
    let mut command = isolated("sh");
    command
        .args(["-c", INSTALL, "install-python", &options])
        .arg(&merged)
        .arg(release.python)
        .env("PATH", PATH.trim_start_matches("PATH="));
    run(&mut command, "installing Python", &|_| {}).await?;
    report("storing");
    let description = Description {
        env: vec![
            "LANG=C.UTF-8".to_owned(),
            format!("PYTHON_VERSION={}", release.python),
        ],
        command: "python3",
        recipe: format!(
            "Debian {} packages python3 and python3-pip",
            release.codename
        ),
    };
    assemble(store, Some(base), upper, description).await
}

/// A path as a value of overlayfs' mount options.
fn option_value(path: &Path) -> String {
    let mut value = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, '\\' | ':' | ',') {
            value.push('\\');
        }
        value.push(character);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(option_value(Path::new("/a:b,c\\d")), r"/a\:b\,c\\d");
    }
}
