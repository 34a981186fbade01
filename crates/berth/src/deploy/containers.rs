//! Container applications: made, changed, and rolled out when image or size differ
//! (`wrangler/src/containers/deploy.ts`).

use berth_client::{Client, segment};
use berth_config::{ContainerApp, Project};
use berth_error::Report;
use http::Method;
use serde_json::{Map, Value, json};

use super::images::Pushed;
use super::live::optional;
use super::steps::Steps;

/// Where containers run when nothing says it, in wrangler's words.
const TIERS: [u8; 2] = [1, 2];
/// Seconds between two looks at an image that is being prepared, and how many there are at most.
const PREPARATION: (u64, usize) = (2, 450);

/// What comes of an application whose Worker waits for it.
pub(super) const TOGETHER: &str = "changes with the Worker";

/// Applies the container applications of a project.
pub(super) struct Deploying<'a> {
    pub(super) client: &'a Client,
    pub(super) project: &'a Project,
    pub(super) steps: &'a Steps,
    /// All instances at once.
    pub(super) immediate: bool,
    /// The Worker waits for them.
    pub(super) together: bool,
}

impl Deploying<'_> {
    /// Makes and changes them; what came of each.
    pub(super) async fn apply(&self, pushed: &Pushed) -> Result<Vec<Value>, Report> {
        if self.project.containers.is_empty() {
            return Ok(Vec::new());
        }
        let (applications, namespaces): (Value, Value) = tokio::try_join!(
            self.client.get("containers/applications"),
            self.client.get("workers/durable_objects/namespaces"),
        )?;
        let mut applied = Vec::new();
        for (index, app) in self.project.containers.iter().enumerate() {
            let namespace = self.namespace(&namespaces, app)?;
            let written = &self.project.written["containers"][index];
            let work = async {
                let result = if app.scheduling_policy == "durable_object" {
                    self.chosen_at_start(app, written, pushed, &namespace).await
                } else {
                    let wanted = self.wanted(app, written, pushed, &namespace);
                    self.one(app, written, wanted, &applications).await
                };
                let result = result.map_err(|report| {
                    report.context(format!(
                        "the Worker is deployed, but not its container application `{}`",
                        app.name
                    ))
                })?;
                let change = result["change"].as_str().unwrap_or_default();
                let detail = format!("{}: {change}", app.name);
                Ok((result, detail))
            };
            applied.push(self.steps.run("containers", work).await?);
        }
        Ok(applied)
    }

    fn namespace(&self, namespaces: &Value, app: &ContainerApp) -> Result<String, Report> {
        let mut namespaces = namespaces.as_array().into_iter().flatten();
        let found = namespaces.find(|namespace| {
            namespace["class"] == *app.class_name && namespace["script"] == *self.project.name
        });
        let id = found.and_then(|namespace| namespace["id"].as_str());
        id.map(str::to_owned).ok_or_else(|| {
            Report::new(
                format!(
                    "the server has no Durable Object class `{}`",
                    app.class_name
                ),
                Some("create it in `migrations` (`new_sqlite_classes`)".to_owned()),
            )
        })
    }

    /// The request that makes the application.
    fn wanted(
        &self,
        app: &ContainerApp,
        written: &Value,
        pushed: &Pushed,
        namespace: &str,
    ) -> Map<String, Value> {
        let mut constraints = Map::new();
        let written_constraints = &written["constraints"];
        match (&written_constraints["tiers"], &written_constraints["tier"]) {
            (Value::Array(tiers), _) => {
                constraints.insert("tiers".to_owned(), tiers.clone().into());
            }
            (_, tier) if tier.as_i64() == Some(-1) => {}
            (_, tier) if tier.is_number() => {
                constraints.insert("tiers".to_owned(), json!([tier]));
            }
            _ => {
                constraints.insert("tiers".to_owned(), json!(TIERS));
            }
        }
        if !app.regions.is_empty() {
            constraints.insert("regions".to_owned(), app.regions.clone().into());
        }
        if let Some(jurisdiction) = &app.jurisdiction {
            constraints.insert("jurisdiction".to_owned(), jurisdiction.clone().into());
        }
        if let Some(cities) = written_constraints["cities"].as_array() {
            let cities = cities.iter().filter_map(Value::as_str);
            let cities: Vec<String> = cities.map(str::to_lowercase).collect();
            constraints.insert("cities".to_owned(), cities.into());
        }
        let mut wanted = json!({
            "name": app.name,
            "scheduling_policy": app.scheduling_policy,
            "configuration": configuration(app, written, pushed),
            "instances": 0,
            "max_instances": app.max_instances,
            "constraints": constraints,
            "durable_objects": {"namespace_id": namespace},
            "rollout_active_grace_period": app.rollout_active_grace_period_s,
        });
        if let Some(affinities) = written.get("affinities") {
            wanted["affinities"] = affinities.clone();
        }
        if let Some(observability) = observability(self.project, written) {
            wanted["observability"] = observability;
        }
        match wanted {
            Value::Object(wanted) => wanted,
            _ => Map::new(),
        }
    }

    async fn one(
        &self,
        app: &ContainerApp,
        written: &Value,
        mut wanted: Map<String, Value>,
        applications: &Value,
    ) -> Result<Value, Report> {
        let mut applications = applications.as_array().into_iter().flatten();
        let Some(present) = applications.find(|one| one["name"] == *app.name) else {
            let call = self.client.call(Method::POST, "containers/applications");
            let made: Value = call.json(&wanted).send().await?;
            return Ok(outcome(app, &made["id"], "created", None));
        };
        if present["durable_objects"] != wanted["durable_objects"] {
            return Err(Report::new(
                format!("the application `{}` belongs to another class", app.name),
                Some(format!(
                    "give this container another `name`, or delete that one: `berth containers delete {}`",
                    present["id"].as_str().unwrap_or_default()
                )),
            ));
        }
        // A setting that is gone from the file is switched off.
        if !wanted.contains_key("observability")
            && present["observability"]["logs"]["enabled"] == true
        {
            wanted.insert(
                "observability".to_owned(),
                json!({"logs": {"enabled": false}}),
            );
        }
        for name in ["name", "instances", "durable_objects"] {
            wanted.remove(name);
        }
        let wanted = Value::Object(wanted);
        if within(&wanted, present) {
            return Ok(outcome(app, &present["id"], "unchanged", None));
        }
        if app.rollout_kind == "none" {
            let change = "differs, and stays (`rollout_kind` is `none`)";
            return Ok(outcome(app, &present["id"], change, None));
        }
        let id = present["id"].as_str().unwrap_or_default();
        let path = format!("containers/applications/{}", segment(id));
        let call = self.client.call(Method::PATCH, path.clone());
        let _: Value = call.json(&wanted).send().await?;
        if within(&wanted["configuration"], &present["configuration"]) {
            return Ok(outcome(app, &present["id"], "changed", None));
        }
        let rollout = self.rollout(app, written, &wanted["configuration"]);
        let call = self.client.call(Method::POST, format!("{path}/rollouts"));
        let rollout: Value = call.json(&rollout).send().await?;
        if self.together {
            return Ok(outcome(app, &present["id"], TOGETHER, None));
        }
        Ok(outcome(
            app,
            &present["id"],
            "rolled out",
            Some(&rollout["id"]),
        ))
    }

    /// `POST rollouts`.
    fn rollout(&self, app: &ContainerApp, written: &Value, configuration: &Value) -> Value {
        let mut rollout = json!({
            "description": "Progressive update",
            "strategy": "rolling",
            "target_configuration": configuration,
            "kind": app.rollout_kind,
        });
        let percentage = &written["rollout_step_percentage"];
        match app.rollout_steps.as_slice() {
            _ if self.immediate => rollout["step_percentage"] = 100.into(),
            _ if percentage.is_number() => rollout["step_percentage"] = percentage.clone(),
            [only] => rollout["step_percentage"] = (*only).into(),
            steps => {
                let count = steps.len();
                let steps = steps.iter().enumerate().map(|(index, percentage)| {
                    json!({
                        "step_size": {"percentage": percentage},
                        "description": format!(
                            "Step {} of {count} - rollout at {percentage}% of instances", index + 1
                        ),
                    })
                });
                rollout["steps"] = steps.collect::<Vec<_>>().into();
            }
        }
        rollout
    }

    /// The policy `durable_object`: images are prepared, the application has none of its own.
    async fn chosen_at_start(
        &self,
        app: &ContainerApp,
        written: &Value,
        pushed: &Pushed,
        namespace: &str,
    ) -> Result<Value, Report> {
        for image in pushed.named(&app.name).values() {
            self.prepare(image).await?;
        }
        let mut configuration = Map::new();
        access(written, &mut configuration);
        let mut wanted = json!({});
        if !configuration.is_empty() {
            wanted["configuration"] = configuration.into();
        }
        if let Some(observability) = observability(self.project, written) {
            wanted["observability"] = observability;
        }
        let path = format!("containers/applications/{}", segment(namespace));
        let present = optional(self.client, path.clone()).await?;
        if present.is_null() {
            wanted["name"] = app.name.clone().into();
            wanted["scheduling_policy"] = app.scheduling_policy.clone().into();
            wanted["durable_objects"] = json!({"namespace_id": namespace});
            let call = self.client.call(Method::POST, "containers/applications");
            let made: Value = call.json(&wanted).send().await?;
            return Ok(outcome(app, &made["id"], "created", None));
        }
        if within(&wanted, &present) {
            return Ok(outcome(app, &present["id"], "unchanged", None));
        }
        let call = self.client.call(Method::PATCH, path);
        let _: Value = call.json(&wanted).send().await?;
        Ok(outcome(app, &present["id"], "changed", None))
    }

    async fn prepare(&self, image: &Value) -> Result<(), Report> {
        let (every, most) = PREPARATION;
        for _ in 0..most {
            let call = self
                .client
                .call(Method::POST, "containers/image-preparations");
            let answer: Value = call.json(&json!({"image": image})).send().await?;
            match answer["status"].as_str() {
                Some("ready") => return Ok(()),
                Some("error") => {
                    let reason = answer["reason"].as_str().unwrap_or("no reason is given");
                    let text = format!("the image {image} cannot be prepared");
                    return Err(Report::new(text, None).because(reason));
                }
                _ => tokio::time::sleep(std::time::Duration::from_secs(every)).await,
            }
        }
        Err(Report::new(
            format!("the image {image} is not ready after a quarter of an hour"),
            None,
        ))
    }
}

/// A size that only the server can know must be one that it has. Nothing has been sent yet.
pub(super) async fn check_types(client: &Client, project: &Project) -> Result<(), Report> {
    let known_here = |name: &str| name == "custom" || berth_config::instance_type(name).is_some();
    let mut unknown = project.containers.iter();
    if unknown.all(|app| known_here(&app.instance_type)) {
        return Ok(());
    }
    let types: Value = client.get("berth/instance-types").await?;
    let types = types.as_array().into_iter().flatten();
    let types: Vec<&str> = types.filter_map(|one| one["name"].as_str()).collect();
    for app in &project.containers {
        let name = app.instance_type.as_str();
        if !known_here(name) && !types.contains(&name) {
            return Err(Report::new(
                format!(
                    "the server has no instance type `{name}`, which the container `{}` wants",
                    app.name
                ),
                Some(format!(
                    "it has {}; or write an object with `vcpu`, `memory_mib` and `disk_mb`",
                    types.join(", ")
                )),
            ));
        }
    }
    Ok(())
}

fn outcome(app: &ContainerApp, id: &Value, change: &str, rollout: Option<&Value>) -> Value {
    let mut outcome = json!({"name": app.name, "id": id, "change": change});
    if let Some(rollout) = rollout {
        outcome["rollout_id"] = rollout.clone();
    }
    outcome
}

fn configuration(app: &ContainerApp, written: &Value, pushed: &Pushed) -> Map<String, Value> {
    let mut configuration = Map::new();
    let image = pushed.image(&app.name).unwrap_or_default();
    configuration.insert("image".to_owned(), image.into());
    if app.instance_type == "custom" {
        let size = app.resources;
        configuration.insert("disk".to_owned(), json!({"size_mb": size.disk_mb}));
        configuration.insert("memory_mib".to_owned(), size.memory_mib.into());
        configuration.insert("vcpu".to_owned(), size.vcpu.into());
    } else {
        configuration.insert("instance_type".to_owned(), app.instance_type.clone().into());
    }
    access(written, &mut configuration);
    configuration
}

/// Who may come in by SSH.
fn access(written: &Value, configuration: &mut Map<String, Value>) {
    let ssh = written.get("ssh").or_else(|| written.get("wrangler_ssh"));
    if let Some(ssh) = ssh {
        configuration.insert("wrangler_ssh".to_owned(), ssh.clone());
    }
    for name in ["authorized_keys", "trusted_user_ca_keys"] {
        if let Some(keys) = written.get(name) {
            configuration.insert(name.to_owned(), keys.clone());
        }
    }
}

/// `observability` of a container: its own, or the Worker's.
fn observability(project: &Project, written: &Value) -> Option<Value> {
    let own = written.get("observability");
    let source = own.or_else(|| project.written.get("observability"))?;
    let logs = source["logs"]["enabled"].as_bool();
    let enabled = logs.or_else(|| source["enabled"].as_bool())?;
    if !enabled {
        return None;
    }
    let mut shown = json!({"logs": {"enabled": true}});
    for name in ["target_instance_percentage", "target_instance_count"] {
        if let Some(value) = own.and_then(|own| own.get(name)) {
            shown[name] = value.clone();
        }
    }
    Some(shown)
}

/// Whether everything that is wanted is there. Numbers are compared by their value.
fn within(wanted: &Value, present: &Value) -> bool {
    match (wanted, present) {
        (Value::Object(wanted), Value::Object(_)) => wanted
            .iter()
            .all(|(name, value)| within(value, &present[name])),
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => wanted == present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_compared() {
        let present = json!({"a": {"b": 1, "c": [1]}, "more": true});
        assert!(within(&json!({"a": {"b": 1.0}}), &present));
        assert!(!within(&json!({"a": {"b": 2}}), &present));
        assert!(!within(&json!({"a": {"c": [1, 2]}}), &present));
        assert!(!within(&json!({"new": 1}), &present));
    }
}
