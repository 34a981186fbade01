//! `GET /containers/{id}/stats`: what a container uses, in Docker's JSON. Wakes nobody.

use std::sync::Arc;
use std::time::Duration;

use berth_engine::{ContainerInfo, Metered, Status};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::ApiError;
use crate::query::Query;
use crate::respond::{Reply, ok, streamed};
use crate::time::{now_ms, rfc3339};

/// Between two readings of a stream, as Docker has it.
const PERIOD: Duration = Duration::from_secs(1);

/// One reading with `stream=false`, otherwise one a second until the container or the client goes.
pub(crate) fn stats(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    let first = read(api, name, None).ok_or_else(|| ApiError::no_such_container(name))?;
    if query.get("stream").is_some() && !query.flag("stream") {
        return Ok(ok(&first));
    }
    let (api, name) = (Arc::clone(api), name.to_owned());
    let readings = futures_util::stream::unfold(Some(first), move |reading| {
        let (api, name) = (Arc::clone(&api), name.clone());
        async move {
            let reading = reading?;
            let line = Bytes::from(format!("{reading}\n"));
            tokio::time::sleep(PERIOD).await;
            let next = read(&api, &name, Some(&reading));
            Some((line, next))
        }
    });
    Ok(streamed("application/json", readings))
}

fn read(api: &Api, name: &str, before: Option<&Value>) -> Option<Value> {
    let info = api.engine.inspect(name)?;
    let metered = api.engine.metered(name)?;
    let mut reading = reading(&info, &metered);
    if let Some(before) = before {
        reading["preread"] = before["read"].clone();
        reading["precpu_stats"] = before["cpu_stats"].clone();
    }
    Some(reading)
}

fn reading(info: &ContainerInfo, metered: &Metered) -> Value {
    let running = info.status == Status::Running;
    json!({
        "id": info.id,
        "name": format!("/{}", info.name),
        "read": rfc3339(now_ms()),
        "preread": "0001-01-01T00:00:00Z",
        "pids_stats": {
            "current": metered.pids,
            "limit": info.limits.pids,
        },
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": nanos(metered.cpu),
                "usage_in_kernelmode": 0,
                "usage_in_usermode": 0,
            },
            "system_cpu_usage": system_cpu(),
            "online_cpus": std::thread::available_parallelism().map_or(1, usize::from),
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        },
        "precpu_stats": {
            "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        },
        "memory_stats": if running {
            json!({
                "usage": metered.memory_bytes,
                "limit": info.limits.memory_bytes.unwrap_or_default(),
                "stats": {},
            })
        } else {
            json!({})
        },
        "blkio_stats": {},
        "storage_stats": {},
        "num_procs": 0,
        "networks": {
            "eth0": {
                "rx_bytes": metered.ingress_bytes,
                "tx_bytes": metered.egress_bytes,
                "rx_packets": 0, "rx_errors": 0, "rx_dropped": 0,
                "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0,
            },
        },
    })
}

/// What Berth meters, in its own words; a field of ours in `GET /containers/json`.
pub(crate) fn metered(metered: &Metered) -> Value {
    json!({
        "CpuNs": nanos(metered.cpu),
        "RunningMs": millis(metered.running),
        "FrozenMs": millis(metered.frozen),
        "StoredMs": millis(metered.stored),
        "MemoryBytes": metered.memory_bytes,
        "MemoryByteMs": metered.memory_byte_ms.to_string(),
        "IngressBytes": metered.ingress_bytes,
        "EgressBytes": metered.egress_bytes,
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds of CPU time that the machine had, on all CPUs, used or idle; 0 if it does not say.
fn system_cpu() -> u64 {
    let text = fs_err::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal, in hundredths of a second; what follows
    // is contained in the first two.
    let ticks: u64 = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks.saturating_mul(10_000_000)
}
