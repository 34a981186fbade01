//! What the names of registries say.

use berth_distribution::credentials::{Kind, is_ecr};
use berth_error::Report;
use berth_image::Reference;

/// A host as image names have it.
pub(crate) fn check_domain(domain: &str) -> Result<(), Report> {
    let hub = ["index.docker.io", "registry-1.docker.io", "hub.docker.com"];
    if hub.contains(&domain) {
        return Err(Report::new(
            format!("`{domain}` is not what image names have"),
            Some("Docker Hub is `docker.io`".to_owned()),
        ));
    }
    let parsed = format!("{domain}/x").parse::<Reference>();
    if parsed.is_ok_and(|parsed| parsed.host() == domain) {
        return Ok(());
    }
    Err(Report::new(
        format!("`{domain}` is not the host of a registry"),
        Some("give it as image names have it, such as `registry.example.com:5000`".to_owned()),
    ))
}

/// The kind of a registry with this host.
pub(crate) fn kind(domain: &str) -> Kind {
    if domain == "docker.io" {
        Kind::DockerHub
    } else if is_ecr(domain) {
        Kind::Ecr
    } else if domain.ends_with("-docker.pkg.dev") {
        Kind::Gar
    } else {
        Kind::Default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_the_name() {
        assert_eq!(kind("docker.io"), Kind::DockerHub);
        assert_eq!(
            kind("123456789012.dkr.ecr.us-east-1.amazonaws.com"),
            Kind::Ecr
        );
        assert_eq!(kind("europe-west1-docker.pkg.dev"), Kind::Gar);
        assert_eq!(kind("registry.example.com:5000"), Kind::Default);
        assert!(check_domain("registry.example.com:5000").is_ok());
        for bad in ["index.docker.io", "https://x.io", "x.io/a", "", "app"] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
    }
}
