//! Static assets: what an upload says of them, and the manifests by which versions keep them.
//!
//! A file is kept once, by the digest of its content, like a module. A version names a manifest, which is
//! content, too, and says which path is which file. Files come in an upload session before the version
//! that needs them.
//!
//! Source: `deploy-helpers/src/deploy/helpers/assets.ts` of workers-sdk.

mod session;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use session::{Announced, AnnouncedFile};
pub(crate) use session::{Claims, KIND as SESSION_KIND, Session};

/// Files of one Worker.
pub const MOST_FILES: usize = 100_000;
/// Bytes of a file.
pub const MOST_BYTES: u64 = 25 << 20;
/// Bytes of a file's name and of a path, as file systems have it.
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 4000;
/// Their text is sent in the configuration; files of these names would be taken for it.
const RESERVED: [&str; 3] = ["_headers", "_redirects", ".assetsignore"];

/// The assets of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assets {
    /// Digest of the [`Manifest`].
    pub manifest: String,
    /// How they are served.
    pub config: AssetsConfig,
}

/// `assets.config` of an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetsConfig {
    /// `auto-trailing-slash` if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html_handling: Option<HtmlHandling>,
    /// `none` if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found_handling: Option<NotFoundHandling>,
    /// `false` if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_worker_first: Option<RunWorkerFirst>,
    /// Text of the file `_redirects`.
    #[serde(
        default,
        rename = "_redirects",
        skip_serializing_if = "Option::is_none"
    )]
    pub redirects: Option<String>,
    /// Text of the file `_headers`.
    #[serde(default, rename = "_headers", skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// Where the assets are mounted; not done here, and refused.
    #[serde(default, skip_serializing)]
    pub(crate) base_path: Option<String>,
}

/// Which path a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HtmlHandling {
    /// As the file is called.
    AutoTrailingSlash,
    /// `/page/`.
    ForceTrailingSlash,
    /// `/page`.
    DropTrailingSlash,
    /// `/page.html`.
    None,
}

/// What is answered where there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotFoundHandling {
    /// 404.
    #[serde(rename = "none")]
    None,
    /// `/index.html`.
    #[serde(rename = "single-page-application")]
    SinglePageApplication,
    /// The nearest `404.html`.
    #[serde(rename = "404-page")]
    NotFoundPage,
}

impl HtmlHandling {
    /// The API's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::AutoTrailingSlash => "auto-trailing-slash",
            Self::ForceTrailingSlash => "force-trailing-slash",
            Self::DropTrailingSlash => "drop-trailing-slash",
            Self::None => "none",
        }
    }
}

impl NotFoundHandling {
    /// The API's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SinglePageApplication => "single-page-application",
            Self::NotFoundPage => "404-page",
        }
    }
}

/// Which requests reach the Worker before the assets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RunWorkerFirst {
    /// All or none.
    Always(bool),
    /// Patterns of paths; `!` negates.
    Routes(Vec<String>),
}

/// `assets` of an upload's metadata.
#[derive(Clone, Debug, Deserialize)]
pub struct NewAssets {
    /// The completion token of an upload session; absent when those of the version before stay.
    #[serde(default)]
    pub(crate) jwt: Option<String>,
    /// How they are served.
    #[serde(default)]
    pub(crate) config: Option<AssetsConfig>,
}

/// Which path is which file. Paths are relative and made of plain names: what [`path`] lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// By path.
    pub files: BTreeMap<String, Asset>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// By which clients know it.
    pub hash: String,
    /// Of its content.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// Why assets are refused.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// A path of a manifest.
    #[error("`{0}` cannot be the path of an asset: {1}")]
    Path(String, &'static str),
    /// The hash of a file.
    #[error("`{0}` cannot be the hash of a file: it is 32 hexadecimal digits")]
    Hash(String),
    /// Too many.
    #[error("{0} files are too many assets, {MOST_FILES} are allowed")]
    TooMany(usize),
    /// A file is too large.
    #[error("the asset `{path}` has {size} bytes, {MOST_BYTES} are allowed")]
    TooLarge {
        /// Its path.
        path: String,
        /// Its size.
        size: u64,
    },
    /// A token that is none, or whose session is over.
    #[error("the token of the assets' upload is not valid, or its hour is over")]
    Token,
    /// A version is made before everything is there.
    #[error("{0} files of the assets have not been uploaded")]
    Missing(usize),
    /// A file that the session does not want.
    #[error("the file `{0}` is not in the manifest of this upload")]
    Unwanted(String),
    /// A file that is not what was announced.
    #[error("the file `{hash}` has {size} bytes, {announced} were announced")]
    Size {
        /// Its hash.
        hash: String,
        /// What came.
        size: u64,
        /// What was announced.
        announced: u64,
    },
    /// No token, and none to keep.
    #[error("the assets have no `jwt`, and no version before has any")]
    NothingToKeep,
    /// A configuration that is not done here.
    #[error("{0}")]
    Config(String),
}

/// A path of a manifest (`/a%20b/c.html`) as it is kept: relative and decoded.
///
/// # Errors
/// It is not one, or leads out of the assets.
pub(crate) fn path(sent: &str) -> Result<String, AssetsError> {
    let refuse = |why| AssetsError::Path(sent.to_owned(), why);
    let rest = sent
        .strip_prefix('/')
        .ok_or_else(|| refuse("it does not begin with `/`"))?;
    let decoded: Option<Vec<String>> = rest.split('/').map(decode).collect();
    let segments = decoded.ok_or_else(|| refuse("its encoding is broken"))?;
    let plain = |segment: &String| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.len() <= MOST_NAME
            && !segment.contains(['/', '\0'])
    };
    if !segments.iter().all(plain) || rest.len() > MOST_PATH {
        return Err(refuse("every part of it must be the name of a file"));
    }
    if segments.len() == 1 && RESERVED.contains(&segments[0].as_str()) {
        return Err(refuse("its text belongs into the configuration"));
    }
    Ok(segments.join("/"))
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else {
            return None;
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

impl NewAssets {
    /// `run_worker_first`, if it is anything.
    pub(crate) fn worker_first(&self) -> Option<&RunWorkerFirst> {
        let first = self.config.as_ref()?.run_worker_first.as_ref()?;
        (*first != RunWorkerFirst::Always(false)).then_some(first)
    }
}

impl AssetsConfig {
    /// # Errors
    /// It asks for what is not done here.
    pub(crate) fn check(&self) -> Result<(), AssetsError> {
        if self.base_path.as_deref().is_some_and(|base| base != "/") {
            let text = "`assets.base_path` is not supported".to_owned();
            return Err(AssetsError::Config(text));
        }
        if let Some(RunWorkerFirst::Routes(routes)) = &self.run_worker_first {
            let path = |route: &&String| !route.trim_start_matches('!').starts_with('/');
            if let Some(route) = routes.iter().find(path) {
                let text = format!("`{route}` in `run_worker_first` does not begin with `/`");
                return Err(AssetsError::Config(text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(path("/index.html").unwrap(), "index.html");
        assert_eq!(path("/a%20b/%C3%BC.js").unwrap(), "a b/ü.js");
        assert_eq!(path("/sub/_headers").unwrap(), "sub/_headers");
        for bad in [
            "index.html",
            "/",
            "//a",
            "/a/",
            "/../a",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/%00",
            "/%",
            "/%zz",
            "/%ff",
            "/_headers",
            "/.assetsignore",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert!(path(&format!("/{}", "x".repeat(256))).is_err());
    }
}
