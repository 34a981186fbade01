//! `image` and its relatives: a Dockerfile, a directory with one, or an image reference.

use std::path::{Path, PathBuf};

use super::field::{Field, Fields, Spanned};
use super::worker::{absolute, missing_file};
use crate::ImageSource;

/// What `image` names. `context` and `args` belong to a Dockerfile only.
pub(crate) fn image(
    field: &Field<'_>,
    base: &Path,
    context: Option<&Field<'_>>,
    args: Option<&Field<'_>>,
) -> Option<ImageSource> {
    let written = field.text()?;
    let path = absolute(base, &written.value);
    let dockerfile = if path.is_dir() {
        let inside = path.join("Dockerfile");
        if !inside.is_file() {
            field.cx.error(
                &written.span,
                format!("there is no Dockerfile in `{}`", written.value),
                "name the file itself if it is called otherwise",
            );
            return None;
        }
        inside
    } else if path.is_file() {
        path
    } else {
        return reference(field, &written, &path);
    };
    Some(from_dockerfile(dockerfile, base, context, args))
}

fn from_dockerfile(
    dockerfile: PathBuf,
    base: &Path,
    context: Option<&Field<'_>>,
    args: Option<&Field<'_>>,
) -> ImageSource {
    let context = context
        .and_then(|field| existing_directory(field, base))
        .unwrap_or_else(|| dockerfile.parent().unwrap_or(base).to_owned());
    let args = args
        .map(|field| field.string_map().into_iter().collect())
        .unwrap_or_default();
    ImageSource::Dockerfile {
        dockerfile,
        context,
        args,
    }
}

fn existing_directory(field: &Field<'_>, base: &Path) -> Option<PathBuf> {
    let written = field.text()?;
    let path = absolute(base, &written.value);
    if path.is_file() {
        field.cx.error(
            &written.span,
            format!("`{}` is a file: `{}`", field.path, written.value),
            "the build context is a directory",
        );
    } else if !path.is_dir() {
        missing_file(field, &written, &path, &format!("`{}`", field.path));
    }
    Some(path)
}

/// What leads to no file is a reference if it looks like one, and else a missing Dockerfile.
fn reference(field: &Field<'_>, written: &Spanned<String>, path: &Path) -> Option<ImageSource> {
    let text = written.value.as_str();
    let last = text.rsplit('/').next().unwrap_or_default();
    let is_path = text.starts_with(['.', '/', '~'])
        || (!last.contains(':') && last.to_ascii_lowercase().contains("dockerfile"));
    if let Some((_, rest)) = text.split_once("://") {
        field.cx.error(
            &written.span,
            format!("an image reference has no protocol: `{text}`"),
            format!("write `{rest}`"),
        );
    } else if is_path {
        missing_file(field, written, path, "the Dockerfile");
    } else if !last.contains([':', '@']) {
        field.cx.error(
            &written.span,
            format!("`{text}` is neither a Dockerfile nor an image with a tag"),
            format!("for an image, add the tag: `{text}:latest`; paths are relative to the configuration file"),
        );
    } else if !is_reference(text) {
        field.cx.error(
            &written.span,
            format!("`{text}` is not an image reference"),
            "for example `docker.io/library/nginx:1.29`: lower-case but for the tag",
        );
    } else {
        return Some(ImageSource::Reference(text.to_owned()));
    }
    None
}

/// The characters of an OCI reference; whether such an image exists is found out later.
fn is_reference(text: &str) -> bool {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let last_slash = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name.get(last_slash..).and_then(|last| last.find(':')) {
        Some(colon) => (
            name.get(..last_slash + colon).unwrap_or_default(),
            name.get(last_slash + colon + 1..),
        ),
        None => (name, None),
    };
    let digest_fits = digest.is_none_or(|digest| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            algorithm == "sha256"
                && hex.len() == 64
                && hex
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    });
    let tag_fits = tag.is_none_or(|tag| {
        !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    let mut parts = name.split('/').enumerate();
    let name_fits = parts.all(|(index, part)| {
        let host = index == 0 && name.contains('/') && part.contains(['.', ':']);
        let part = if host {
            part.to_ascii_lowercase()
        } else {
            part.to_owned()
        };
        !part.is_empty()
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || b"._-".contains(&byte)
                    || (host && byte == b':')
            })
    });
    digest_fits && tag_fits && name_fits
}

/// `images` of the `durable_object` scheduling policy: name → Dockerfile or reference.
///
/// wrangler wants references pinned by digest, because they are deployed; here a tag will do.
pub(crate) fn images(field: &Field<'_>, base: &Path) -> indexmap::IndexMap<String, ImageSource> {
    let members = field.members();
    if members.is_empty() || members.len() > 100 {
        field.cx.error(
            field.span(),
            format!(
                "`{}` must hold 1 to 100 images, but holds {}",
                field.path,
                members.len()
            ),
            "each has a name, by which the class chooses it",
        );
    }
    members
        .into_iter()
        .filter_map(|(entry, member)| {
            if entry.key.is_empty() || entry.key.chars().count() > 128 {
                field.cx.error(
                    &entry.key_span,
                    "this is no name for an image",
                    "1 to 128 characters",
                );
            }
            let fields = member.fields()?;
            Some((entry.key.clone(), named_image(&member, fields, base)?))
        })
        .collect()
}

fn named_image(member: &Field<'_>, fields: Fields<'_>, base: &Path) -> Option<ImageSource> {
    let dockerfile = fields.get("dockerfile");
    let reference = fields.get("image");
    let context = fields.get("build_context");
    let args = fields.get("build_vars");
    fields.finish();
    match (dockerfile, reference) {
        (Some(dockerfile), None) => image(&dockerfile, base, context.as_ref(), args.as_ref()),
        (None, Some(reference)) => {
            let written = reference.text()?;
            let path = absolute(base, &written.value);
            self::reference(&reference, &written, &path)
        }
        _ => {
            member.cx.error(
                &member.key_span,
                format!("`{}` needs one of `dockerfile` and `image`", member.path),
                "`dockerfile` is built, `image` is pulled",
            );
            None
        }
    }
}

/// Arguments given to an image that is not built.
pub(crate) fn check_unused(source: &ImageSource, parts: &[Option<&Field<'_>>]) {
    if matches!(source, ImageSource::Dockerfile { .. }) {
        return;
    }
    for field in parts.iter().copied().flatten() {
        field.cx.warn(
            &field.key_span,
            format!("`{}` has no effect: the image is not built", field.path),
            "remove it, or name a Dockerfile as `image`",
        );
    }
}
