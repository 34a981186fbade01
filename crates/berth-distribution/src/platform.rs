//! Platforms: what an image runs on, and which one of an index is wanted.

use std::fmt;
use std::str::FromStr;

use berth_error::Hint;
use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]`, in the words of Go, as images name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v8` of `arm64`, `v7` of `arm`; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Not a platform.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a platform")]
pub struct PlatformError(String);

impl Hint for PlatformError {
    fn hint(&self) -> Option<String> {
        Some("platforms look like `linux/amd64` or `linux/arm64/v8`".to_owned())
    }
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    /// Whether an image for `offered` is one for this platform. A variant counts only if both say
    /// one; `arm64` and `arm64/v8` are the same.
    pub(crate) fn accepts(&self, offered: &Self) -> bool {
        let variants = match (&self.variant, &offered.variant) {
            (Some(wanted), Some(offered)) => wanted == offered,
            _ => true,
        };
        self.os == offered.os && self.architecture == offered.architecture && variants
    }

    /// Smaller is better among the platforms that are accepted: the plain one before those that
    /// need a newer processor.
    pub(crate) fn rank(offered: &Self) -> u8 {
        match offered.variant.as_deref() {
            None | Some("" | "v1" | "v8") => 0,
            Some(_) => 1,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(formatter, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| word(part)) {
            return Err(PlatformError(text.to_owned()));
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError(text.to_owned())),
        };
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_parsed_and_compared() {
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let arm: Platform = "linux/arm64/v8".parse().unwrap();
        assert_eq!(arm.to_string(), "linux/arm64/v8");
        assert!("linux/arm64".parse::<Platform>().unwrap().accepts(&arm));
        assert!(!amd64.accepts(&arm));
        assert!(amd64.accepts(&"linux/amd64/v3".parse().unwrap()));
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap(), amd64);
        for bad in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
