//! `containers`: each application by itself. How it hangs together with classes is [`links`](super::links)' job.

use std::path::Path;

use indexmap::IndexMap;

use super::field::{Field, Fields, Spanned};
use super::image::{check_unused, image, images};
use super::placement::placement;
use super::rollout::rollout;
use super::root::Root;
use super::{instance, ssh};
use crate::source::Span;
use crate::{ContainerApp, ImageSource};

const POLICIES: &[&str] = &["default", "moon", "regional", "durable_object"];
/// wrangler's default of `max_instances`.
const MAX_INSTANCES: u32 = 20;
/// What the `durable_object` policy leaves to the class, which chooses at each start.
const CHOSEN_AT_START: &[&str] = &[
    "image",
    "image_build_context",
    "image_vars",
    "instance_type",
    "max_instances",
    "rollout_step_percentage",
    "rollout_kind",
    "rollout_active_grace_period",
    "constraints",
];

/// An application whose name and class are not settled yet.
pub(crate) struct Draft {
    /// With empty `name` and `class_name`.
    pub(crate) app: ContainerApp,
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) class: Option<Spanned<String>>,
    /// The entry.
    pub(crate) span: Span,
    pub(crate) path: String,
}

/// The applications, in order.
pub(crate) fn containers(root: &Root<'_>, base: &Path) -> Vec<Draft> {
    root.get("containers")
        .map(|field| {
            field
                .objects()
                .into_iter()
                .map(|fields| container(fields, base))
                .collect()
        })
        .unwrap_or_default()
}

fn container(fields: Fields<'_>, base: &Path) -> Draft {
    let name = fields.text("name");
    let class = fields.text("class_name");
    let policy = fields
        .get("scheduling_policy")
        .and_then(|field| field.choice(POLICIES))
        .map_or_else(|| "default".to_owned(), |policy| policy.value);
    let old = fields.get("configuration").and_then(|field| old(&field));
    let images = images_of(&fields, base, &policy);
    let image = image_of(&fields, old.as_ref(), base, &policy);
    let (instance_type, resources) = instance::decode(&fields, old.as_ref());
    let written_max = fields
        .get("max_instances")
        .and_then(|field| field.whole(0, u32::MAX));
    let max_instances = written_max.unwrap_or(MAX_INSTANCES);
    let rollout = rollout(&fields, written_max, max_instances);
    let placement = placement(&fields);
    ssh::check(&fields);
    observability(&fields);
    deprecated(&fields);
    fields.ignore(&["unsafe"]);
    if let Some(old) = old {
        old.ignore(&["labels", "secrets"]);
        old.finish();
    }
    let span = fields.value.span.clone();
    let path = fields.path.clone();
    fields.finish();
    Draft {
        app: ContainerApp {
            name: String::new(),
            class_name: String::new(),
            image,
            images,
            scheduling_policy: policy,
            instance_type,
            resources,
            max_instances,
            sleep: None,
            atomic: false,
            rollout_active_grace_period_s: rollout.grace_period_s,
            rollout_steps: rollout.steps,
            rollout_kind: rollout.kind,
            regions: placement.regions,
            jurisdiction: placement.jurisdiction,
        },
        name,
        class,
        span,
        path,
    }
}

/// The members of the deprecated `configuration`.
fn old<'a>(field: &Field<'a>) -> Option<Fields<'a>> {
    field.cx.warn(
        &field.key_span,
        format!("`{}` is deprecated", field.path),
        "its `image` is now a field of the container; its limits are an object as `instance_type`",
    );
    field.fields()
}

fn image_of(
    fields: &Fields<'_>,
    old: Option<&Fields<'_>>,
    base: &Path,
    policy: &str,
) -> Option<ImageSource> {
    let context = fields.get("image_build_context");
    let args = fields.get("image_vars");
    let old_image = old.and_then(|old| old.get("image"));
    let field = fields.get("image").or(old_image);
    if policy == "durable_object" {
        for name in CHOSEN_AT_START {
            if let Some(field) = fields.get(name) {
                field.cx.error(
                    &field.key_span,
                    format!(
                        "`{}` does not go with the scheduling policy `durable_object`",
                        field.path
                    ),
                    "the class chooses image and size at each start, from `images`",
                );
            }
        }
        return None;
    }
    let Some(field) = field else {
        fields.cx.error(
            &fields.value.span,
            format!("`{}.image` is missing", fields.path),
            "name a Dockerfile, for example `./Dockerfile`, or an image with a tag",
        );
        return None;
    };
    let source = image(&field, base, context.as_ref(), args.as_ref())?;
    check_unused(&source, &[context.as_ref(), args.as_ref()]);
    Some(source)
}

fn images_of(fields: &Fields<'_>, base: &Path, policy: &str) -> IndexMap<String, ImageSource> {
    match (fields.get("images"), policy) {
        (Some(field), "durable_object") => images(&field, base),
        (None, "durable_object") => {
            fields.cx.error(
                &fields.value.span,
                format!("`{}.images` is missing", fields.path),
                "the scheduling policy `durable_object` starts from named images",
            );
            IndexMap::new()
        }
        (Some(field), _) => {
            field.cx.error(
                &field.key_span,
                format!(
                    "`{}` needs the scheduling policy `durable_object`",
                    field.path
                ),
                "set `scheduling_policy`, or use `image`",
            );
            IndexMap::new()
        }
        (None, _) => IndexMap::new(),
    }
}

fn deprecated(fields: &Fields<'_>) {
    for (name, hint) in [
        ("instances", "it is ignored; use `max_instances`"),
        ("durable_objects", "it is ignored; use `class_name`"),
    ] {
        if let Some(field) = fields.get(name) {
            field.cx.warn(
                &field.key_span,
                format!("`{}` is deprecated", field.path),
                hint,
            );
        }
    }
}

/// wrangler's rules for a container's own `observability`; Berth always keeps what containers print.
fn observability(fields: &Fields<'_>) {
    let Some(fields) = fields.get("observability").and_then(|field| field.fields()) else {
        return;
    };
    let enabled = fields.get("enabled").and_then(|field| field.boolean());
    if let Some(logs) = fields.get("logs").and_then(|field| field.fields()) {
        let field = logs.get("enabled");
        let logs_enabled = field.as_ref().and_then(Field::boolean);
        if let (Some(field), Some(logs), Some(enabled)) = (field, logs_enabled, enabled)
            && logs != enabled
        {
            field.cx.error(
                field.span(),
                format!("`{}` contradicts `{}.enabled`", field.path, fields.path),
                "keep one of them",
            );
        }
        logs.finish();
    }
    let percentage = fields.get("target_instance_percentage");
    let count = fields.get("target_instance_count");
    if let Some(field) = &percentage {
        field.whole(1, 99);
    }
    if let Some(field) = &count {
        field.whole(1, u32::MAX);
    }
    if let (Some(_), Some(count)) = (percentage, count) {
        count.cx.error(
            &count.key_span,
            "a percentage and a count of instances cannot both be observed",
            "keep one of them",
        );
    }
    fields.finish();
}
