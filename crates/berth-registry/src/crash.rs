//! Points at which a test can have this process killed.

/// Every point there is; each is in the code once.
pub const CRASH_POINTS: &[&str] = &[
    "registry.upload.created",
    "registry.upload.written",
    "registry.blob.hashed",
    "registry.blob.synced",
    "registry.blob.renamed",
    "registry.upload.synced",
    "registry.upload.renamed",
    "registry.blob.linked",
    "registry.record.written",
    "registry.manifest.intended",
    "registry.manifest.stored",
    "registry.manifest.referrer",
    "registry.manifest.tagged",
    "registry.delete.untagged",
    "registry.delete.record",
    "registry.gc.pending",
    "registry.gc.unlinked",
    "registry.gc.blob",
    "registry.gc.done",
];

/// The points of a storage in a bucket.
pub const BUCKET_CRASH_POINTS: &[&str] = &[
    "registry.bucket.blob",
    "registry.bucket.part",
    "registry.bucket.complete",
    "registry.bucket.committed",
];

/// Ends the process here if a test has asked for it.
#[inline]
pub(crate) fn crash_point(name: &str) {
    berth_crash::point(name, &[CRASH_POINTS, BUCKET_CRASH_POINTS]);
}
