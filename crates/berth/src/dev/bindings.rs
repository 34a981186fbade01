//! The table of what a Worker has, for the ready line.

use std::path::Path;

use berth_config::{ContainerApp, ImageSource, Project, RunWorkerFirst};

use super::event::Binding;

/// One row for every binding and trigger, in the order in which people look for them.
pub(crate) fn table(project: &Project) -> Vec<Binding> {
    let mut rows = Vec::new();
    let mut env = |name: &str, kind: &'static str, target: String| {
        rows.push(Binding {
            name: format!("env.{name}"),
            kind,
            target,
        });
    };
    for binding in &project.durable_objects {
        let app = project
            .containers
            .iter()
            .find(|app| app.class_name == binding.class_name);
        match app {
            Some(app) if project.dev.enable_containers => {
                env(&binding.name, "Container", container(app));
            }
            _ => env(&binding.name, "Durable Object", binding.class_name.clone()),
        }
    }
    for workflow in &project.workflows {
        env(
            &workflow.binding,
            "Workflow",
            format!("{} ({})", workflow.name, workflow.class_name),
        );
    }
    for namespace in &project.kv_namespaces {
        env(&namespace.binding, "KV namespace", namespace.id.clone());
    }
    for database in &project.d1_databases {
        env(
            &database.binding,
            "D1 database",
            database.database_name.clone(),
        );
    }
    for producer in &project.queue_producers {
        env(&producer.binding, "Queue", producer.queue.clone());
    }
    for service in &project.services {
        let entrypoint = service.entrypoint.as_ref();
        let target = entrypoint.map_or_else(
            || service.service.clone(),
            |entrypoint| format!("{}#{entrypoint}", service.service),
        );
        env(&service.binding, "Service", target);
    }
    if let Some(assets) = &project.assets {
        let target = relative(project, &assets.directory);
        let first = match &assets.run_worker_first {
            RunWorkerFirst::Always(true) => " (Worker first)",
            RunWorkerFirst::Always(false) => "",
            RunWorkerFirst::Routes(_) => " (Worker first for some routes)",
        };
        let name = assets
            .binding
            .as_ref()
            .map_or_else(|| "assets".to_owned(), |name| format!("env.{name}"));
        rows.push(Binding {
            name,
            kind: "Assets",
            target: format!("{target}{first}"),
        });
    }
    let mut env = |name: &str, kind: &'static str, target: String| {
        rows.push(Binding {
            name: format!("env.{name}"),
            kind,
            target,
        });
    };
    for (name, value) in &project.vars {
        if !project.secrets.contains_key(name) {
            env(name, "Variable", shorten(value));
        }
    }
    for name in project.secrets.keys() {
        env(name, "Secret", "(hidden)".to_owned());
    }
    for consumer in &project.queue_consumers {
        let target = consumer.queue.clone();
        rows.push(Binding {
            name: "queue()".to_owned(),
            kind: "Queue consumer",
            target,
        });
    }
    for cron in &project.crons {
        rows.push(Binding {
            name: "scheduled()".to_owned(),
            kind: "Cron",
            target: cron.clone(),
        });
    }
    rows
}

fn container(app: &ContainerApp) -> String {
    let image = match &app.image {
        Some(ImageSource::Dockerfile { .. }) | None => String::new(),
        Some(ImageSource::Reference(reference)) => format!(", {reference}"),
    };
    format!("{} ({}{image})", app.class_name, app.instance_type)
}

/// A path as it is seen from the project.
fn relative(project: &Project, path: &Path) -> String {
    let seen = path.strip_prefix(&project.root).unwrap_or(path);
    seen.display().to_string()
}

/// A value as JSON, cut to what fits on a line.
fn shorten(value: &serde_json::Value) -> String {
    const LONGEST: usize = 40;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shorten(&serde_json::json!("short")), "\"short\"");
        assert_eq!(
            shorten(&serde_json::json!("x".repeat(100))).chars().count(),
            40
        );
    }
}
