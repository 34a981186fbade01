//! Errors as S3 clients read them.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};

use super::head::Head;
use super::xml::Xml;
use crate::R2Error;

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum S3Error {
    /// The store's.
    Store(R2Error),
    /// The endpoint's own.
    Own {
        status: StatusCode,
        code: &'static str,
        message: String,
    },
    /// What the client has is still good; the entity tag.
    NotModified(String),
}

impl<T: Into<R2Error>> From<T> for S3Error {
    fn from(error: T) -> Self {
        Self::Store(error.into())
    }
}

impl S3Error {
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::with(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::with(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::with(StatusCode::FORBIDDEN, code, message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::with(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(super) fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self::with(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn not_implemented(head: &Head) -> Self {
        let asked = head.subresource().map(|name| format!(" `?{name}`"));
        let message = format!(
            "{}{} is not implemented here.",
            head.method,
            asked.unwrap_or_default()
        );
        Self::unimplemented(message)
    }

    pub(super) fn unimplemented(message: impl Into<String>) -> Self {
        Self::with(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    fn with(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::Own {
            status,
            code,
            message: message.into(),
        }
    }

    /// Code and message.
    pub(super) fn told(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Store(error) => (error.status(), error.s3_code(), error.to_string()),
            Self::Own {
                status,
                code,
                message,
            } => (*status, code, message.clone()),
            Self::NotModified(_) => (StatusCode::NOT_MODIFIED, "NotModified", String::new()),
        }
    }

    pub(super) fn response(&self, path: &str, id: &str, headless: bool) -> Response {
        if let Self::Store(R2Error::Storage(failure)) = self {
            let error = berth_error::chain(failure);
            tracing::error!(error, "a bucket fails");
        }
        let (status, code, message) = self.told();
        if let Self::NotModified(etag) = self {
            let mut response = status.into_response();
            if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
                response.headers_mut().insert(header::ETAG, etag);
            }
            return response;
        }
        if headless {
            return status.into_response();
        }
        let mut xml = Xml::new("Error", None);
        xml.text("Code", code).text("Message", &message);
        xml.text("Resource", path).text("RequestId", id);
        let mut response = xml.response();
        *response.status_mut() = status;
        if let Self::Store(R2Error::Range { size }) = self
            && let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}"))
        {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        response
    }
}
