//! Points at which a test can have this process killed.

/// Every point there is; each is in the code once.
pub const CRASH_POINTS: &[&str] = &[
    "r2.blob.created",
    "r2.blob.written",
    "r2.blob.synced",
    "r2.blob.renamed",
    "r2.bucket.written",
    "r2.bucket.finished",
    "r2.object.stored",
    "r2.object.committed",
    "r2.object.replaced",
    "r2.part.stored",
    "r2.part.committed",
    "r2.upload.linked",
    "r2.upload.committed",
];

/// Ends the process here if a test has asked for it.
#[inline]
pub(crate) fn crash_point(name: &str) {
    berth_crash::point(name, &[CRASH_POINTS]);
}
