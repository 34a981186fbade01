//! Credentials for the registries of others, as the API has them: those of the data directory, which
//! `berth containers registries` shows, too, and every pull uses.

use std::path::Path;

use berth_api::OtherRegistry;
use berth_control::clock;
use berth_distribution::credentials::{Kind, Vault};
use berth_error::Report;

use crate::registries::{check_domain, kind};

/// The credentials of one data directory.
pub(super) struct Others(Vault);

impl Others {
    pub(super) fn of(data: &Path) -> Self {
        Self(Vault::open(data))
    }

    pub(super) fn list(&self) -> Result<Vec<OtherRegistry>, Report> {
        let known = self.0.list()?.into_iter();
        known
            .map(|(domain, kind, public, created)| {
                Ok(OtherRegistry {
                    kind: kind.to_string(),
                    public,
                    created: clock::of_unix_ms(created.saturating_mul(1000)),
                    reference: self.0.origin(&domain)?,
                    domain,
                })
            })
            .collect()
    }

    /// Whether there were none.
    pub(super) fn add(&self, registry: &OtherRegistry, secret: &str) -> Result<bool, Report> {
        check_domain(&registry.domain)?;
        let named = match registry.kind.as_str() {
            "ECR" => Kind::Ecr,
            "DockerHub" => Kind::DockerHub,
            "GAR" => Kind::Gar,
            "default" => Kind::Default,
            other => {
                return Err(Report::new(
                    format!("`{other}` is no kind of registry"),
                    Some("there are ECR, DockerHub, GAR and default".to_owned()),
                ));
            }
        };
        let own = kind(&registry.domain);
        if named != own {
            let text = format!("`{}` is of the kind {own}, not {named}", registry.domain);
            return Err(Report::new(text, None));
        }
        if registry.public.is_empty() || secret.is_empty() {
            let text = format!("the credentials of `{}` are empty", registry.domain);
            return Err(Report::new(text, None));
        }
        let (domain, public) = (&registry.domain, &registry.public);
        let origin = registry.reference.clone();
        Ok(self.0.add_from(domain, named, public, secret, origin)?)
    }

    /// What was forgotten.
    pub(super) fn remove(&self, domain: &str) -> Result<Option<OtherRegistry>, Report> {
        let known = self.list()?;
        let known = known.into_iter().find(|one| one.domain == domain);
        let removed = self.0.remove(domain)?;
        Ok(known.filter(|_| removed))
    }
}
