//! The command line: flags before and after the command, as `runc` has them.

use std::path::PathBuf;

use crate::Result;

/// Flags that have a value; all others have none.
const WITH_VALUE: [&str; 12] = [
    "root",
    "bundle",
    "pid-file",
    "preserve-fds",
    "console-socket",
    "log",
    "log-format",
    "process",
    "env",
    "cwd",
    "user",
    "cap",
];

/// What was typed.
#[derive(Default)]
pub(crate) struct Arguments {
    flags: Vec<(String, String)>,
    /// The command and its operands.
    pub(crate) words: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse(typed: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        let mut rest = typed.iter();
        while let Some(argument) = rest.next() {
            // What follows the container's id belongs to the program.
            let inside = parsed.words.len() >= 2 && parsed.words[0] == "exec";
            let Some(flag) = argument.strip_prefix('-').filter(|_| !inside) else {
                parsed.words.push(argument.clone());
                continue;
            };
            let flag = match flag.strip_prefix('-') {
                Some(long) => long,
                None => match flag {
                    "b" => "bundle",
                    "p" => "process",
                    "e" => "env",
                    "u" => "user",
                    short => short,
                },
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if WITH_VALUE.contains(&flag) => {
                    let value = rest.next().ok_or(format!("--{flag} needs a value"))?;
                    (flag, value.clone())
                }
                None => (flag, String::new()),
            };
            parsed.flags.push((name.to_owned(), value));
        }
        Ok(parsed)
    }

    /// The last value of a flag.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let mut flags = self.flags.iter().rev();
        flags
            .find(|(flag, _)| flag == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a flag.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let flags = self.flags.iter().filter(move |(flag, _)| flag == name);
        flags.map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> u32 {
        let value = self.flag(name).and_then(|value| value.parse().ok());
        value.unwrap_or(0)
    }

    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(self.flag("root").unwrap_or("/run/berth-oci"))
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        PathBuf::from(self.flag("bundle").unwrap_or("."))
    }
}
