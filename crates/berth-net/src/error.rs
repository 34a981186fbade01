//! Why a network could not be made, with advice.

use std::io;

use berth_error::Hint;

/// Why a network could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// `unshare(2)` or `setns(2)` refused.
    #[error("could not make a network namespace")]
    Namespace(#[source] io::Error),
    /// An interface, address or route could not be set up.
    #[error("could not set up {what} in a network namespace")]
    Configure {
        /// What was being set up.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A kernel setting of the namespace could not be written.
    #[error("could not write `{path}` in a network namespace")]
    Sysctl {
        /// The file under `/proc/sys`.
        path: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// One of our sockets could not be opened inside the namespace.
    #[error("could not open the {what} socket in a network namespace")]
    Socket {
        /// What the socket is for.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The socket-lookup program could not be loaded or attached.
    #[error("could not capture the egress of a network namespace")]
    Capture(#[source] io::Error),
    /// What a process before has left of a network is not all of it, or not that.
    #[error("a network that is to be taken over has no {what} that can be used")]
    Incomplete {
        /// What is missing.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The thread that enters namespaces could not be started, or ended.
    #[error("could not reach the thread that enters network namespaces")]
    Thread(#[source] io::Error),
}

impl NetError {
    fn kernel(&self) -> &io::Error {
        match self {
            Self::Namespace(source)
            | Self::Configure { source, .. }
            | Self::Sysctl { source, .. }
            | Self::Socket { source, .. }
            | Self::Incomplete { source, .. }
            | Self::Capture(source)
            | Self::Thread(source) => source,
        }
    }
}

impl Hint for NetError {
    fn hint(&self) -> Option<String> {
        let number = self.kernel().raw_os_error();
        match (self, number) {
            (_, Some(libc::EMFILE | libc::ENFILE)) => {
                Some("too many files are open: raise the limit with `ulimit -n`".to_owned())
            }
            (_, Some(libc::EPERM | libc::EACCES)) => {
                Some("network namespaces need root: run Berth with `sudo`".to_owned())
            }
            (Self::Capture(_), Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)) => Some(
                "capturing egress needs Linux 5.9 or newer with CONFIG_BPF_SYSCALL and CONFIG_INET"
                    .to_owned(),
            ),
            (Self::Namespace(_), Some(libc::ENOSPC)) => Some(
                "too many network namespaces: see /proc/sys/user/max_net_namespaces".to_owned(),
            ),
            _ => None,
        }
    }
}
