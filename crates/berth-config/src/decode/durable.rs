//! `durable_objects`.

use super::bindings::other_worker;
use super::field::Spanned;
use super::root::Root;
use super::unique::Bindings;
use super::worker::Names;

/// A binding to a class of this Worker.
pub(crate) struct ClassBinding {
    pub(crate) name: String,
    pub(crate) class: Spanned<String>,
}

/// The bindings, in order. Classes are checked by [`links`](super::links).
pub(crate) fn bindings(root: &Root<'_>, names: &Names, seen: &mut Bindings) -> Vec<ClassBinding> {
    let Some(fields) = root.get("durable_objects").and_then(|field| field.fields()) else {
        return Vec::new();
    };
    let list = fields
        .get("bindings")
        .map(|field| field.objects())
        .unwrap_or_default();
    fields.ignore(&["code_update_strategy"]);
    fields.finish();
    let mut bindings = Vec::new();
    for fields in list {
        let name = fields.require_text("name");
        let class = fields.require_text("class_name");
        let foreign = fields
            .value
            .entry("script_name")
            .is_some_and(|script| !matches!(&script.value.kind, crate::value::Kind::String(it) if *it == names.full));
        other_worker(&fields, names, "Durable Objects");
        fields.ignore(&["remote"]);
        fields.finish();
        if let Some(name) = &name {
            seen.add(name, "Durable Object");
        }
        if let (Some(name), Some(class), false) = (name, class, foreign) {
            bindings.push(ClassBinding {
                name: name.value,
                class,
            });
        }
    }
    bindings
}
