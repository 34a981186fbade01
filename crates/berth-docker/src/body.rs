//! Request bodies, decoded as tolerantly as Docker does: unknown fields are ignored, `null` is the
//! default, and workerd writes every primitive with its default, so zero means "not set".

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::ApiError;

/// Most bytes of a JSON request.
const MAX_JSON: usize = 16 << 20;

/// Reads a body to its end: chunked or with a length, empty ones included (workerd sends
/// `Transfer-Encoding: chunked` with nothing on every POST and DELETE without a body).
pub(crate) async fn collect(body: Incoming) -> Result<Bytes, ApiError> {
    Limited::new(body, MAX_JSON)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| ApiError::bad_request(format!("reading the request body: {error}")))
}

/// Decodes a JSON object; an empty body is the default.
pub(crate) fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    match body.trim_ascii().first() {
        None => return Ok(T::default()),
        Some(b'{') => {}
        // An array would do for a struct otherwise, field by field.
        Some(_) => return Err(ApiError::bad_request("invalid JSON: not an object")),
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}")))
}

/// `POST /containers/create`.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateContainer {
    #[serde(deserialize_with = "or_default")]
    pub(crate) image: String,
    pub(crate) cmd: Option<StringOrList>,
    pub(crate) entrypoint: Option<StringOrList>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) hostname: String,
    #[serde(rename = "Domainname", deserialize_with = "or_default")]
    pub(crate) domain_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) host_config: HostConfig,
}

/// The part of a create request about the host.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    pub(crate) network_mode: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) extra_hosts: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) binds: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) mounts: Vec<MountRequest>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cap_add: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) devices: Vec<DeviceMapping>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) security_opt: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) restart_policy: Restart,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ulimits: Vec<Ulimit>,
    /// Groups besides the user's own: names in the image, or ids.
    #[serde(deserialize_with = "or_default")]
    pub(crate) group_add: Vec<String>,
    #[serde(deserialize_with = "number")]
    pub(crate) oom_score_adj: i64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) pid_mode: String,
    /// `docker run --init`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) init: bool,
    /// Billionths of a CPU.
    #[serde(deserialize_with = "number")]
    pub(crate) nano_cpus: i64,
    /// Bytes.
    #[serde(deserialize_with = "number")]
    pub(crate) memory: i64,
    #[serde(deserialize_with = "number")]
    pub(crate) pids_limit: i64,
}

/// `HostConfig.RestartPolicy`. workerd 1.20261117.1 sends `on-failure` and 0 for each application
/// container.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Restart {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    /// 0: without end.
    #[serde(deserialize_with = "number")]
    pub(crate) maximum_retry_count: i64,
}

/// One of `HostConfig.Devices`.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DeviceMapping {
    #[serde(deserialize_with = "or_default")]
    pub(crate) path_on_host: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) path_in_container: String,
}

/// One of `HostConfig.Ulimits`; -1 is unlimited.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ulimit {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "number")]
    pub(crate) soft: i64,
    #[serde(deserialize_with = "number")]
    pub(crate) hard: i64,
}

/// One of `HostConfig.Mounts`.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MountRequest {
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) source: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) target: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) read_only: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) volume_options: VolumeOptions,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tmpfs_options: TmpfsOptions,
}

/// See [`MountRequest`].
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct VolumeOptions {
    #[serde(deserialize_with = "or_default")]
    pub(crate) no_copy: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) subpath: String,
}

/// See [`MountRequest`].
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TmpfsOptions {
    #[serde(deserialize_with = "number")]
    pub(crate) size_bytes: i64,
}

/// `POST /volumes/create`.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateVolume {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) driver: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) driver_opts: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// `POST /containers/{id}/exec`.
#[derive(Debug, Default, Deserialize, Clone, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateExec {
    #[serde(deserialize_with = "or_default")]
    pub(crate) attach_stdin: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) attach_stdout: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) attach_stderr: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tty: bool,
    pub(crate) cmd: Option<StringOrList>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
}

/// `POST /exec/{id}/start`.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct StartExec {
    #[serde(deserialize_with = "or_default")]
    pub(crate) detach: bool,
    /// Rows, columns.
    pub(crate) console_size: Option<(u16, u16)>,
}

/// `PUT /egress` of the sidecar's ingress: every part is optional.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct UpdateEgress {
    /// Of workerd's egress listener on the loopback address.
    pub(crate) port: Option<u16>,
    pub(crate) dns: Option<UpdateDns>,
    pub(crate) internet: Option<UpdateInternet>,
}

/// See [`UpdateEgress`].
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct UpdateDns {
    #[serde(deserialize_with = "or_default")]
    pub(crate) allow_hostnames: Vec<String>,
}

/// See [`UpdateEgress`].
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct UpdateInternet {
    pub(crate) enabled: bool,
}

/// `"/bin/cp"` or `["/bin/cp", "-a"]`: workerd of April 2026 sends the first for an entrypoint.
#[derive(Debug, Deserialize, Clone, PartialEq)]
#[serde(untagged)]
pub(crate) enum StringOrList {
    One(String),
    Many(Vec<String>),
}

impl StringOrList {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(list) => list,
        }
    }
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A number, a number in a string, or null.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(0),
        Some(value) => value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
            .ok_or_else(|| serde::de::Error::custom("not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_container_of_workerd() {
        let body: CreateContainer = decode(
            br#"{"Env":["A=B"],"Image":"app","StopTimeout":10,"Labels":null,"HostConfig":{
                "Memory":0,"NanoCpus":0,"PidsLimit":0,"ShmSize":0,"MemorySwappiness":0,
                "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":0},
                "NetworkMode":"container:x-proxy","Mounts":null}}"#,
        )
        .unwrap();
        assert_eq!(body.image, "app");
        assert_eq!(body.cmd, None);
        assert_eq!(body.host_config.network_mode, "container:x-proxy");
        assert_eq!(body.host_config.memory, 0);
    }

    #[test]
    fn entrypoint_as_a_string_or_a_list_and_numbers_in_strings() {
        let body: CreateContainer =
            decode(br#"{"Entrypoint":"/bin/cp","Cmd":["-a","x"],"HostConfig":{"Memory":"1024"}}"#)
                .unwrap();
        assert_eq!(body.entrypoint.unwrap().into_vec(), ["/bin/cp"]);
        assert_eq!(body.cmd.unwrap().into_vec(), ["-a", "x"]);
        assert_eq!(body.host_config.memory, 1024);
    }

    #[test]
    fn empty_and_wrong_bodies() {
        assert_eq!(decode::<StartExec>(b"").unwrap(), StartExec::default());
        assert_eq!(decode::<StartExec>(b" \n").unwrap(), StartExec::default());
        assert_eq!(
            decode::<StartExec>(b"[").unwrap_err().status,
            http::StatusCode::BAD_REQUEST
        );
        assert!(decode::<CreateContainer>(br#"{"Image":7}"#).is_err());
    }

    #[test]
    fn console_size_is_rows_and_columns() {
        let body: StartExec = decode(br#"{"Detach":false,"ConsoleSize":[40,100]}"#).unwrap();
        assert_eq!(body.console_size, Some((40, 100)));
        let body: StartExec = decode(br#"{"ConsoleSize":null}"#).unwrap();
        assert_eq!(body.console_size, None);
    }

    #[test]
    fn partial_egress_updates() {
        let update: UpdateEgress =
            decode(br#"{"port":9,"dns":{"allowHostnames":["a.*"]},"internet":{"enabled":true}}"#)
                .unwrap();
        assert_eq!(update.port, Some(9));
        assert_eq!(update.dns.unwrap().allow_hostnames, ["a.*"]);
        assert!(update.internet.unwrap().enabled);
        let update: UpdateEgress = decode(br#"{"port":9}"#).unwrap();
        assert_eq!((update.dns, update.internet), (None, None));
        assert!(decode::<UpdateEgress>(br#"{"port":70000}"#).is_err());
    }
}
