//! `HostConfig.Binds` and `HostConfig.Mounts`: what a create request wants mounted.
//!
//! Volumes and temporary file systems. A directory of the host is never mounted: nothing that a
//! Worker can say asks for one, and it would be a hole in the container's wall.

use berth_engine::{ContainerMount, ContainerMountSource};

use crate::body::{HostConfig, MountRequest};
use crate::error::ApiError;

/// Size of a tmpfs that has none of its own; the container's memory limit holds in any case.
const TMPFS_BYTES: u64 = 1 << 30;

/// What is to be mounted, in the order of the request.
pub(crate) fn mounts(host: &HostConfig) -> Result<Vec<ContainerMount>, ApiError> {
    let binds = host.binds.iter().map(|bind| from_bind(bind));
    let mounts = host.mounts.iter().map(from_mount);
    binds.chain(mounts).collect()
}

/// `volume:/path`, `volume:/path:ro,nocopy`.
fn from_bind(bind: &str) -> Result<ContainerMount, ApiError> {
    let invalid = || ApiError::bad_request(format!("invalid volume specification: '{bind}'"));
    let mut parts = bind.split(':');
    let (source, target) = match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if !source.is_empty() && !target.is_empty() => {
            (source, target)
        }
        _ => return Err(invalid()),
    };
    let options = parts.next().unwrap_or_default();
    if parts.next().is_some() {
        return Err(invalid());
    }
    let (mut read_only, mut copy_up) = (false, true);
    for option in options.split(',') {
        match option {
            "ro" => read_only = true,
            "nocopy" => copy_up = false,
            "" | "rw" | "z" | "Z" | "copy" | "private" | "rprivate" | "slave" | "rslave" => {}
            _ => return Err(invalid()),
        }
    }
    Ok(ContainerMount {
        target: target.to_owned(),
        source: volume(source, copy_up)?,
        read_only,
    })
}

fn from_mount(mount: &MountRequest) -> Result<ContainerMount, ApiError> {
    let source = match mount.kind.as_str() {
        "volume" | "" => {
            let options = &mount.volume_options;
            if !options.subpath.is_empty() {
                return Err(ApiError::unsupported("mounting a part of a volume"));
            }
            volume(&mount.source, !options.no_copy)?
        }
        "tmpfs" => {
            let asked = u64::try_from(mount.tmpfs_options.size_bytes).ok();
            let bytes = asked.filter(|bytes| *bytes > 0).unwrap_or(TMPFS_BYTES);
            ContainerMountSource::Tmpfs(bytes)
        }
        "bind" => return Err(host_path(&mount.source)),
        other => return Err(ApiError::unsupported(&format!("the mount type {other}"))),
    };
    Ok(ContainerMount {
        target: mount.target.clone(),
        source,
        read_only: mount.read_only,
    })
}

fn volume(name: &str, copy_up: bool) -> Result<ContainerMountSource, ApiError> {
    if name.is_empty() {
        return Err(ApiError::unsupported("a volume without a name"));
    }
    if name.starts_with(['/', '.', '~']) {
        return Err(host_path(name));
    }
    Ok(ContainerMountSource::Volume {
        name: name.to_owned(),
        copy_up,
    })
}

fn host_path(path: &str) -> ApiError {
    ApiError::bad_request(format!(
        "mounting the host's `{path}` is not allowed: containers only get volumes. Copy files in \
         with the image or through the container's archive instead"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{CreateContainer, decode};

    fn parse(host: &str) -> Result<Vec<ContainerMount>, ApiError> {
        let body = format!(r#"{{"Image":"x","HostConfig":{host}}}"#);
        let body: CreateContainer = decode(body.as_bytes()).unwrap();
        mounts(&body.host_config)
    }

    fn mount(name: &str, target: &str, read_only: bool, copy_up: bool) -> ContainerMount {
        ContainerMount {
            target: target.to_owned(),
            source: ContainerMountSource::Volume {
                name: name.to_owned(),
                copy_up,
            },
            read_only,
        }
    }

    #[test]
    fn what_workerd_sends() {
        let binds = parse(r#"{"Binds":["snap:/src:ro","clone:/dst"],"Mounts":null}"#).unwrap();
        let wanted = [
            mount("snap", "/src", true, true),
            mount("clone", "/dst", false, true),
        ];
        assert_eq!(binds, wanted);
        let mounts = parse(
            r#"{"Mounts":[{"Type":"volume","Source":"v","Target":"/a/b","ReadOnly":false,
                "VolumeOptions":{"NoCopy":true}}]}"#,
        );
        assert_eq!(mounts.unwrap(), [mount("v", "/a/b", false, false)]);
    }

    #[test]
    fn tmpfs_has_a_size() {
        let mounts = r#"{"Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":4096}},
            {"Type":"tmpfs","Target":"/u","TmpfsOptions":{"SizeBytes":0}}]}"#;
        let sources: Vec<_> = parse(mounts)
            .unwrap()
            .into_iter()
            .map(|mount| mount.source)
            .collect();
        assert_eq!(
            sources,
            [
                ContainerMountSource::Tmpfs(4096),
                ContainerMountSource::Tmpfs(TMPFS_BYTES)
            ]
        );
    }

    #[test]
    fn directories_of_the_host_are_refused() {
        for host in [
            r#"{"Binds":["/etc:/mnt"]}"#,
            r#"{"Binds":["../x:/mnt"]}"#,
            r#"{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/mnt"}]}"#,
            r#"{"Mounts":[{"Type":"volume","Source":"/etc","Target":"/mnt"}]}"#,
        ] {
            let error = parse(host).unwrap_err();
            assert_eq!(error.status, http::StatusCode::BAD_REQUEST, "{host}");
            assert!(error.message.contains("not allowed"), "{}", error.message);
        }
        for host in [
            r#"{"Binds":["v"]}"#,
            r#"{"Binds":["v:/a:what"]}"#,
            r#"{"Binds":["v:/a:ro:x"]}"#,
        ] {
            assert!(parse(host).is_err(), "{host}");
        }
    }
}
