//! The modules of an upload: what importing each gives, from its `Content-Type`.

use std::collections::BTreeSet;

use super::{MOST_BYTES, NewModule, Part, UploadError};
use crate::worker::ModuleKind;

/// Every part but the metadata, as a module.
///
/// # Errors
/// Too many bytes, two of one name, or a kind that is not loaded.
pub(super) fn modules(parts: Vec<Part>) -> Result<Vec<NewModule>, UploadError> {
    let bytes = parts.iter().map(|part| part.bytes.len() as u64).sum();
    if bytes > MOST_BYTES {
        let most = MOST_BYTES;
        return Err(UploadError::TooLarge { bytes, most });
    }
    let mut names = BTreeSet::new();
    parts
        .into_iter()
        .map(|part| {
            if !names.insert(part.name.clone()) {
                return Err(UploadError::Twice(part.name));
            }
            let kind = part.content_type.split(';').next().unwrap_or_default();
            let kind = match kind.trim() {
                "application/javascript+module" => ModuleKind::EsModule,
                "application/javascript" => ModuleKind::CommonJs,
                "application/wasm" => ModuleKind::Wasm,
                "text/plain" => ModuleKind::Text,
                "application/octet-stream" => ModuleKind::Data,
                "application/source-map" => ModuleKind::SourceMap,
                _ => {
                    return Err(UploadError::ModuleKind {
                        name: part.name,
                        kind: part.content_type,
                    });
                }
            };
            Ok(NewModule {
                name: part.name,
                kind,
                bytes: part.bytes,
            })
        })
        .collect()
}
