//! Bytes as people read them.

/// In powers of ten, like `docker pull` and `docker images`.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if value < 1000.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.2} GB")
}

/// `1 layer`, `2 layers`.
pub(crate) fn layers(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} layer{plural}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_well() {
        assert_eq!(super::size(999), "999 B");
        assert_eq!(super::size(1_500), "1.5 kB");
        assert_eq!(super::size(123_400_000), "123.4 MB");
        assert_eq!(super::size(2_000_000_000), "2.00 GB");
    }
}
