//! How a request can fail before there is an answer.

use std::error::Error as _;
use std::time::Duration;

use super::root_cause;
use crate::error::DistributionError;

/// Why there was no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct TransportError {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No connection: name service, route, nobody listening.
    Connect,
    /// A connection, but no TLS.
    Tls,
    /// A certificate that is not trusted.
    Certificate,
    /// It broke, or nothing came for too long.
    Broken,
    /// It would lead to where one must not go.
    Redirect,
    /// A file of this machine could not be read.
    File,
}

impl TransportError {
    pub(crate) fn timeout(after: Duration) -> Self {
        Self {
            kind: Kind::Broken,
            text: format!("nothing came for {after:.0?}"),
        }
    }

    pub(crate) fn redirect(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Redirect,
            text: text.into(),
        }
    }

    pub(crate) fn broken(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Broken,
            text: text.into(),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(crate) fn file(error: std::io::Error) -> Self {
        Self {
            kind: Kind::File,
            text: format!("could not read the blob: {error}"),
        }
    }

    /// Whether nobody was reached.
    pub(crate) fn is_connect(&self) -> bool {
        self.kind == Kind::Connect
    }

    /// Whether it is the certificate that is not trusted.
    pub fn is_certificate(&self) -> bool {
        self.kind == Kind::Certificate
    }

    /// Whether it may work when it is tried again.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.kind, Kind::Connect | Kind::Broken)
    }

    pub(crate) fn into_error(self, host: &str, action: &str, attempts: u32) -> DistributionError {
        let host = host.to_owned();
        let action = action.to_owned();
        match self.kind {
            Kind::Connect => DistributionError::Unreachable { host, source: self },
            Kind::Tls | Kind::Certificate => DistributionError::Tls { host, source: self },
            Kind::Broken | Kind::File => DistributionError::Interrupted {
                action,
                host,
                attempts,
                source: self,
            },
            Kind::Redirect => DistributionError::Protocol {
                host,
                action,
                problem: self.text,
            },
        }
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let kind = match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(_)) => Kind::Certificate,
            Some(_) if error.is_connect() => Kind::Tls,
            _ if error.is_connect() => Kind::Connect,
            _ => Kind::Broken,
        };
        let text = if error.is_timeout() && kind == Kind::Connect {
            "no answer to the attempt to connect".to_owned()
        } else {
            root_cause(&error)
        };
        Self { kind, text }
    }
}

/// The TLS library's error, if that is what it was.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = unwrapped(cause) {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// An I/O error does not name what it wraps as its source, but the source of that.
fn unwrapped<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    unwrapped(inner)
}
