//! How much of what.

use std::ops::AddAssign;

/// Amounts that add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Requests that came in from outside.
    pub requests: u64,
    /// Starts of containers.
    pub starts: u64,
    /// Milliseconds that containers ran; asleep they do not.
    pub running_ms: u64,
    /// Their virtual CPUs, times the microseconds that they ran.
    pub vcpu_us: u64,
    /// Their memory in MiB, times the milliseconds that they ran.
    pub memory_mib_ms: u64,
    /// Their disks in MB (10^6 bytes), times the milliseconds that they ran.
    pub disk_mb_ms: u64,
    /// Nanoseconds of CPU time that they took. Not priced.
    pub cpu_ns: u64,
    /// Bytes out of them.
    pub egress_bytes: u64,
    /// Bytes into them. Not priced.
    pub ingress_bytes: u64,
}

impl Amounts {
    /// A container of this size ran for so long: thousandths of a CPU, MiB, MB, milliseconds.
    pub fn of_size(cpu_milli: u64, memory_mib: u64, disk_mb: u64, running_ms: u64) -> Self {
        Self {
            running_ms,
            vcpu_us: cpu_milli.saturating_mul(running_ms),
            memory_mib_ms: memory_mib.saturating_mul(running_ms),
            disk_mb_ms: disk_mb.saturating_mul(running_ms),
            ..Self::default()
        }
    }

    /// Nothing of anything.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// In the order of the ledger's columns.
    pub(crate) fn columns(&self) -> [u64; 9] {
        [
            self.requests,
            self.starts,
            self.running_ms,
            self.vcpu_us,
            self.memory_mib_ms,
            self.disk_mb_ms,
            self.cpu_ns,
            self.egress_bytes,
            self.ingress_bytes,
        ]
    }

    pub(crate) fn of_columns(columns: [u64; 9]) -> Self {
        let [
            requests,
            starts,
            running_ms,
            vcpu_us,
            memory_mib_ms,
            disk_mb_ms,
            cpu_ns,
            egress_bytes,
            ingress_bytes,
        ] = columns;
        Self {
            requests,
            starts,
            running_ms,
            vcpu_us,
            memory_mib_ms,
            disk_mb_ms,
            cpu_ns,
            egress_bytes,
            ingress_bytes,
        }
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        let (mut sum, more) = (self.columns(), other.columns());
        for (sum, more) in sum.iter_mut().zip(more) {
            *sum = sum.saturating_add(more);
        }
        *self = Self::of_columns(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up() {
        let mut sum = Amounts::of_size(250, 512, 2000, 3000);
        assert_eq!((sum.vcpu_us, sum.memory_mib_ms), (750_000, 1_536_000));
        sum += Amounts {
            requests: 2,
            running_ms: 1,
            ingress_bytes: u64::MAX,
            ..Amounts::default()
        };
        sum += Amounts {
            ingress_bytes: 1,
            ..Amounts::default()
        };
        assert_eq!((sum.requests, sum.running_ms), (2, 3001));
        assert_eq!(sum.ingress_bytes, u64::MAX, "it does not begin anew");
        assert!(!sum.is_zero() && Amounts::default().is_zero());
        assert_eq!(Amounts::of_columns(sum.columns()), sum);
    }
}
