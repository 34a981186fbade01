//! One place where causes become HTTP statuses.

use berth_engine::EngineError;
use http::StatusCode;

/// A refused request: status and the text of Docker's `{"message": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 501: a part of Docker's API that Berth does not have.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("{what} is not supported yet"),
        )
    }

    pub(crate) fn no_such_container(name: &str) -> Self {
        Self::not_found(format!("No such container: {name}"))
    }

    /// What the engine refused or failed.
    fn from_engine(error: &EngineError) -> Self {
        Self::new(Self::status_of(error), berth_error::chain(error))
    }

    /// The status of what the engine refused or failed.
    pub(crate) fn status_of(error: &EngineError) -> StatusCode {
        match error {
            EngineError::NoSuchImage(_)
            | EngineError::NoSuchContainer(_)
            | EngineError::NoSuchVolume(_)
            | EngineError::NoSuchPath(_) => StatusCode::NOT_FOUND,
            EngineError::ReadOnly(_) => StatusCode::FORBIDDEN,
            EngineError::NameInUse(_)
            | EngineError::VolumeInUse(_)
            | EngineError::NotRunning(_)
            | EngineError::StillRunning(_)
            | EngineError::Paused(_)
            | EngineError::NotPaused(_)
            | EngineError::BeingRemoved(_) => StatusCode::CONFLICT,
            EngineError::AlreadyRunning(_) => StatusCode::NOT_MODIFIED,
            EngineError::NoCommand(_)
            | EngineError::InvalidVolume(_)
            | EngineError::InvalidMount { .. }
            | EngineError::NotADirectory(_)
            | EngineError::InvalidHost(_)
            | EngineError::Start { .. }
            | EngineError::Exec { .. } => StatusCode::BAD_REQUEST,
            EngineError::ShuttingDown
            | EngineError::NoInstance { .. }
            | EngineError::NoTotal { .. } => StatusCode::SERVICE_UNAVAILABLE,
            EngineError::NotListening { .. }
            | EngineError::Connect { .. }
            | EngineError::Jail { .. }
            | EngineError::Image { .. }
            | EngineError::Archive { .. }
            | EngineError::Unpack { .. }
            | EngineError::Commit { .. }
            | EngineError::File { .. }
            | EngineError::Kernel { .. }
            | EngineError::NoIdRange => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::from_engine(&error)
    }
}
