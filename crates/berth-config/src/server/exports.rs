//! `logs.export`: where logs go besides the server's own database.

use std::time::Duration;

use super::LogExport;
use super::listen::path;
use super::units::{duration, size};
use crate::decode::{Field, Fields};

/// Bytes of a file, if nothing is said.
const FILE_BYTES: u64 = 100_000_000;
/// Former files that are kept, if nothing is said.
const FILES: u32 = 5;
/// What is said in this time becomes one object, if nothing is said.
const EVERY: Duration = Duration::from_secs(60);

/// The keys that say what an export is.
const KINDS: [&str; 3] = ["file", "url", "bucket"];

pub(super) fn exports(fields: &Fields<'_>) -> Vec<LogExport> {
    let list = fields.get("export").map(|field| field.objects());
    let exports = list.unwrap_or_default().into_iter();
    exports.filter_map(export).collect()
}

/// A URL of the web.
pub(super) fn web_address(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text.value.starts_with("http://") || text.value.starts_with("https://") {
        return Some(text.value);
    }
    let message = format!("`{}` is no address: `{}`", field.path, text.value);
    let hint = "it begins with `http://` or `https://`";
    field.cx.error(&text.span, message, hint);
    None
}

fn export(one: Fields<'_>) -> Option<LogExport> {
    let [file, url, bucket] = KINDS.map(|key| one.get(key));
    let kinds = [&file, &url, &bucket].into_iter().flatten().count();
    let export = match (file, url, bucket) {
        _ if kinds != 1 => {
            let message = format!(
                "`{}` must have exactly one of `file`, `url` and `bucket`",
                one.path
            );
            let hint = "write one export for each place";
            one.cx.error(&one.value.span, message, hint);
            one.ignore(&[
                "max_size",
                "keep",
                "authorization_file",
                "prefix",
                "endpoint",
                "every",
            ]);
            None
        }
        (Some(file), ..) => {
            let max = one.get("max_size").and_then(|field| size(&field));
            let keep = one.get("keep").and_then(|field| field.whole(0, 1000));
            path(&file).map(|path| LogExport::File {
                path,
                max_bytes: max.unwrap_or(FILE_BYTES),
                keep: keep.unwrap_or(FILES),
            })
        }
        (_, Some(url), _) => {
            let authorization_file = one.get("authorization_file");
            let authorization_file = authorization_file.and_then(|field| path(&field));
            web_address(&url).map(|url| LogExport::Http {
                url,
                authorization_file,
            })
        }
        (_, _, bucket) => {
            let prefix = one.text("prefix").map(|text| text.value);
            let endpoint = one.text("endpoint").map(|text| text.value);
            let every = one.get("every").and_then(|field| duration(&field));
            let name = bucket.and_then(|field| field.text());
            name.map(|name| LogExport::Bucket {
                name: name.value,
                prefix: prefix.unwrap_or_else(|| "logs".to_owned()),
                endpoint,
                every: every.unwrap_or(EVERY),
            })
        }
    };
    one.finish_strict();
    export
}
