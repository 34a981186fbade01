//! How much may be stored, and how much is.
//!
//! Bytes of an upload count from the moment they are accepted. Each process counts for itself,
//! starting from what the storage lists; with several processes on one bucket the sum is right again
//! after each counting ([`Usage::set`]), so the total limit can be passed by what they accept in
//! between.

use std::sync::Mutex;

use http::StatusCode;
use serde_json::json;

use crate::error::{ApiError, Code};

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One image: its configuration and layers as they are stored.
    pub image: u64,
    /// All blobs and uploads together.
    pub total: u64,
}

impl Default for Limits {
    /// What Cloudflare's documentation promises: 2 GB and 50 GB.
    fn default() -> Self {
        Self {
            image: 2_000_000_000,
            total: 50_000_000_000,
        }
    }
}

impl Limits {
    /// An image, or a blob that could be in one, of this size.
    pub(crate) fn check_image(&self, size: u64) -> Result<(), ApiError> {
        if size <= self.image {
            return Ok(());
        }
        let message = format!(
            "the image is too large: {} of at most {}",
            shown(size),
            shown(self.image)
        );
        let detail = json!({"size": size, "limit": self.image});
        Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::Denied, message).detail(detail))
    }
}

/// A size as people read it.
pub fn shown(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    for (unit, name) in units {
        if bytes >= unit {
            let tenths = bytes / (unit / 10);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}

/// Bytes that are stored or being received.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<u64>);

impl Usage {
    pub(crate) fn get(&self) -> u64 {
        *self.lock()
    }

    /// After counting.
    pub(crate) fn set(&self, bytes: u64) {
        *self.lock() = bytes;
    }

    /// Takes `bytes` more, unless that is over the limit; then says what there is.
    pub(crate) fn take(&self, bytes: u64, total: u64) -> Result<(), u64> {
        let mut used = self.lock();
        let sum = used.saturating_add(bytes);
        if sum > total {
            return Err(*used);
        }
        *used = sum;
        Ok(())
    }

    /// Gives back.
    pub(crate) fn give(&self, bytes: u64) {
        let mut used = self.lock();
        *used = used.saturating_sub(bytes);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// There is not enough room in total.
pub(crate) fn too_much(used: u64, wanted: u64, total: u64) -> ApiError {
    let message = format!(
        "the registry is full: {} of {} are used, and this needs {}; delete images and collect garbage",
        shown(used),
        shown(total),
        shown(wanted)
    );
    let detail = json!({"used": used, "limit": total, "wanted": wanted});
    ApiError::new(StatusCode::FORBIDDEN, Code::Denied, message).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_never_passes_the_total() {
        let usage = Usage::default();
        assert_eq!(usage.take(6, 10), Ok(()));
        assert_eq!(usage.take(5, 10), Err(6));
        assert_eq!(usage.take(u64::MAX, 10), Err(6));
        assert_eq!(usage.take(4, 10), Ok(()));
        usage.give(20);
        assert_eq!(usage.get(), 0);
    }

    #[test]
    fn sizes_are_shown_in_decimal_units() {
        assert_eq!(shown(999), "999 bytes");
        assert_eq!(shown(2_000_000_000), "2.0 GB");
        assert_eq!(shown(1_250_000), "1.2 MB");
    }
}
