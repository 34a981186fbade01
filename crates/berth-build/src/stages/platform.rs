//! Platforms: `linux/amd64`, as `FROM --platform` names them; and the arguments that tell about them.

use std::collections::BTreeMap;

use crate::dockerfile::Result;
use crate::error::Problem;

/// `os/architecture[/variant]`, in the names that images use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    variant: String,
}

fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Platform {
    /// One part alone is an operating system or an architecture.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        let valid = |part: &String| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.chars().all(allowed)
        };
        if !parts.iter().all(valid) || parts.len() > 3 {
            return Err(
                Problem::new(format!("`{text}` is no platform")).hint("for example `linux/amd64`")
            );
        }
        let (os, architecture) = match parts.as_slice() {
            [only] if matches!(only.as_str(), "linux" | "windows" | "darwin" | "freebsd") => {
                (only.clone(), own_architecture().to_owned())
            }
            [only] => ("linux".to_owned(), only.clone()),
            [os, architecture, ..] => (os.clone(), architecture.clone()),
            [] => (String::new(), String::new()),
        };
        let architecture = match architecture.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" => "386",
            other => other,
        };
        Ok(Self {
            os,
            architecture: architecture.to_owned(),
            variant: parts.get(2).cloned().unwrap_or_default(),
        })
    }

    /// Only what this machine runs can be built.
    pub(super) fn check(&self) -> Result<()> {
        if self.os == "linux" && self.architecture == own_architecture() {
            return Ok(());
        }
        let mut name = format!("{}/{}", self.os, self.architecture);
        if !self.variant.is_empty() {
            name = format!("{name}/{}", self.variant);
        }
        Err(
            Problem::new(format!("images for {name} cannot be built here")).hint(format!(
                "this machine builds and runs linux/{}",
                own_architecture()
            )),
        )
    }
}

/// Arguments that are there without `ARG` in `FROM` lines, and with a bare `ARG` in stages.
pub(super) fn arguments(target: &str) -> BTreeMap<String, String> {
    let architecture = own_architecture();
    let platform = format!("linux/{architecture}");
    let mut arguments: BTreeMap<String, String> = ["TARGET", "BUILD"]
        .iter()
        .flat_map(|side| {
            [
                (format!("{side}PLATFORM"), platform.clone()),
                (format!("{side}OS"), "linux".to_owned()),
                (format!("{side}OSVERSION"), String::new()),
                (format!("{side}ARCH"), architecture.to_owned()),
                (format!("{side}VARIANT"), String::new()),
            ]
        })
        .collect();
    arguments.insert("TARGETSTAGE".to_owned(), target.to_owned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_several_spellings() {
        for (text, expected) in [
            ("linux/amd64", ("linux", "amd64", "")),
            ("linux/x86_64", ("linux", "amd64", "")),
            ("amd64", ("linux", "amd64", "")),
            ("Linux/ARM64/v8", ("linux", "arm64", "v8")),
            ("linux", ("linux", own_architecture(), "")),
        ] {
            let Platform {
                os,
                architecture,
                variant,
            } = Platform::parse(text).unwrap();
            assert_eq!(
                (os.as_str(), architecture.as_str(), variant.as_str()),
                expected
            );
        }
        for bad in ["", "linux/", "a/b/c/d", "linux amd64"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
        assert!(Platform::parse("linux").unwrap().check().is_ok());
        assert!(Platform::parse("windows/amd64").unwrap().check().is_err());
    }
}
