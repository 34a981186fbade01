//! Container names as workerd makes them, and what they tell.
//!
//! workerd 1.20261117.1 names an application container `workerd-<uniqueKey>-<object id>` or, with a
//! session id in its configuration, `workerd-<sessionId>-<uniqueKey>-<object id>`; the sidecar has
//! `-proxy` appended. The object id is 64 hex digits. Both the session id and the unique key may
//! contain dashes, so only the list of applications can tell them apart.

use crate::{Application, Applications};

/// Appended to a container's name by workerd to name its sidecar.
pub(crate) const SIDECAR_SUFFIX: &str = "-proxy";

const OBJECT_ID_LEN: usize = 64;

/// What a container name says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParsedName<'a> {
    /// The application whose unique key is in the name.
    pub(crate) application: Option<&'a Application>,
    /// 64 hex digits.
    pub(crate) object_id: Option<&'a str>,
}

impl<'a> ParsedName<'a> {
    /// Takes a name apart; of several unique keys that fit, the longest is meant.
    pub(crate) fn parse(name: &'a str, applications: &'a Applications) -> Self {
        let Some((middle, object_id)) = split_object_id(name) else {
            return Self {
                application: None,
                object_id: None,
            };
        };
        let application = applications
            .applications
            .iter()
            .filter(|application| ends_with_key(middle, &application.unique_key))
            .max_by_key(|application| application.unique_key.len());
        Self {
            application,
            object_id: Some(object_id),
        }
    }

    /// What a person calls the instance: its class and the start of its object id.
    pub(crate) fn display_name(&self, name: &str) -> String {
        match (self.application, self.object_id) {
            (Some(application), Some(object_id)) => {
                format!("{}/{}", application.class_name, &object_id[..8])
            }
            (None, Some(object_id)) => match split_object_id(name) {
                Some((middle, _)) => format!("{}/{}", without_session(middle), &object_id[..8]),
                None => name.to_owned(),
            },
            (_, None) => name.to_owned(),
        }
    }

    /// What stands for the application in a name whose applications nobody told: workerd's unique
    /// key, which wrangler makes of the Worker's and the class's names.
    pub(crate) fn unknown_application(name: &'a str) -> Option<&'a str> {
        split_object_id(name).map(|(middle, _)| without_session(middle))
    }
}

/// Whether workerd made the name: only it starts that container, one call at a time.
pub(crate) fn is_workerds(name: &str) -> bool {
    split_object_id(name).is_some()
}

/// `workerd-<middle>-<object id>`.
fn split_object_id(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("workerd-")?;
    let (middle, object_id) = rest.rsplit_once('-')?;
    let is_id =
        object_id.len() == OBJECT_ID_LEN && object_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some((middle, object_id))
}

/// A name's middle without the session id that miniflare 5 makes: 16 hex digits.
fn without_session(middle: &str) -> &str {
    match middle.split_once('-') {
        Some((session, key))
            if session.len() == 16 && session.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            key
        }
        _ => middle,
    }
}

/// `key` is all of `middle`, or what follows a session id and a dash.
fn ends_with_key(middle: &str, key: &str) -> bool {
    middle
        .strip_suffix(key)
        .is_some_and(|session| !key.is_empty() && (session.is_empty() || session.ends_with('-')))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Identity;

    pub(crate) fn applications(keys: &[&str]) -> Applications {
        Applications {
            applications: keys
                .iter()
                .map(|key| Application {
                    unique_key: (*key).to_owned(),
                    class_name: format!("Class{}", key.len()),
                    limits: berth_jail::Limits::default(),
                    chooser: None,
                    sizer: None,
                    made_for: None,
                    sleep: None,
                    max_instances: 1,
                    stop_grace: berth_engine::STOP_GRACE,
                    application_id: format!("id-of-{key}"),
                })
                .collect(),
            identity: Identity {
                deployment_id: "deployment".to_owned(),
                location: "here".to_owned(),
                region: "EARTH".to_owned(),
                country: "DE".to_owned(),
                node_id: "node".to_owned(),
            },
            starts_per_second: None,
        }
    }

    fn key_of<'a>(name: &'a str, applications: &'a Applications) -> Option<&'a str> {
        ParsedName::parse(name, applications)
            .application
            .map(|application| application.unique_key.as_str())
    }

    #[test]
    fn with_and_without_a_session() {
        let applications = applications(&["hello-Box"]);
        let id = "0123456789abcdef".repeat(4);
        let plain = format!("workerd-hello-Box-{id}");
        let session = format!("workerd-5f0c-11-hello-Box-{id}");
        assert_eq!(key_of(&plain, &applications), Some("hello-Box"));
        assert_eq!(key_of(&session, &applications), Some("hello-Box"));
        let parsed = ParsedName::parse(&session, &applications);
        assert_eq!(parsed.object_id, Some(id.as_str()));
        assert_eq!(parsed.display_name(&session), "Class9/01234567");
    }

    #[test]
    fn the_longest_key_wins() {
        let applications = applications(&["Box", "hello-Box", "my-hello-Box", "lo-Box"]);
        let id = "a".repeat(64);
        let name = |middle: &str| format!("workerd-{middle}-{id}");
        assert_eq!(key_of(&name("hello-Box"), &applications), Some("hello-Box"));
        assert_eq!(
            key_of(&name("my-hello-Box"), &applications),
            Some("my-hello-Box")
        );
        assert_eq!(key_of(&name("session-Box"), &applications), Some("Box"));
        assert_eq!(key_of(&name("sandBox"), &applications), None);
    }

    #[test]
    fn without_applications_the_unique_key_names_the_instance() {
        let none = applications(&[]);
        let id = "0123456789abcdef".repeat(4);
        for name in [
            format!("workerd-hello-Box-{id}"),
            format!("workerd-0011223344556677-hello-Box-{id}"),
        ] {
            let parsed = ParsedName::parse(&name, &none);
            assert_eq!(parsed.display_name(&name), "hello-Box/01234567");
            assert_eq!(ParsedName::unknown_application(&name), Some("hello-Box"));
        }
        assert_eq!(ParsedName::unknown_application("redis"), None);
    }

    #[test]
    fn names_of_other_makers_tell_nothing() {
        let applications = applications(&["hello-Box"]);
        for name in ["redis", "workerd-hello-Box-1234", "workerd-", "x-proxy", ""] {
            let parsed = ParsedName::parse(name, &applications);
            assert!(parsed.application.is_none() && parsed.object_id.is_none());
            assert_eq!(parsed.display_name(name), name);
        }
    }
}
