//! The machine's own apt sources, reduced to the Debian archive and turned to another release.

use std::path::Path;

/// One source of Debian packages, as deb822 writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    /// Path of the keyring, if the entry names one.
    signed_by: Option<String>,
}

/// The sources below `apt_dir` (`/etc/apt`) that carry `main` of the suites of `codename`.
///
/// Files that cannot be read are left out, as apt does with what it does not know.
pub(crate) fn find(apt_dir: &Path, codename: &str) -> Vec<Source> {
    let mut paths = vec![apt_dir.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(apt_dir.join("sources.list.d")) {
        paths.extend(entries.flatten().map(|entry| entry.path()));
    }
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    for source in &mut sources {
        source.suites.retain(|suite| belongs(suite, codename));
    }
    sources.retain(|source| !source.suites.is_empty());
    sources
}

/// The sources in deb822, with every suite of release `from` replaced by the one of `to`.
pub(crate) fn render(sources: &[Source], from: &str, to: &str) -> String {
    let mut text = String::new();
    for source in sources {
        let suites: Vec<_> = source
            .suites
            .iter()
            .map(|suite| suite.replacen(from, to, 1))
            .collect();
        text.push_str("Types: deb\n");
        text.push_str(&format!("URIs: {}\n", source.uris.join(" ")));
        text.push_str(&format!("Suites: {}\nComponents: main\n", suites.join(" ")));
        if let Some(keyring) = &source.signed_by {
            text.push_str(&format!("Signed-By: {keyring}\n"));
        }
        text.push('\n');
    }
    text
}

/// Exactly the suites of Debian itself: other archives use names like `bookworm-pgdg`.
fn belongs(suite: &str, codename: &str) -> bool {
    suite
        .strip_prefix(codename)
        .is_some_and(|rest| matches!(rest, "" | "-updates" | "-security"))
}

/// `deb [signed-by=/path arch=amd64] uri suite main contrib`.
fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    words.any(|component| component == "main").then(|| Source {
        uris: vec![uri.to_owned()],
        suites: vec![suite.to_owned()],
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

fn parse_deb822(text: &str) -> Vec<Source> {
    let text: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    text.split(|line| line.trim().is_empty())
        .filter_map(parse_stanza)
        .collect()
}

fn parse_stanza(lines: &[&str]) -> Option<Source> {
    // Continuation lines only matter for keys written into the entry, which are left out.
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let words = |name| -> Option<Vec<String>> {
        Some(field(name)?.split_whitespace().map(str::to_owned).collect())
    };
    let disabled = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    let binary = words("Types")?.iter().any(|kind| kind == "deb");
    let main = words("Components")?
        .iter()
        .any(|component| component == "main");
    (binary && main && !disabled).then_some(Source {
        uris: words("URIs")?,
        suites: words("Suites")?,
        signed_by: field("Signed-By")
            .filter(|path| path.starts_with('/'))
            .map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources_of(files: &[(&str, &str)]) -> Vec<Source> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        find(directory.path(), "bookworm")
    }

    #[test]
    fn both_formats_are_read_and_other_archives_left_out() {
        let sources = sources_of(&[
            (
                "sources.list",
                "# deb http://mirror.test/debian bookworm main\n\
                 deb [signed-by=/k.gpg arch=amd64] http://mirror.test/debian bookworm main contrib\n\
                 deb http://mirror.test/debian bookworm-updates contrib\n\
                 deb http://mirror.test/pgdg bookworm-pgdg main\n\
                 deb-src http://mirror.test/debian bookworm main\n",
            ),
            (
                "sources.list.d/debian.sources",
                "Types: deb\n# comment\nURIs: http://mirror.test/security\n\
                 Suites: bookworm-security other\nComponents: main\nSigned-By: /s.gpg\n\n\
                 Types: deb\nURIs: http://mirror.test/node\nSuites: nodistro\nComponents: main\n\n\
                 Enabled: no\nTypes: deb\nURIs: http://x.test\nSuites: bookworm\nComponents: main\n",
            ),
        ]);
        let text = render(&sources, "bookworm", "trixie");
        assert_eq!(
            text,
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n\
             Signed-By: /k.gpg\n\n\
             Types: deb\nURIs: http://mirror.test/security\nSuites: trixie-security\n\
             Components: main\nSigned-By: /s.gpg\n\n"
        );
    }

    #[test]
    fn a_machine_without_debian_sources_has_none() {
        let sources = sources_of(&[("sources.list", "deb http://mirror.test/ubuntu noble main\n")]);
        assert_eq!(sources, []);
    }
}
