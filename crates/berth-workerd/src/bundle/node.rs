//! Node.js built-in modules, and whether a project has them.

/// Modules that may be imported without `node:`.
pub(super) const BARE: [&str; 54] = [
    "assert",
    "assert/strict",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "dns/promises",
    "domain",
    "events",
    "fs",
    "fs/promises",
    "http",
    "http2",
    "https",
    "inspector",
    "inspector/promises",
    "module",
    "net",
    "os",
    "path",
    "path/posix",
    "path/win32",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "readline/promises",
    "repl",
    "stream",
    "stream/consumers",
    "stream/promises",
    "stream/web",
    "string_decoder",
    "sys",
    "timers",
    "timers/promises",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "util/types",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
];

/// The date from which workerd has `nodejs_compat` without being asked ("became the default as of
/// 2026-08-04", workerd 1.20261117.1).
const DEFAULT_SINCE: &str = "2026-08-04";
/// The date from which `nodejs_compat` covers imports without `node:` and the globals.
const BARE_SINCE: &str = "2024-09-23";

/// What of Node.js a project has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeCompat {
    /// Nothing is promised.
    None,
    /// Imports with `node:`.
    Prefixed,
    /// Imports with and without `node:`.
    Full,
}

impl NodeCompat {
    pub(super) fn new(date: &str, flags: &[String]) -> Self {
        let has = |flag: &str| flags.iter().any(|other| other == flag);
        if has("no_nodejs_compat") {
            return Self::None;
        }
        if has("nodejs_compat_v2") {
            return Self::Full;
        }
        if !has("nodejs_compat") && date < DEFAULT_SINCE {
            return Self::None;
        }
        if date >= BARE_SINCE && !has("no_nodejs_compat_v2") {
            Self::Full
        } else {
            Self::Prefixed
        }
    }
}

/// The name with `node:` if it is a built-in module.
pub(super) fn prefixed(import: &str) -> Option<String> {
    if import.starts_with("node:") {
        return Some(import.to_owned());
    }
    BARE.contains(&import).then(|| format!("node:{import}"))
}

/// A regular expression for every way to import a built-in module.
pub(super) fn filter() -> String {
    format!("^(node:.+|{})$", BARE.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_and_the_flags_decide() {
        let compat = |date: &str, flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            NodeCompat::new(date, &flags)
        };
        assert_eq!(compat("2026-08-03", &[]), NodeCompat::None);
        assert_eq!(compat("2026-08-04", &[]), NodeCompat::Full);
        assert_eq!(
            compat("2026-11-01", &["no_nodejs_compat"]),
            NodeCompat::None
        );
        assert_eq!(
            compat("2024-09-22", &["nodejs_compat"]),
            NodeCompat::Prefixed
        );
        assert_eq!(compat("2024-09-23", &["nodejs_compat"]), NodeCompat::Full);
        assert_eq!(
            compat("2024-01-01", &["nodejs_compat_v2"]),
            NodeCompat::Full
        );
    }
}
