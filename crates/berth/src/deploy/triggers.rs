//! How a Worker is reached and woken, and its settings. Only what differs is sent.

use berth_client::{Client, segment};
use berth_config::{Project, QueueConsumer};
use berth_error::Report;
use http::Method;
use serde_json::{Map, Value, json};

use super::live::Live;
use super::steps::Steps;

/// Applies all of them.
pub(super) async fn apply(
    client: &Client,
    project: &Project,
    live: &Live,
    steps: &Steps,
) -> Result<(), Report> {
    let triggers = Triggers {
        client,
        project,
        live,
        script: format!("workers/scripts/{}", segment(&project.name)),
    };
    let work = async {
        let mut changed = Vec::new();
        triggers.settings(&mut changed).await?;
        triggers.subdomain(&mut changed).await?;
        triggers.routes(&mut changed).await?;
        triggers.schedules(&mut changed).await?;
        triggers.consumers(&mut changed).await?;
        triggers.workflows(&mut changed).await?;
        let detail = match changed.as_slice() {
            [] => "unchanged".to_owned(),
            changed => changed.join(", "),
        };
        Ok(((), detail))
    };
    let done: Result<(), Report> = steps.run("triggers", work).await;
    done.map_err(|report| report.context("the Worker is deployed, but not everything around it"))
}

struct Triggers<'a> {
    client: &'a Client,
    project: &'a Project,
    live: &'a Live,
    script: String,
}

impl Triggers<'_> {
    async fn put(&self, method: Method, path: &str, body: &Value) -> Result<Value, Report> {
        Ok(self.client.call(method, path).json(body).send().await?)
    }

    /// `script-settings`: tags as wrangler sets them for environments, and what belongs to no version.
    async fn settings(&self, changed: &mut Vec<String>) -> Result<(), Report> {
        let written = &self.project.written;
        let mut wanted = Map::new();
        for name in ["observability", "logpush", "tail_consumers"] {
            if let Some(value) = written.get(name) {
                wanted.insert(name.to_owned(), value.clone());
            }
        }
        // An empty list is none at all, and none takes away those that there were.
        let consumers = wanted.remove("tail_consumers");
        let consumers = consumers.filter(|all| *all != json!([]));
        wanted.insert("tail_consumers".to_owned(), consumers.unwrap_or_default());
        let was_on = self.live.settings["observability"]["enabled"] == true;
        if !wanted.contains_key("observability") && was_on {
            wanted.insert("observability".to_owned(), json!({"enabled": false}));
        }
        if let Some(environment) = &self.project.environment {
            let name = written.get("name").and_then(Value::as_str);
            let tags = [
                format!("cf:service={}", name.unwrap_or(&self.project.name)),
                format!("cf:environment={environment}"),
            ];
            wanted.insert("tags".to_owned(), json!(tags));
        }
        wanted.retain(|name, value| self.live.settings[name.as_str()] != *value);
        if wanted.is_empty() {
            return Ok(());
        }
        let path = format!("{}/script-settings", self.script);
        self.put(Method::PATCH, &path, &Value::Object(wanted))
            .await?;
        changed.push("settings".to_owned());
        Ok(())
    }

    fn routes_written(&self) -> Vec<Value> {
        let written = &self.project.written;
        let all = written.get("routes").and_then(Value::as_array);
        let all = all.cloned().unwrap_or_default();
        written
            .get("route")
            .cloned()
            .into_iter()
            .chain(all)
            .collect()
    }

    async fn subdomain(&self, changed: &mut Vec<String>) -> Result<(), Report> {
        let written = &self.project.written;
        let flag = |name: &str| written.get(name).and_then(Value::as_bool);
        let enabled = flag("workers_dev").unwrap_or_else(|| self.routes_written().is_empty());
        let mut wanted = json!({"enabled": enabled});
        if let Some(previews) = flag("preview_urls") {
            wanted["previews_enabled"] = previews.into();
        }
        let present = &self.live.subdomain;
        let mut fields = wanted.as_object().into_iter().flatten();
        if fields.all(|(name, value)| present[name] == *value) {
            return Ok(());
        }
        let path = format!("{}/subdomain", self.script);
        self.put(Method::POST, &path, &wanted).await?;
        let how = if enabled { "on" } else { "off" };
        changed.push(format!("subdomain {how}"));
        Ok(())
    }

    /// Routes and custom domains.
    async fn routes(&self, changed: &mut Vec<String>) -> Result<(), Report> {
        let mut routes = Vec::new();
        let mut origins = Vec::new();
        for route in self.routes_written() {
            let route = match route {
                Value::String(pattern) => json!({"pattern": pattern}),
                other => other,
            };
            if route["custom_domain"] != true {
                routes.push(route);
                continue;
            }
            let mut origin = json!({"hostname": route["pattern"]});
            for name in ["zone_id", "zone_name", "enabled", "previews_enabled"] {
                if let Some(value) = route.get(name) {
                    origin[name] = value.clone();
                }
            }
            origins.push(origin);
        }
        if !routes.is_empty() && !same_routes(&routes, &self.live.routes) {
            let path = format!("{}/routes", self.script);
            let count = routes.len();
            self.put(Method::PUT, &path, &routes.into()).await?;
            changed.push(counted(count, "route"));
        }
        if !origins.is_empty() {
            let path = format!("{}/domains/records", self.script);
            let count = origins.len();
            let body = json!({
                "override_scope": true,
                "override_existing_origin": true,
                "override_existing_dns_record": true,
                "origins": origins,
            });
            self.put(Method::PUT, &path, &body).await?;
            changed.push(counted(count, "domain"));
        }
        Ok(())
    }

    async fn schedules(&self, changed: &mut Vec<String>) -> Result<(), Report> {
        let triggers = self.project.written.get("triggers");
        let is_written = triggers.is_some_and(|triggers| triggers.get("crons").is_some());
        let crons = &self.project.crons;
        if !is_written || *crons == self.live.crons {
            return Ok(());
        }
        let body: Vec<Value> = crons.iter().map(|cron| json!({"cron": cron})).collect();
        let path = format!("{}/schedules", self.script);
        self.put(Method::PUT, &path, &body.into()).await?;
        changed.push(counted(crons.len(), "schedule"));
        Ok(())
    }

    async fn consumers(&self, changed: &mut Vec<String>) -> Result<(), Report> {
        for consumer in &self.project.queue_consumers {
            if self.consumer(consumer).await? {
                changed.push(format!("consumer of `{}`", consumer.queue));
            }
        }
        Ok(())
    }

    async fn consumer(&self, consumer: &QueueConsumer) -> Result<bool, Report> {
        let call = self.client.call(Method::GET, "queues");
        let found: Value = call.query("name", &consumer.queue).send().await?;
        let mut queue = found[0].clone();
        if queue.is_null() {
            let body = json!({"queue_name": consumer.queue});
            queue = self.put(Method::POST, "queues", &body).await?;
        }
        let mut settings = Map::new();
        let mut set = |name: &str, value: Option<u32>| {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value.into());
            }
        };
        set("batch_size", consumer.max_batch_size);
        set("max_retries", consumer.max_retries);
        set(
            "max_wait_time_ms",
            consumer.max_batch_timeout_s.map(|seconds| seconds * 1000),
        );
        set("max_concurrency", consumer.max_concurrency);
        set("retry_delay", consumer.retry_delay_s);
        let mut body = json!({
            "type": "worker", "script_name": self.project.name, "settings": settings,
        });
        if let Some(dead) = &consumer.dead_letter_queue {
            body["dead_letter_queue"] = dead.clone().into();
        }
        let id = queue["queue_id"].as_str().unwrap_or_default();
        let path = format!("queues/{}/consumers", segment(id));
        let mut consumers = queue["consumers"].as_array().into_iter().flatten();
        let own = consumers.find(|one| {
            one["script"] == *self.project.name
                || one["script_name"] == *self.project.name
                || one["service"] == *self.project.name
        });
        match own.and_then(|own| Some((own, own["consumer_id"].as_str()?))) {
            Some((own, _)) if is_same_consumer(&body, own) => return Ok(false),
            Some((_, id)) => {
                let path = format!("{path}/{}", segment(id));
                self.put(Method::PUT, &path, &body).await?;
            }
            None => {
                self.put(Method::POST, &path, &body).await?;
            }
        }
        Ok(true)
    }

    async fn workflows(&self, changed: &mut Vec<String>) -> Result<(), Report> {
        let written = self.project.written.get("workflows");
        for workflow in written.and_then(Value::as_array).into_iter().flatten() {
            let word = |name: &str| workflow[name].as_str();
            let foreign = word("script_name").is_some_and(|script| script != self.project.name);
            let (Some(name), Some(class), false) = (word("name"), word("class_name"), foreign)
            else {
                continue;
            };
            let mut body = json!({"script_name": self.project.name, "class_name": class});
            for field in ["limits", "schedules"] {
                if let Some(value) = workflow.get(field) {
                    body[field] = value.clone();
                }
            }
            let path = format!("workflows/{}", segment(name));
            let present = super::live::optional(self.client, path.clone()).await?;
            let mut fields = body.as_object().into_iter().flatten();
            if fields.all(|(field, value)| present[field] == *value) {
                continue;
            }
            self.put(Method::PUT, &path, &body).await?;
            changed.push(format!("workflow `{name}`"));
        }
        Ok(())
    }
}

/// The server may say more of a consumer than was sent.
fn is_same_consumer(wanted: &Value, present: &Value) -> bool {
    let settings = wanted["settings"].as_object().into_iter().flatten();
    let mut settings = settings.map(|(name, value)| present["settings"][name] == *value);
    settings.all(|same| same)
        && wanted.get("dead_letter_queue") == present.get("dead_letter_queue")
        && wanted["settings"].as_object().map(Map::len)
            == present["settings"].as_object().map(Map::len)
}

fn same_routes(wanted: &[Value], present: &Value) -> bool {
    let patterns = |routes: &[Value]| {
        let patterns = routes.iter().map(|route| route["pattern"].clone());
        let mut patterns: Vec<String> = patterns.map(|pattern| pattern.to_string()).collect();
        patterns.sort();
        patterns
    };
    present
        .as_array()
        .is_some_and(|present| patterns(present) == patterns(wanted))
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
