//! Routes and custom domains: where a Worker answers besides its own host.
//!
//! Invariant: no two Workers have the same pattern or the same domain (but for the moment in which a domain
//! moves, when the one that has been changed last counts).

use std::sync::{MutexGuard, PoisonError};

use berth_config::RoutePattern;

use super::Control;
use crate::ControlError;
use crate::worker::{Domain, Route, Worker};

/// A domain that a Worker is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDomain {
    /// The host.
    pub hostname: String,
    /// Whether the Worker answers there.
    pub enabled: bool,
}

/// What [`Control::set_domains`] would change.
#[derive(Clone, Debug, Default)]
pub struct DomainChanges {
    /// New ones.
    pub added: Vec<Domain>,
    /// Those that the Worker has and is not to have.
    pub removed: Vec<Domain>,
    /// Those that it has or another Worker has, whose that is, and whether they change.
    pub updated: Vec<(Domain, String, bool)>,
}

impl Control {
    /// The routes of a Worker: these, and no others.
    ///
    /// # Errors
    /// A pattern that is none, or another Worker's; [`ControlError::NoWorker`].
    pub fn set_routes(
        &self,
        worker: &str,
        patterns: &[String],
    ) -> Result<Vec<Route>, ControlError> {
        for pattern in patterns {
            pattern.parse::<RoutePattern>()?;
        }
        let _alone = self.alone();
        let others = self
            .workers()?
            .into_iter()
            .filter(|other| other.name != worker);
        for other in others {
            let taken = other
                .routes
                .iter()
                .find(|route| patterns.contains(&route.pattern));
            if let Some(route) = taken {
                return Err(ControlError::RouteTaken {
                    pattern: route.pattern.clone(),
                    worker: other.name.clone(),
                });
            }
        }
        self.update(worker, |worker| {
            let mut routes: Vec<Route> = Vec::new();
            for pattern in patterns {
                if routes.iter().any(|route| route.pattern == *pattern) {
                    continue;
                }
                let kept = worker.routes.iter().find(|route| route.pattern == *pattern);
                routes.push(kept.cloned().unwrap_or_else(|| Route {
                    id: new_id(),
                    pattern: pattern.clone(),
                }));
            }
            worker.routes.clone_from(&routes);
            Ok(routes)
        })
    }

    /// What would change if a Worker got these domains; `whole`: and no others.
    ///
    /// # Errors
    /// A name that is none; [`ControlError::NoWorker`].
    pub fn domain_changes(
        &self,
        worker: &str,
        domains: &[NewDomain],
        whole: bool,
    ) -> Result<DomainChanges, ControlError> {
        let own = self.worker(worker)?;
        let mut changes = DomainChanges::default();
        let all = self.workers()?;
        let wanted = checked(domains)?;
        for new in &wanted {
            let found = owner(&all, &new.hostname);
            match found {
                Some((name, domain)) => {
                    let changed = name != worker || domain.enabled != new.enabled;
                    changes
                        .updated
                        .push((domain.clone(), name.to_owned(), changed));
                }
                None => changes.added.push(new.clone()),
            }
        }
        if whole {
            let gone = |domain: &&Domain| !wanted.iter().any(|new| new.hostname == domain.hostname);
            changes.removed = own.domains.iter().filter(gone).cloned().collect();
        }
        Ok(changes)
    }

    /// The domains of a Worker: these, and no others. `take`: also if they are another Worker's, which loses
    /// them.
    ///
    /// # Errors
    /// A name that is none, or another Worker's; [`ControlError::NoWorker`].
    pub fn set_domains(
        &self,
        worker: &str,
        domains: &[NewDomain],
        take: bool,
    ) -> Result<Vec<Domain>, ControlError> {
        let wanted = checked(domains)?;
        let _alone = self.alone();
        let mut losers = Vec::new();
        for other in self.workers()? {
            if other.name == worker {
                continue;
            }
            let of = |domain: &&Domain| wanted.iter().any(|new| new.hostname == domain.hostname);
            let Some(taken) = other.domains.iter().find(of) else {
                continue;
            };
            if !take {
                return Err(ControlError::DomainTaken {
                    hostname: taken.hostname.clone(),
                    worker: other.name.clone(),
                });
            }
            losers.push(other.name);
        }
        // First theirs, so that the Worker is the one that was changed last.
        for loser in losers {
            self.update(&loser, |loser| {
                let lost =
                    |domain: &Domain| wanted.iter().any(|new| new.hostname == domain.hostname);
                loser.domains.retain(|domain| !lost(domain));
                Ok(())
            })?;
        }
        self.update(worker, |worker| {
            let mut domains = wanted.clone();
            for domain in &mut domains {
                let same = |kept: &&Domain| kept.hostname == domain.hostname;
                if let Some(kept) = worker.domains.iter().find(same) {
                    domain.id.clone_from(&kept.id);
                }
            }
            worker.domains.clone_from(&domains);
            Ok(domains)
        })
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.inner
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn owner<'a>(workers: &'a [Worker], hostname: &str) -> Option<(&'a str, &'a Domain)> {
    let mut all = workers.iter().flat_map(|worker| {
        worker
            .domains
            .iter()
            .map(|domain| (worker.name.as_str(), domain))
    });
    all.find(|(_, domain)| domain.hostname == hostname)
}

/// Each once, in lower case.
fn checked(domains: &[NewDomain]) -> Result<Vec<Domain>, ControlError> {
    let mut checked: Vec<Domain> = Vec::new();
    for new in domains {
        let hostname = new.hostname.trim_end_matches('.').to_ascii_lowercase();
        if !berth_config::is_host_name(&hostname) {
            return Err(ControlError::BadDomain(new.hostname.clone()));
        }
        if checked.iter().all(|domain| domain.hostname != hostname) {
            checked.push(Domain {
                id: new_id(),
                hostname,
                enabled: new.enabled,
            });
        }
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> (Control, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::open(directory.path(), &directory.path().join("key")).unwrap();
        for name in ["one", "two"] {
            control.update_or_make(name, |_| Ok(())).unwrap();
        }
        (control, directory)
    }

    fn domains(names: &[&str]) -> Vec<NewDomain> {
        let new = |name: &&str| NewDomain {
            hostname: (*name).to_owned(),
            enabled: true,
        };
        names.iter().map(new).collect()
    }

    #[test]
    fn a_route_is_one_workers() {
        let (control, _directory) = control();
        let both = ["example.com/*".to_owned(), "*.example.com/a".to_owned()];
        let first = control.set_routes("one", &both).unwrap();
        let again = control.set_routes("one", &both[..1]).unwrap();
        assert_eq!(first[0], again[0], "it has its id");
        let taken = control.set_routes("two", &both).unwrap_err();
        assert!(
            taken.to_string().contains("is the Worker `one`'s"),
            "{taken}"
        );
        assert!(control.set_routes("two", &["a/*/b".to_owned()]).is_err());
        control.set_routes("two", &both[1..]).unwrap();
        assert!(control.set_routes("three", &[]).is_err());
    }

    #[test]
    fn a_domain_moves_only_if_that_was_said() {
        let (control, _directory) = control();
        control
            .set_domains(
                "one",
                &domains(&["App.example.com.", "b.example.com"]),
                false,
            )
            .unwrap();
        let changes = control
            .domain_changes(
                "two",
                &domains(&["app.example.com", "new.example.com"]),
                true,
            )
            .unwrap();
        assert_eq!(changes.added[0].hostname, "new.example.com");
        assert_eq!(
            (changes.updated[0].1.as_str(), changes.updated[0].2),
            ("one", true)
        );
        let refused = control.set_domains("two", &domains(&["app.example.com"]), false);
        assert!(matches!(refused, Err(ControlError::DomainTaken { .. })));
        control
            .set_domains("two", &domains(&["app.example.com"]), true)
            .unwrap();
        let left = control.worker("one").unwrap().domains;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].hostname, "b.example.com");
        for wrong in ["*.example.com", "a/b", "a b", "", "example.com:80"] {
            assert!(
                control
                    .set_domains("one", &domains(&[wrong]), true)
                    .is_err(),
                "{wrong}"
            );
        }
    }
}
