//! Finding the program and executing it.

use std::ffi::CString;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::root::Root;
use crate::error::Failure;
use crate::spec::ProcessSpec;
use crate::sys;

/// Searched when the environment has no `PATH`; Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and environment, and where it may be.
pub(super) struct Program {
    name: String,
    candidates: Vec<String>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// `home` becomes `HOME` unless the environment has one.
    pub(super) fn new(process: &ProcessSpec, home: &str) -> Result<Self, Failure> {
        let name = match process.argv.first() {
            Some(name) if !name.is_empty() => name.clone(),
            _ => return Err(Failure::Invalid("command: it is empty".to_owned())),
        };
        let mut environment = process.env.clone();
        let value = |key: &str| {
            let found = process
                .env
                .iter()
                .rev()
                .find_map(|entry| entry.strip_prefix(key));
            found.map(str::to_owned)
        };
        if value("HOME=").is_none() {
            environment.push(format!("HOME={home}"));
        }
        let path = value("PATH=").unwrap_or_else(|| DEFAULT_PATH.to_owned());
        Ok(Self {
            candidates: candidates(&name, &path),
            arguments: strings(&process.argv, "argument")?,
            environment: strings(&environment, "environment variable")?,
            name,
        })
    }

    /// Executes the first candidate that can be; returns why none could.
    pub(super) fn execute(&self, root: &Root) -> Failure {
        let mut denied = false;
        for candidate in &self.candidates {
            let exists = match root.open(&absolute(candidate), OFlags::PATH) {
                Ok(_) => true,
                // A magic link, such as /proc/self/exe, names a program of the host.
                Err(Errno::LOOP | Errno::ACCESS | Errno::PERM) => {
                    denied = true;
                    continue;
                }
                Err(_) => false,
            };
            let Ok(path) = CString::new(candidate.as_str()) else {
                continue;
            };
            if !exists {
                continue;
            }
            let error = sys::exec::execve(&path, &self.arguments, &self.environment);
            match error.raw_os_error().unwrap_or(libc::EIO) {
                libc::ENOENT => return Failure::MissingInterpreter(candidate.clone()),
                libc::ENOEXEC => return Failure::WrongFormat(candidate.clone()),
                libc::EACCES => denied = true,
                libc::ENOTDIR => {}
                errno => {
                    return Failure::Setup {
                        step: format!("execute `{candidate}`"),
                        errno,
                    };
                }
            }
        }
        if denied {
            Failure::NotExecutable(self.name.clone())
        } else {
            Failure::NotFound(self.name.clone())
        }
    }
}

fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    path.split(':')
        .map(|directory| match directory {
            "" => format!("./{name}"),
            directory => format!("{}/{name}", directory.trim_end_matches('/')),
        })
        .collect()
}

/// The path from the root, for the look-up; `execve` itself gets what the user wrote.
fn absolute(candidate: &str) -> String {
    if candidate.starts_with('/') {
        return candidate.to_owned();
    }
    let current = rustix::process::getcwd(Vec::new()).unwrap_or_default();
    format!("{}/{candidate}", current.to_string_lossy())
}

fn strings(values: &[String], what: &str) -> Result<Vec<CString>, Failure> {
    values
        .iter()
        .map(|value| {
            CString::new(value.as_str())
                .map_err(|_| Failure::Invalid(format!("{what}: it contains a NUL byte")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn only_a_bare_name_is_searched() {
        assert_eq!(candidates("./run", "/bin"), ["./run"]);
        assert_eq!(candidates("/app/run", "/bin"), ["/app/run"]);
        assert_eq!(
            candidates("sh", "/usr/bin/:/bin::"),
            ["/usr/bin/sh", "/bin/sh", "./sh", "./sh"]
        );
    }
}
