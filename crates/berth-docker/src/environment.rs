//! Real values for the identity variables that workerd fills with placeholders.
//!
//! workerd 1.20261117.1 appends six variables with constant, made-up values to whatever the class
//! asked for. An entry that is exactly such a placeholder gives way to an earlier entry of the same
//! name (the user's value wins), and otherwise becomes the real value.

/// What the variables of one container say; `None` leaves a variable out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealValues<'a> {
    pub(crate) application_id: Option<&'a str>,
    pub(crate) deployment_id: &'a str,
    pub(crate) object_id: Option<&'a str>,
    pub(crate) location: &'a str,
    pub(crate) region: &'a str,
    pub(crate) country: &'a str,
    pub(crate) node_id: &'a str,
    pub(crate) placement_id: &'a str,
}

const UUID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
const OBJECT_ID: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Variable and placeholder.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("CLOUDFLARE_COUNTRY_A2", "XX"),
    ("CLOUDFLARE_DEPLOYMENT_ID", UUID),
    ("CLOUDFLARE_LOCATION", "loc01"),
    ("CLOUDFLARE_REGION", "REGN"),
    ("CLOUDFLARE_APPLICATION_ID", UUID),
    ("CLOUDFLARE_DURABLE_OBJECT_ID", OBJECT_ID),
];

impl<'a> RealValues<'a> {
    fn of(&self, key: &str) -> Option<&'a str> {
        match key {
            "CLOUDFLARE_COUNTRY_A2" => Some(self.country),
            "CLOUDFLARE_DEPLOYMENT_ID" => Some(self.deployment_id),
            "CLOUDFLARE_LOCATION" => Some(self.location),
            "CLOUDFLARE_REGION" => Some(self.region),
            "CLOUDFLARE_APPLICATION_ID" => self.application_id,
            "CLOUDFLARE_DURABLE_OBJECT_ID" => self.object_id,
            _ => None,
        }
    }
}

/// Replaces the placeholders. If there was any, also adds the two variables that workerd does not
/// know of, unless the user set them.
pub(crate) fn resolve_placeholders(env: Vec<String>, values: &RealValues<'_>) -> Vec<String> {
    let mut resolved: Vec<String> = Vec::with_capacity(env.len() + 2);
    let mut from_workerd = false;
    for entry in env {
        let Some(key) = placeholder_key(&entry) else {
            resolved.push(entry);
            continue;
        };
        from_workerd = true;
        if !is_set(&resolved, key)
            && let Some(value) = values.of(key)
        {
            resolved.push(format!("{key}={value}"));
        }
    }
    if from_workerd {
        for (key, value) in [
            ("CLOUDFLARE_NODE_ID", values.node_id),
            ("CLOUDFLARE_PLACEMENT_ID", values.placement_id),
        ] {
            if !is_set(&resolved, key) {
                resolved.push(format!("{key}={value}"));
            }
        }
    }
    resolved
}

fn placeholder_key(entry: &str) -> Option<&'static str> {
    let (key, value) = entry.split_once('=')?;
    PLACEHOLDERS
        .iter()
        .find(|(name, placeholder)| *name == key && *placeholder == value)
        .map(|(name, _)| *name)
}

fn is_set(env: &[String], key: &str) -> bool {
    env.iter()
        .any(|entry| entry.split_once('=').is_some_and(|(name, _)| name == key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: RealValues<'static> = RealValues {
        application_id: Some("app"),
        deployment_id: "dep",
        object_id: Some("obj"),
        location: "fra",
        region: "WEUR",
        country: "DE",
        node_id: "node",
        placement_id: "place",
    };

    fn from_workerd(user: &[&str]) -> Vec<String> {
        let placeholders = PLACEHOLDERS
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        user.iter()
            .map(|entry| (*entry).to_owned())
            .chain(placeholders)
            .collect()
    }

    #[test]
    fn placeholders_become_real_values_after_the_users() {
        assert_eq!(
            resolve_placeholders(from_workerd(&["A=B"]), &VALUES),
            [
                "A=B",
                "CLOUDFLARE_COUNTRY_A2=DE",
                "CLOUDFLARE_DEPLOYMENT_ID=dep",
                "CLOUDFLARE_LOCATION=fra",
                "CLOUDFLARE_REGION=WEUR",
                "CLOUDFLARE_APPLICATION_ID=app",
                "CLOUDFLARE_DURABLE_OBJECT_ID=obj",
                "CLOUDFLARE_NODE_ID=node",
                "CLOUDFLARE_PLACEMENT_ID=place",
            ]
        );
    }

    #[test]
    fn the_users_values_win() {
        let env = resolve_placeholders(
            from_workerd(&["CLOUDFLARE_LOCATION=mars", "CLOUDFLARE_NODE_ID=mine"]),
            &VALUES,
        );
        let location: Vec<_> = env.iter().filter(|e| e.contains("LOCATION")).collect();
        assert_eq!(location, ["CLOUDFLARE_LOCATION=mars"]);
        let node: Vec<_> = env.iter().filter(|e| e.contains("NODE_ID")).collect();
        assert_eq!(node, ["CLOUDFLARE_NODE_ID=mine"]);
    }

    #[test]
    fn an_unknown_value_is_left_out() {
        let values = RealValues {
            application_id: None,
            object_id: None,
            ..VALUES
        };
        let env = resolve_placeholders(from_workerd(&[]), &values);
        assert!(!env.iter().any(|e| e.contains("APPLICATION_ID")));
        assert!(!env.iter().any(|e| e.contains("DURABLE_OBJECT_ID")));
        assert!(!env.iter().any(|e| e.contains("xxxx")));
    }

    #[test]
    fn other_clients_environments_are_left_alone() {
        let env = vec!["CLOUDFLARE_LOCATION=loc02".to_owned(), "NOVALUE".to_owned()];
        assert_eq!(resolve_placeholders(env.clone(), &VALUES), env);
    }
}
