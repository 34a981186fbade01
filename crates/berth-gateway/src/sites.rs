//! Which application a request is for: by its host, or by a pattern of host and path.
//!
//! The order is that of Cloudflare's routes: the most specific pattern wins, a pattern before a host
//! of its own, a host before what is meant for every host.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use berth_config::RoutePattern;

use crate::site::Site;

/// All applications of a gateway. They may change while it runs.
#[derive(Debug, Default)]
pub struct Sites {
    table: RwLock<Table>,
}

/// What is reached how. A request takes the table as it is when its head has arrived.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// For every host that nothing else is said about.
    pub fallback: Option<Arc<Site>>,
    /// By host, lower-case and without a port.
    pub hosts: HashMap<String, Arc<Site>>,
    /// By pattern; which is first does not matter.
    pub patterns: Vec<(RoutePattern, Arc<Site>)>,
}

impl Sites {
    /// Every request is for this application.
    pub fn only(site: &Arc<Site>) -> Arc<Self> {
        let table = Table {
            fallback: Some(Arc::clone(site)),
            ..Table::default()
        };
        Arc::new(Self {
            table: RwLock::new(table),
        })
    }

    /// Says anew what is reached how.
    pub fn replace(&self, mut table: Table) {
        table
            .patterns
            .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    /// The hosts that are known whole: those of applications, and of patterns without `*` in them.
    pub fn hosts(&self) -> Vec<String> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let patterns = table.patterns.iter();
        let patterns = patterns.filter_map(|(pattern, _)| pattern.exact_host());
        let all = table.hosts.keys().map(String::as_str).chain(patterns);
        let all: std::collections::BTreeSet<&str> = all.collect();
        all.into_iter().map(str::to_owned).collect()
    }

    /// The application that a request for this `Host` (with or without a port) and path is for.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Arc<Site>> {
        let host = without_port(host).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let pattern = || {
            let mut patterns = table.patterns.iter();
            patterns.find(|(pattern, _)| pattern.matches(host, path))
        };
        let site = match pattern() {
            Some((_, site)) => Some(site),
            None => table.hosts.get(host).or(table.fallback.as_ref()),
        };
        site.cloned()
    }
}

pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // Of an IPv6 address in brackets the last colon may be its own.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn site() -> Arc<Site> {
        Site::new(Duration::ZERO)
    }

    fn same(found: Option<Arc<Site>>, expected: &Arc<Site>) -> bool {
        found.is_some_and(|found| Arc::ptr_eq(&found, expected))
    }

    #[test]
    fn the_most_specific_pattern_comes_before_the_host() {
        let (host, wide, narrow, other) = (site(), site(), site(), site());
        let pattern = |text: &str| text.parse::<RoutePattern>().unwrap();
        let sites = Sites::default();
        sites.replace(Table {
            fallback: Some(Arc::clone(&other)),
            hosts: HashMap::from([("app.example.com".to_owned(), Arc::clone(&host))]),
            patterns: vec![
                (pattern("*.example.com/api/*"), Arc::clone(&wide)),
                (pattern("app.example.com/api/v2/*"), Arc::clone(&narrow)),
            ],
        });
        assert!(same(sites.find("app.example.com", "/"), &host));
        assert!(same(sites.find("APP.example.com.:8443", "/"), &host));
        assert!(same(sites.find("app.example.com:80", "/api/x"), &wide));
        assert!(same(sites.find("app.example.com", "/api/v2/x"), &narrow));
        assert!(same(sites.find("localhost", "/"), &other));
        assert!(same(sites.find("[::1]", "/"), &other));
        assert!(same(sites.find("[::1]:80", "/"), &other));
        assert!(Sites::default().find("localhost", "/").is_none());
    }
}
