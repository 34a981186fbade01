//! Steps of a deployment at which a test can have the server killed.

/// Every step there is.
const POINTS: [&str; 9] = [
    "deploy.tried",
    "deploy.recorded",
    "deploy.replacing",
    "deploy.between",
    "deploy.replaced",
    "class.moved",
    "image.provided",
    "rollout.recorded",
    "rollout.ending",
];

/// Ends the process here if a test has asked for it.
#[inline]
pub(super) fn crash_point(name: &str) {
    berth_crash::point(name, &[&POINTS]);
}
