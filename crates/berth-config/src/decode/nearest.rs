//! The known name that a misspelt one was probably meant to be.

/// The nearest candidate, if one is near: at most a third of the letters differ, or it is the same
/// word in another case or with other separators.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = normal(word);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&plain, &normal(candidate));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let longest = plain.chars().count().max(candidate.chars().count());
            *distance * 3 <= longest
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b`, `c` ``.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words
        .into_iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn normal(word: &str) -> String {
    word.chars()
        .filter(|character| !matches!(character, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["max_instances", "image", "instance_type", "name"];
        assert_eq!(nearest("maxInstances", known), Some("max_instances"));
        assert_eq!(nearest("imge", known), Some("image"));
        assert_eq!(nearest("instance_typ", known), Some("instance_type"));
        assert_eq!(nearest("memory", known), None);
        assert_eq!(nearest("", known), None);
    }
}
