//! `--chmod`: octal (`755`) or symbolic (`u=rwX,go=rX`), as `chmod` understands them.

use crate::dockerfile::Result;
use crate::error::Problem;

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// One operator of a symbolic mode with what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Shifts of the classes: 6 for the user, 3 for the group, 0 for others.
    user: bool,
    group: bool,
    others: bool,
    operator: char,
    permissions: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permissions {
    Given {
        /// `rwx` as the lowest three bits.
        bits: u32,
        /// `X`: executable if it is a directory or executable for anybody.
        if_executable: bool,
        set_id: bool,
        sticky: bool,
    },
    /// Those of a class, by its shift.
    CopyOf(u32),
}

impl Chmod {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Problem::new(format!("`--chmod={text}` is no mode"))
                .hint("for example `--chmod=755` or `--chmod=u=rwX,go=rX`")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(wrong);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clauses.extend(clause(part).ok_or_else(wrong)?);
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The mode of directories that are made on the way: that of an octal mode without set-id and sticky
    /// bits, and without what the daemon's umask takes in Docker. A symbolic one says nothing of them.
    pub(crate) fn of_parents(&self) -> Option<u32> {
        match self {
            Self::Octal(mode) => Some(mode & 0o755),
            Self::Symbolic(_) => None,
        }
    }

    /// The mode (the lowest 12 bits) of something that has `mode` now.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode & 0o7777, |mode, clause| {
                clause.apply(mode, is_directory)
            }),
        }
    }
}

/// `who` and one or more operators with permissions.
fn clause(text: &str) -> Option<Vec<Clause>> {
    let operator = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(operator);
    if who.contains(|c| !matches!(c, 'u' | 'g' | 'o' | 'a')) {
        return None;
    }
    let all = who.is_empty() || who.contains('a');
    let mut clauses = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |at| at + 1);
        clauses.push(Clause {
            user: all || who.contains('u'),
            group: all || who.contains('g'),
            others: all || who.contains('o'),
            operator,
            permissions: permissions(&rest[1..end])?,
        });
        rest = &rest[end..];
    }
    Some(clauses)
}

fn permissions(text: &str) -> Option<Permissions> {
    match text {
        "u" => return Some(Permissions::CopyOf(6)),
        "g" => return Some(Permissions::CopyOf(3)),
        "o" => return Some(Permissions::CopyOf(0)),
        _ => {}
    }
    let (mut bits, mut if_executable, mut set_id, mut sticky) = (0, false, false, false);
    for character in text.chars() {
        match character {
            'r' => bits |= 4,
            'w' => bits |= 2,
            'x' => bits |= 1,
            'X' => if_executable = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Given {
        bits,
        if_executable,
        set_id,
        sticky,
    })
}

impl Clause {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let classes = [
            (self.user, 6, 0o4000),
            (self.group, 3, 0o2000),
            (self.others, 0, 0),
        ];
        let classes = classes.into_iter().filter(|(named, ..)| *named);
        let (mut selected, mut change) = (0, 0);
        for (_, shift, special) in classes {
            selected |= 7 << shift | special;
            change |= match self.permissions {
                Permissions::CopyOf(from) => (mode >> from & 7) << shift,
                Permissions::Given {
                    bits,
                    if_executable,
                    set_id,
                    ..
                } => {
                    let executable = if_executable && (is_directory || mode & 0o111 != 0);
                    (bits | u32::from(executable)) << shift | if set_id { special } else { 0 }
                }
            };
        }
        let is_sticky = matches!(self.permissions, Permissions::Given { sticky: true, .. });
        if is_sticky && (self.user || self.group) {
            change |= 0o1000;
        }
        match self.operator {
            '+' => mode | change,
            '-' => mode & !change,
            _ => mode & !selected | change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_applied_as_by_chmod() {
        for (text, before, is_directory, after) in [
            ("755", 0o600, false, 0o755),
            ("0640", 0o777, true, 0o640),
            ("4755", 0o600, false, 0o4755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o740, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("g+s,o+t", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("go=", 0o777, false, 0o700),
            ("u=r+w", 0o700, false, 0o600),
            ("a=rw,u+x", 0o000, false, 0o766),
            ("u=rw", 0o4755, false, 0o655),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            let result = chmod.apply(before, is_directory);
            assert_eq!(
                format!("{result:o}"),
                format!("{after:o}"),
                "{text} {before:o}"
            );
        }
        for bad in [
            "", "999", "17777", "8", "x", "u", "u=q", "755x", "u=rw,", "u=rw,755",
        ] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }
}
