//! Scopes as clients ask for them: `repository:team/app:pull,push registry:catalog:*`.

use super::token::Claims;
use super::{Actions, Grant, Identity, Pattern};
use crate::names::RepositoryName;

/// Most scopes in one request: Docker asks for one per repository of a push.
const MAX_SCOPES: usize = 64;

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Repository(RepositoryName, Actions),
    Catalog,
}

impl Scope {
    /// The scopes of a parameter; what is not understood grants nothing.
    pub(crate) fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Self> {
        let scopes = texts.flat_map(|text| text.split(' '));
        scopes.filter_map(Self::parse).take(MAX_SCOPES).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        // A name may have a port before it in other registries; ours has no colon.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` is the same to us.
        match kind.split('(').next()? {
            "repository" => Some(Self::Repository(
                RepositoryName::parse(name)?,
                parse_actions(actions),
            )),
            "registry" if name == "catalog" => Some(Self::Catalog),
            _ => None,
        }
    }

    /// What an identity gets of what it asks for.
    pub(crate) fn grant(scopes: &[Self], identity: &Identity, service: &str, exp: u64) -> Claims {
        let mut claims = Claims {
            sub: identity.name.clone(),
            exp,
            aud: service.to_owned(),
            grants: Vec::new(),
            catalog: None,
            denied: Vec::new(),
        };
        for scope in scopes {
            match scope {
                Self::Catalog => claims.catalog = Some(identity.grants.clone()),
                Self::Repository(name, wanted) => {
                    let actions = identity.actions(name).and(*wanted);
                    if wanted.pull && !actions.pull {
                        claims.denied.push(Pattern::one(name));
                    }
                    if !actions.is_empty() {
                        claims.grants.push(Grant {
                            repositories: Pattern::one(name),
                            actions,
                        });
                    }
                }
            }
        }
        claims
    }
}

fn parse_actions(text: &str) -> Actions {
    text.split(',').fold(Actions::default(), |sum, action| {
        sum.or(match action {
            "*" => Actions::ALL,
            "pull" => Actions::PULL,
            "push" => Actions {
                push: true,
                ..Actions::default()
            },
            "delete" => Actions {
                delete: true,
                ..Actions::default()
            },
            _ => Actions::default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_what_was_asked_for_and_is_allowed() {
        let identity = Identity {
            name: "ci".into(),
            grants: vec![Grant {
                repositories: Pattern::try_from("team/*".to_owned()).unwrap(),
                actions: Actions {
                    pull: true,
                    push: true,
                    delete: false,
                },
            }],
        };
        let asked = [
            "repository:team/app:pull,push,delete repository:other/app:pull",
            "repository:team/lib:*",
            "repository:team/lib",
            "registry:catalog:*",
            "nonsense",
            "repository:../x:pull",
        ];
        let scopes = Scope::parse_all(asked.into_iter());
        let claims = Scope::grant(&scopes, &identity, "s", 1);
        let shown: Vec<_> = claims
            .grants
            .iter()
            .map(|grant| {
                format!(
                    "{}:{}",
                    String::from(grant.repositories.clone()),
                    grant.actions
                )
            })
            .collect();
        assert_eq!(shown, ["team/app:pull,push", "team/lib:pull,push"]);
        assert_eq!(
            claims.denied,
            [Pattern::try_from("other/app".to_owned()).unwrap()]
        );
        assert_eq!(claims.catalog, Some(identity.grants));
    }
}
