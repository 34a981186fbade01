//! Markdown tables.

/// Prints a heading and rows of what was measured, the figure, and the target if there is one.
pub(crate) fn print(title: &str, rows: &[(String, String, String)]) {
    println!("\n### {title}\n");
    println!("| | measured | target |");
    println!("|---|---|---|");
    for (what, figure, target) in rows {
        println!("| {what} | {figure} | {target} |");
    }
}

/// One row.
pub(crate) fn row(
    what: impl Into<String>,
    figure: impl Into<String>,
    target: impl Into<String>,
) -> (String, String, String) {
    (what.into(), figure.into(), target.into())
}
