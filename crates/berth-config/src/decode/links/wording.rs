//! What is said about classes, in the words of the file's own format.

use crate::decode::classes::{Classes, Gone};
use crate::decode::nearest::nearest;
use crate::parse::Format;

/// What is wrong with a class that nothing declares; `what` it is.
pub(super) fn undeclared(classes: &Classes, what: &str, name: &str) -> String {
    match classes.gone.get(name) {
        Some(Gone::Deleted(by)) => format!("{what} `{name}` was deleted by {by}"),
        Some(Gone::Renamed(to)) => format!("{what} `{name}` was renamed to `{to}`"),
        Some(Gone::Transferred(to)) => {
            format!("{what} `{name}` was transferred to the Worker `{to}`")
        }
        None if classes.from_exports => {
            format!("{what} `{name}` is not in `exports`")
        }
        None => format!("{what} `{name}` has no migration"),
    }
}

/// How to declare it.
pub(super) fn declare(classes: &Classes, format: Format, name: &str) -> String {
    if let Some(Gone::Renamed(to)) = classes.gone.get(name) {
        return format!("use `{to}`");
    }
    if classes.gone.contains_key(name) {
        return "remove this, or declare the class again".to_owned();
    }
    if let Some(near) = nearest(name, classes.live.keys().map(String::as_str)) {
        return format!("did you mean `{near}`?");
    }
    let tag = &classes.next_tag;
    match (classes.from_exports, format) {
        (true, Format::Jsonc) => format!(
            "add to `exports`: \"{name}\": {{ \"type\": \"durable-object\", \"storage\": \"sqlite\" }}"
        ),
        (true, Format::Toml) => format!(
            "add `[exports.{name}]` with type = \"durable-object\" and storage = \"sqlite\""
        ),
        (false, Format::Jsonc) => format!(
            "add to `migrations`: {{ \"tag\": \"{tag}\", \"new_sqlite_classes\": [\"{name}\"] }}"
        ),
        (false, Format::Toml) => format!(
            "add `[[migrations]]` with tag = \"{tag}\" and new_sqlite_classes = [\"{name}\"]"
        ),
    }
}

/// How to bind a class.
pub(super) fn bind(format: Format, name: &str) -> String {
    let binding = screaming(name);
    match format {
        Format::Jsonc => format!(
            "add to `durable_objects.bindings`: {{ \"name\": \"{binding}\", \"class_name\": \"{name}\" }}"
        ),
        Format::Toml => format!(
            "add a `[[durable_objects.bindings]]` with name = \"{binding}\" and class_name = \"{name}\""
        ),
    }
}

/// `MyContainer` → `MY_CONTAINER`.
fn screaming(class: &str) -> String {
    let mut name = String::new();
    let mut lower = false;
    for character in class.chars() {
        if character.is_uppercase() && lower {
            name.push('_');
        }
        lower = character.is_lowercase() || character.is_ascii_digit();
        name.extend(character.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::screaming;

    #[test]
    fn classes_become_binding_names() {
        assert_eq!(screaming("MyContainer"), "MY_CONTAINER");
        assert_eq!(screaming("MLService"), "MLSERVICE");
        assert_eq!(screaming("Backend2Go"), "BACKEND2_GO");
    }
}
