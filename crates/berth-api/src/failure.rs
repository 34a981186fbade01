//! Errors as Cloudflare's API has them: wrangler acts on the codes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use berth_control::ControlError;
use berth_control::assets::AssetsError;
use berth_control::migrations::MigrationError;
use berth_control::resources::Kind;
use berth_control::upload::UploadError;
use berth_error::Hint;
use http::StatusCode;
use serde_json::json;

/// One error.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: u32,
    message: String,
}

/// A Worker does not exist.
pub(crate) const NO_WORKER: u32 = 10007;
/// What was uploaded does not start.
pub(crate) const NOT_VALID: u32 = 10021;
const BAD_REQUEST: u32 = 10001;
const AUTHENTICATION: u32 = 10000;
const FORBIDDEN: u32 = 9109;

impl Failure {
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// Ours, not the client's.
    pub(crate) fn internal(error: impl std::error::Error) -> Self {
        let chain = berth_error::chain(&error);
        tracing::error!(error = chain, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 10013, chain)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, BAD_REQUEST, message)
    }

    pub(crate) fn not_valid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, NOT_VALID, message)
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            AUTHENTICATION,
            "Authentication error",
        )
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, FORBIDDEN, message)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let (status, code) = match &error {
            ControlError::NoWorker(_) => (StatusCode::NOT_FOUND, NO_WORKER),
            ControlError::NoVersion { .. } => (StatusCode::NOT_FOUND, 100_146),
            ControlError::NothingDeployed(_) => (StatusCode::NOT_FOUND, 10222),
            ControlError::NoSecret { .. } => (StatusCode::NOT_FOUND, 10056),
            ControlError::NoToken(_) => (StatusCode::NOT_FOUND, 1003),
            ControlError::Expiry(_) => (StatusCode::BAD_REQUEST, BAD_REQUEST),
            ControlError::NotLive(_) => (StatusCode::BAD_REQUEST, 10215),
            ControlError::NotWaiting(_) => (StatusCode::CONFLICT, BAD_REQUEST),
            ControlError::SecretsChanged(_) => (StatusCode::BAD_REQUEST, 10220),
            ControlError::BindingTaken { .. } => (StatusCode::BAD_REQUEST, 10053),
            ControlError::BadName(_) => (StatusCode::BAD_REQUEST, 10016),
            ControlError::Route(_)
            | ControlError::BadDomain(_)
            | ControlError::Cron { .. }
            | ControlError::Split(_) => (StatusCode::BAD_REQUEST, BAD_REQUEST),
            ControlError::RouteTaken { .. } => (StatusCode::CONFLICT, 10020),
            ControlError::DomainTaken { .. } => (StatusCode::CONFLICT, 100_116),
            ControlError::NoApplication(_) | ControlError::NoRollout(_) => {
                (StatusCode::NOT_FOUND, 1602)
            }
            ControlError::Application(_) => (StatusCode::BAD_REQUEST, 1600),
            ControlError::NoResource { kind, .. } => (StatusCode::NOT_FOUND, missing(*kind)),
            ControlError::ResourceTaken { kind, .. } => (StatusCode::BAD_REQUEST, taken(*kind)),
            ControlError::ResourceUsed { .. } => (StatusCode::CONFLICT, BAD_REQUEST),
            ControlError::Resource { .. } => (StatusCode::BAD_REQUEST, BAD_REQUEST),
            ControlError::BindingTarget { .. } => (StatusCode::BAD_REQUEST, NOT_VALID),
            ControlError::NoTailWorker(_) => (StatusCode::BAD_REQUEST, 10203),
            ControlError::TailsOthers { .. } => (StatusCode::CONFLICT, BAD_REQUEST),
            ControlError::Assets(AssetsError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, BAD_REQUEST)
            }
            ControlError::Assets(_) => (StatusCode::BAD_REQUEST, BAD_REQUEST),
            ControlError::Upload(UploadError::Inherit(_)) => (StatusCode::BAD_REQUEST, 10057),
            ControlError::Upload(UploadError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, 10027)
            }
            ControlError::Upload(_) => (StatusCode::BAD_REQUEST, NOT_VALID),
            ControlError::Migration(MigrationError::Tag { .. }) => {
                (StatusCode::PRECONDITION_FAILED, 10079)
            }
            ControlError::Migration(_) => (StatusCode::BAD_REQUEST, 10061),
            ControlError::NoAccessKey(_) => (StatusCode::NOT_FOUND, 10042),
            ControlError::R2(berth_r2::R2Error::Storage(_)) => return Self::internal(error),
            ControlError::R2(error) => (error.status(), error.v4_code()),
            ControlError::Store(_)
            | ControlError::Seal(_)
            | ControlError::File { .. }
            | ControlError::NoRandom(_) => return Self::internal(error),
        };
        let mut message = berth_error::chain(&error);
        if let Some(hint) = error.hint() {
            message = format!("{message} ({hint})");
        }
        Self::new(status, code, message)
    }
}

impl From<berth_r2::R2Error> for Failure {
    fn from(error: berth_r2::R2Error) -> Self {
        ControlError::from(error).into()
    }
}

/// wrangler acts on most of these.
fn missing(kind: Kind) -> u32 {
    match kind {
        Kind::Kv => 10013,
        Kind::D1 => 7404,
        Kind::Queue => 11000,
        Kind::Consumer => 11001,
        Kind::Workflow => 10200,
        Kind::Store | Kind::Secret => 1001,
    }
}

fn taken(kind: Kind) -> u32 {
    match kind {
        Kind::Kv => 10014,
        Kind::D1 => 7502,
        Kind::Queue => 11009,
        Kind::Consumer => 11004,
        Kind::Workflow => 10201,
        Kind::Store | Kind::Secret => 1003,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code, "message": self.message});
        let body = json!({"success": false, "errors": [error], "messages": [], "result": null});
        (self.status, Json(body)).into_response()
    }
}
