//! What amounts cost. Prices are the operator's; nothing is charged here.

use berth_config::PricesConfig;
use serde::Serialize;

use crate::Amounts;

/// MiB of a GiB times milliseconds of a second.
const MIB_MS_OF_GIB_SECOND: f64 = 1024.0 * 1000.0;
/// MB of a GB times milliseconds of a second.
const MB_MS_OF_GB_SECOND: f64 = 1e6;

/// What each of them costs, in the operator's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Virtual CPUs.
    pub vcpu: f64,
    /// Memory.
    pub memory: f64,
    /// Disks.
    pub disk: f64,
    /// Bytes out of containers.
    pub egress: f64,
    /// Requests.
    pub requests: f64,
    /// All of it.
    pub total: f64,
}

impl Amounts {
    /// Virtual CPUs times seconds.
    pub fn vcpu_seconds(&self) -> f64 {
        float(self.vcpu_us) / 1e6
    }

    /// GiB of memory times seconds.
    pub fn memory_gib_seconds(&self) -> f64 {
        float(self.memory_mib_ms) / MIB_MS_OF_GIB_SECOND
    }

    /// GB (10^9 bytes) of disk times seconds.
    pub fn disk_gb_seconds(&self) -> f64 {
        float(self.disk_mb_ms) / MB_MS_OF_GB_SECOND
    }
}

/// What amounts cost.
pub fn cost(amounts: &Amounts, prices: &PricesConfig) -> Cost {
    let mut cost = Cost {
        vcpu: amounts.vcpu_seconds() * prices.vcpu_second,
        memory: amounts.memory_gib_seconds() * prices.memory_gib_second,
        disk: amounts.disk_gb_seconds() * prices.disk_gb_second,
        egress: float(amounts.egress_bytes) / 1e9 * prices.egress_gb,
        requests: float(amounts.requests) / 1e6 * prices.million_requests,
        total: 0.0,
    };
    cost.total = cost.vcpu + cost.memory + cost.disk + cost.egress + cost.requests;
    cost
}

#[expect(
    clippy::cast_precision_loss,
    reason = "amounts of more than 2^53 are rounded"
)]
fn float(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the pricing page: 10,000 documents of three seconds on a size of 0.25 vCPU,
    /// 512 MiB and 2 GB.
    #[test]
    fn the_worked_example_comes_out() {
        let used = Amounts::of_size(250, 512, 2000, 30_000_000);
        assert_eq!(used.vcpu_seconds(), 7_500.0);
        assert_eq!(used.memory_gib_seconds(), 15_000.0);
        assert_eq!(used.disk_gb_seconds(), 60_000.0);
        let cost = cost(&used, &PricesConfig::default());
        let near = |is: f64, wanted: f64| (is - wanted).abs() < 1e-12;
        assert!(near(cost.vcpu, 0.15), "{cost:?}");
        assert!(near(cost.memory, 0.0375), "{cost:?}");
        assert!(near(cost.disk, 0.0042), "{cost:?}");
        assert!(near(cost.total, 0.1917), "{cost:?}");
    }

    #[test]
    fn bytes_and_requests_cost_too() {
        let used = Amounts {
            requests: 2_000_000,
            egress_bytes: 4_000_000_000,
            ..Amounts::default()
        };
        let prices = PricesConfig {
            egress_gb: 0.5,
            million_requests: 3.0,
            ..PricesConfig::default()
        };
        let cost = cost(&used, &prices);
        assert_eq!((cost.egress, cost.requests, cost.total), (2.0, 6.0, 8.0));
    }
}
