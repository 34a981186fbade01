//! BuildKit's lint rules: what is legal in a Dockerfile and probably not meant.
//!
//! Names and meanings are those of <https://docs.docker.com/reference/build-checks/>. A file turns
//! rules off with `# check=skip=RULE,…` (a directive, or a comment before one instruction), and makes
//! them errors with `# check=error=true`.

use crate::dockerfile::Result;
use crate::error::Problem;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JsonArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
    InvalidBaseImagePlatform,
}

impl Rule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StageNameCasing => "StageNameCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ReservedStageName => "ReservedStageName",
            Self::JsonArgsRecommended => "JSONArgsRecommended",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::UndefinedVar => "UndefinedVar",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
        }
    }

    /// Off unless `experimental=` names it.
    fn is_experimental(self) -> bool {
        matches!(self, Self::InvalidDefinitionDescription)
    }
}

/// Which rules: the value of `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    skip_all: bool,
    skip: Vec<String>,
    experimental_all: bool,
    experimental: Vec<String>,
    error: bool,
}

impl Checks {
    /// `skip=A,B;error=true;experimental=all`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut checks = Self::default();
        let usage = "for example `skip=JSONArgsRecommended;error=true`";
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let unknown = || Problem::new(format!("`{part}` is no check option")).hint(usage);
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            let names = || {
                value
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect()
            };
            match (name.trim(), value.trim()) {
                ("skip", "all") => checks.skip_all = true,
                ("skip", _) => checks.skip = names(),
                ("experimental", "all") => checks.experimental_all = true,
                ("experimental", _) => checks.experimental = names(),
                ("error", value) => checks.error = boolean(value).ok_or_else(unknown)?,
                _ => return Err(unknown()),
            }
        }
        Ok(checks)
    }

    fn skips(&self, rule: Rule) -> bool {
        if rule.is_experimental() {
            !self.experimental_all && !self.experimental.iter().any(|name| name == rule.name())
        } else {
            self.skip_all || self.skip.iter().any(|name| name == rule.name())
        }
    }

    /// With what one instruction adds.
    fn with(&self, own: Option<&Self>) -> Self {
        let mut all = self.clone();
        if let Some(own) = own {
            all.skip_all |= own.skip_all;
            all.experimental_all |= own.experimental_all;
            all.skip.extend(own.skip.iter().cloned());
            all.experimental.extend(own.experimental.iter().cloned());
        }
        all
    }
}

/// Go's `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Something that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// `None`: a rule of ours, which cannot be turned off.
    pub(crate) rule: Option<Rule>,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Collects warnings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linter {
    checks: Checks,
    warnings: Vec<Warning>,
}

impl Linter {
    pub(crate) fn new(checks: Checks) -> Self {
        Self {
            checks,
            warnings: Vec::new(),
        }
    }

    /// Adds a warning, unless its rule is turned off for the file or by `own`.
    pub(crate) fn warn(
        &mut self,
        rule: Rule,
        line: usize,
        own: Option<&Checks>,
        message: impl Into<String>,
    ) {
        let warning = Warning {
            rule: Some(rule),
            line,
            message: message.into(),
        };
        if !self.checks.with(own).skips(rule) && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// In the order of the file.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.warnings.clone();
        warnings.sort_by_key(|warning| warning.line);
        warnings
    }

    /// The first warning as an error, where the file wants that.
    pub(crate) fn failure(&self, line_text: impl FnOnce(usize) -> String) -> Result<()> {
        if !self.checks.error {
            return Ok(());
        }
        match self.warnings().into_iter().next() {
            None => Ok(()),
            Some(warning) => {
                let name = warning.rule.map_or("", Rule::name);
                Err(Problem::new(format!("{} ({name})", warning.message))
                    .hint(format!(
                        "`# check=error=true` makes warnings errors; `# check=skip={name}` turns this one off"
                    ))
                    .at(warning.line, &line_text(warning.line)))
            }
        }
    }
}

/// Whether a name looks like that of a secret.
pub(crate) fn names_a_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const PUBLIC: [&str; 3] = ["public", "file", "version"];
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&PUBLIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_docker_reads_them() {
        let checks = Checks::parse("skip=UndefinedVar, FromAsCasing;error=true").unwrap();
        assert!(checks.skips(Rule::UndefinedVar) && checks.skips(Rule::FromAsCasing));
        assert!(!checks.skips(Rule::StageNameCasing) && checks.error);
        assert!(Checks::parse("skip=all").unwrap().skips(Rule::UndefinedVar));
        let experimental = Checks::parse("experimental=all").unwrap();
        assert!(!experimental.skips(Rule::InvalidDefinitionDescription));
        assert!(Checks::default().skips(Rule::InvalidDefinitionDescription));
        for bad in ["skip", "colour=red", "error=maybe"] {
            assert!(Checks::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_known_by_words_of_the_name() {
        for (name, secret) in [
            ("API_KEY", true),
            ("apikey", true),
            ("DATABASE_PASSWORD", true),
            ("secret_MESSAGE", true),
            ("AUTH", true),
            ("PUBLIC_KEY", false),
            ("KEY_FILE", false),
            ("TOKEN_VERSION", false),
            ("MONKEY", false),
            ("AUTHOR", false),
        ] {
            assert_eq!(names_a_secret(name), secret, "{name}");
        }
    }
}
