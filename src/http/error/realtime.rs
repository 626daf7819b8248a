//! What goes wrong with voice sessions, as statuses.

use http::StatusCode;

use super::{ApiError, RETRY_AFTER_SECONDS};
use crate::realtime::SessionError;

impl ApiError {
    /// 426.
    pub fn no_websocket(why: &'static str) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, why).code("websocket_required")
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        let unavailable = || Self::new(StatusCode::SERVICE_UNAVAILABLE, message.as_str());
        match error {
            SessionError::TooMany(full) => unavailable()
                .code("too_many_sessions")
                .retry_after(full.retry_after.as_secs() as u32),
            SessionError::OverBudget => {
                unavailable().code("over_budget").retry_after(RETRY_AFTER_SECONDS)
            }
            SessionError::Leaving => Self::leaving(),
        }
    }
}
