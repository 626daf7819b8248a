//! What goes wrong with media, as statuses.

use http::StatusCode;

use super::{ApiError, RETRY_AFTER_SECONDS};
use crate::media::MediaError;

impl ApiError {
    /// 412.
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "it is not what the request's conditions ask for",
        )
        .code("precondition_failed")
    }

    /// 416.
    pub fn unsatisfiable(length: u64) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("it has {length} bytes, and none of these parts"),
        )
        .code("range_not_satisfiable")
    }

    /// 400: a name that no file can have.
    pub fn media_name() -> Self {
        let message = "path must be parts divided by /, of at most 200 bytes each, none of which begins with a dot, \
                       holds a control character or one of \\ : * ? \" < > |, or carries a hash";
        Self::parameter("path", "invalid_name", message)
    }

    /// 503: the budget has no room for a download.
    pub fn no_room_to_send() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no room for another download at present")
            .code("over_budget")
            .retry_after(RETRY_AFTER_SECONDS)
    }
}

impl From<MediaError> for ApiError {
    fn from(error: MediaError) -> Self {
        let message = error.to_string();
        let with = |status| Self::new(status, message.as_str());
        match error {
            MediaError::NotFound => with(StatusCode::NOT_FOUND).code("media_not_found"),
            MediaError::Changing => with(StatusCode::SERVICE_UNAVAILABLE)
                .code("media_changing")
                .retry_after(RETRY_AFTER_SECONDS),
            MediaError::Exists => with(StatusCode::CONFLICT).code("media_exists"),
            MediaError::Kind { .. } | MediaError::Ending => {
                with(StatusCode::UNSUPPORTED_MEDIA_TYPE).code("unsupported_media_type")
            }
            MediaError::Full => with(StatusCode::INSUFFICIENT_STORAGE).code("disk_full"),
            MediaError::TooMany => with(StatusCode::INSUFFICIENT_STORAGE).code("too_many_files"),
            MediaError::Leaving => Self::leaving(),
            MediaError::Io(_) => with(StatusCode::INTERNAL_SERVER_ERROR).code("media_failed"),
        }
    }
}
