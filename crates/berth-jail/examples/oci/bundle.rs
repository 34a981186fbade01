//! `config.json` → the jail's specification: the part of it that is a container's own to choose.

use std::collections::BTreeMap;
use std::path::Path;

use berth_jail::{Limits, Mount, Rootfs, SandboxExtras, SandboxSpec};
use serde_json::Value;

use crate::{Result, mounts, process};

/// The parsed file.
pub(crate) fn read(bundle: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(bundle.join("config.json"));
    let text = text.map_err(|error| format!("config.json: {error}"))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let version = config["ociVersion"].as_str().unwrap_or_default();
    if version.starts_with("1.") {
        Ok(config)
    } else {
        Err(format!("ociVersion `{version}`"))
    }
}

/// Everything that needs no container.
pub(crate) fn check(bundle: &Path, config: &Value) -> Result<()> {
    specification("check", bundle, config, Vec::new())?;
    sysctls(config)?;
    mounts::check(config, bundle)
}

/// What the jail is asked for; `mounts` from [`mounts::Stage`].
pub(crate) fn specification(
    id: &str,
    bundle: &Path,
    config: &Value,
    mounts: Vec<Mount>,
) -> Result<SandboxSpec> {
    let (process, linux) = (&config["process"], &config["linux"]);
    if linux["personality"]["domain"] == "LINUX32" {
        return Err("linux.personality: a container runs this machine's programs".to_owned());
    }
    let root = bundle.join(config["root"]["path"].as_str().unwrap_or("rootfs"));
    let user = &process["user"];
    let groups = user["additionalGids"].as_array().into_iter().flatten();
    Ok(SandboxSpec {
        id: id.to_owned(),
        hostname: config["hostname"].as_str().unwrap_or("oci").to_owned(),
        // Without layers the writable directory is all there is: the bundle's own.
        rootfs: Rootfs {
            lower: Vec::new(),
            upper: root.clone(),
            work: root,
            read_only: config["root"]["readonly"].as_bool().unwrap_or(false),
        },
        mounts,
        files: BTreeMap::new(),
        process: process::process(process),
        limits: limits(&linux["resources"]),
        id_base: 100_000_000 + (std::process::id() % 10_000) * 65_536,
        capabilities: process::capabilities(&process["capabilities"])?,
        no_new_privs: process["noNewPrivileges"].as_bool().unwrap_or(false),
        shm_bytes: 64 << 20,
        extras: SandboxExtras {
            rlimits: process::rlimits(&process["rlimits"])?,
            groups: groups.map(Value::to_string).collect(),
            umask: user["umask"]
                .as_u64()
                .and_then(|mask| u32::try_from(mask).ok()),
            oom_score_adjustment: integer(&process["oomScoreAdj"]),
            domain_name: config["domainname"].as_str().unwrap_or_default().to_owned(),
            ..SandboxExtras::default()
        },
    })
}

/// Kernel parameters of the network namespace, which is not the jail's: path and value.
pub(crate) fn sysctls(config: &Value) -> Result<Vec<(String, String)>> {
    let asked = config["linux"]["sysctl"].as_object().into_iter().flatten();
    asked
        .map(|(name, value)| match name.strip_prefix("net.") {
            Some(_) if !name.contains('/') => Ok((
                format!("/proc/sys/{}", name.replace('.', "/")),
                value.as_str().unwrap_or_default().to_owned(),
            )),
            _ => Err(format!("linux.sysctl: `{name}`")),
        })
        .collect()
}

pub(crate) fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn integer(value: &Value) -> i32 {
    let value = value.as_i64().and_then(|value| i32::try_from(value).ok());
    value.unwrap_or(0)
}

fn limits(resources: &Value) -> Limits {
    let positive = |value: &Value| value.as_i64().filter(|value| *value > 0);
    let quota = positive(&resources["cpu"]["quota"]);
    let period = positive(&resources["cpu"]["period"]).unwrap_or(100_000);
    Limits {
        cpu_milli: quota.and_then(|quota| u32::try_from(quota * 1000 / period).ok()),
        memory_bytes: positive(&resources["memory"]["limit"]).map(i64::unsigned_abs),
        pids: positive(&resources["pids"]["limit"]).and_then(|value| u32::try_from(value).ok()),
        ..Limits::default()
    }
}
