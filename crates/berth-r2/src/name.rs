//! Names of buckets and keys of objects.
//!
//! Source: R2's documentation, "Limits" and "Create buckets".

/// Bytes of a key.
const MOST_KEY_BYTES: usize = 1024;

/// 3 to 63 characters of `a-z`, `0-9` and `-`, with a letter or digit at both ends.
pub fn is_bucket_name(name: &str) -> bool {
    let edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && edge(bytes.first().copied())
        && edge(bytes.last().copied())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// 1 to 1,024 bytes of UTF-8.
pub fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= MOST_KEY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets() {
        for name in ["abc", "a-1", "0bucket9", &"a".repeat(63)] {
            assert!(is_bucket_name(name), "{name}");
        }
        for name in [
            "",
            "ab",
            "-abc",
            "abc-",
            "Abc",
            "a_b",
            "a.b",
            &"a".repeat(64),
        ] {
            assert!(!is_bucket_name(name), "{name}");
        }
        assert!(is_key("ü/ /x") && !is_key("") && !is_key(&"k".repeat(1025)));
    }
}
