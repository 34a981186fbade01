//! Points at which a test can have this process killed.

/// Every point there is in the store.
pub const CRASH_POINTS: &[&str] = &[
    "collect.begun",
    "collect.forgotten",
    "collect.half",
    "collect.moved",
    "collect.emptying",
    "ingest.unpacked",
    "ingest.stored",
    "ingest.placed",
    "image.described",
];

/// Ends the process here if a test has asked for it.
#[inline]
pub(crate) fn crash_point(name: &str) {
    berth_crash::point(name, &[CRASH_POINTS]);
}
