//! The file system that layers make together.

use crate::LayerFacts;
use crate::layer::{GONE, OPAQUE_WORD};

/// Applies layers, lowest first, as the image specification says.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a LayerFacts>) -> LayerFacts {
    let mut tree = LayerFacts::new();
    for layer in layers {
        for (path, line) in layer {
            if line == GONE {
                tree.remove(path);
                remove_below(&mut tree, path);
            } else if line.starts_with(OPAQUE_WORD) {
                remove_below(&mut tree, path);
            }
        }
        for (path, line) in layer {
            let line = line.strip_prefix(OPAQUE_WORD).unwrap_or(line);
            if line == GONE || line.is_empty() {
                continue;
            }
            if !line.starts_with("directory ") {
                remove_below(&mut tree, path);
            }
            tree.insert(path.clone(), line.to_owned());
        }
    }
    tree
}

fn remove_below(tree: &mut LayerFacts, path: &str) {
    if path.is_empty() {
        tree.clear();
        return;
    }
    let below = format!("{path}/");
    tree.retain(|name, _| !name.starts_with(&below));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(lines: &[(&str, &str)]) -> LayerFacts {
        lines
            .iter()
            .map(|(path, line)| ((*path).to_owned(), (*line).to_owned()))
            .collect()
    }

    #[test]
    fn upper_layers_hide_delete_and_replace() {
        let lower = layer(&[
            ("a", "directory 0755 0:0"),
            ("a/x", "file"),
            ("b", "directory 0755 0:0"),
            ("b/x", "file"),
            ("c", "directory 0755 0:0"),
            ("c/x", "file"),
            ("c2", "file"),
        ]);
        let upper = layer(&[
            ("a", "gone"),
            ("b", "opaque directory 0700 0:0"),
            ("b/y", "file"),
            ("c", "file now"),
        ]);
        let tree = merge([&lower, &upper]);
        let expected = layer(&[
            ("b", "directory 0700 0:0"),
            ("b/y", "file"),
            ("c", "file now"),
            ("c2", "file"),
        ]);
        assert_eq!(tree, expected);
    }
}
