//! What Workers and their containers have used, with the operator's prices, as the API has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_api::UsageRequest;
use berth_config::PricesConfig;
use berth_control::clock::of_unix_ms;
use berth_usage::{Amounts, HOUR_MS, Used, cost};
use serde_json::{Value, json};

use super::meters::{Meters, now_ms};

/// The usage of a time, until now.
pub(super) async fn report(
    meters: &Arc<Meters>,
    prices: &PricesConfig,
    wanted: &UsageRequest,
) -> Result<Value, String> {
    let mut used = meters.used(wanted.since_ms, wanted.until_ms).await?;
    if let Some(app) = &wanted.app {
        used.retain(|one| one.subject.app == *app);
    }
    Ok(json!({
        "since": of_unix_ms(wanted.since_ms / HOUR_MS * HOUR_MS),
        "until": of_unix_ms(wanted.until_ms.min(now_ms())),
        "prices": {
            "currency": prices.currency,
            "vcpu_second": prices.vcpu_second,
            "memory_gib_second": prices.memory_gib_second,
            "disk_gb_second": prices.disk_gb_second,
            "egress_gb": prices.egress_gb,
            "million_requests": prices.million_requests,
        },
        "apps": by_app(&used, prices),
        "total": shown(&sum(&used), prices),
    }))
}

fn by_app(used: &[Used], prices: &PricesConfig) -> Vec<Value> {
    let mut apps: BTreeMap<&str, Vec<&Used>> = BTreeMap::new();
    for one in used {
        apps.entry(&one.subject.app).or_default().push(one);
    }
    let apps = apps.into_iter().map(|(name, used)| {
        let mut app = shown(&sum(used.iter().copied()), prices);
        let containers = used.iter().filter(|one| !one.subject.instance.is_empty());
        let instances = containers.map(|one| {
            let mut instance = shown(&one.amounts, prices);
            instance["instance"] = one.subject.instance.clone().into();
            instance["label"] = one.subject.label.clone().into();
            instance
        });
        app["instances"] = instances.collect();
        app["app"] = name.into();
        app
    });
    apps.collect()
}

fn sum<'a>(used: impl IntoIterator<Item = &'a Used>) -> Amounts {
    let mut sum = Amounts::default();
    for one in used {
        sum += one.amounts;
    }
    sum
}

fn shown(amounts: &Amounts, prices: &PricesConfig) -> Value {
    let seconds = |ms: u64| std::time::Duration::from_millis(ms).as_secs_f64();
    json!({
        "requests": amounts.requests,
        "container_starts": amounts.starts,
        "running_seconds": seconds(amounts.running_ms),
        "vcpu_seconds": amounts.vcpu_seconds(),
        "memory_gib_seconds": amounts.memory_gib_seconds(),
        "disk_gb_seconds": amounts.disk_gb_seconds(),
        "cpu_seconds": std::time::Duration::from_nanos(amounts.cpu_ns).as_secs_f64(),
        "egress_bytes": amounts.egress_bytes,
        "ingress_bytes": amounts.ingress_bytes,
        "cost": cost(amounts, prices),
    })
}

#[cfg(test)]
mod tests {
    use berth_usage::Subject;

    use super::*;

    fn used(app: &str, instance: &str, amounts: Amounts) -> Used {
        Used {
            subject: Subject {
                app: app.to_owned(),
                instance: instance.to_owned(),
                label: String::new(),
            },
            amounts,
        }
    }

    #[test]
    fn apps_are_sums_of_their_instances_and_requests() {
        let ran = Amounts::of_size(1000, 1024, 1000, 2000);
        let requests = Amounts {
            requests: 5,
            ..Amounts::default()
        };
        let all = [
            used("a", "", requests),
            used("a", "01", ran),
            used("a", "02", ran),
            used("b", "03", ran),
        ];
        let prices = PricesConfig {
            vcpu_second: 1.0,
            memory_gib_second: 10.0,
            disk_gb_second: 100.0,
            million_requests: 1_000_000.0,
            ..PricesConfig::default()
        };
        let apps = by_app(&all, &prices);
        assert_eq!(apps.len(), 2);
        let a = &apps[0];
        assert_eq!((&a["app"], &a["requests"]), (&"a".into(), &5.into()));
        assert_eq!(a["vcpu_seconds"], 4.0);
        assert_eq!(a["cost"]["total"], 4.0 + 40.0 + 400.0 + 5.0);
        let instances = a["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 2, "the Worker itself is no instance");
        assert_eq!(instances[0]["instance"], "01");
        assert_eq!(instances[0]["cost"]["total"], 222.0);
    }
}
