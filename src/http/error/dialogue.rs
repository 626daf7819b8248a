//! What can go wrong in a dialogue, as a status. Invariant: what whoever answers did wrong is never said to be the client's
//! fault.

use http::StatusCode;

use super::{ApiError, RETRY_AFTER_SECONDS};
use crate::answer::AnswerError;
use crate::dialogue::DialogueError;
use crate::dialogue::frame::TurnError;
use crate::dialogue::twice::OnceError;
use crate::upstream::Fault;

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        let message = error.to_string();
        match error {
            AnswerError::NoQuestion => Self::parameter("text", "empty_text", message),
            AnswerError::NothingSaid => Self::parameter("audio", "nothing_said", message),
            AnswerError::QuestionTooLong(_) => Self::parameter("text", "text_too_long", message),
            AnswerError::TooLong(_) => {
                Self::new(StatusCode::BAD_GATEWAY, message).code("answer_too_long")
            }
            AnswerError::Search(error) => error.into(),
            AnswerError::Upstream(error) => {
                let is_refused = matches!(error.fault, Fault::Refused { .. });
                let mut told = Self::from(error);
                // It is our request that was refused, not the client's.
                if is_refused {
                    told.status = StatusCode::BAD_GATEWAY;
                }
                told
            }
        }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::Answer(error) => error.into(),
            TurnError::Speech(error) => error.into(),
            TurnError::Empty => {
                Self::new(StatusCode::BAD_GATEWAY, error.to_string()).code("empty_answer")
            }
        }
    }
}

impl From<DialogueError> for ApiError {
    fn from(error: DialogueError) -> Self {
        let message = error.to_string();
        let with = |status| Self::new(status, message.as_str());
        let unavailable = || with(StatusCode::SERVICE_UNAVAILABLE).retry_after(RETRY_AFTER_SECONDS);
        match error {
            DialogueError::Nobody => with(StatusCode::NOT_FOUND).code("not_configured"),
            DialogueError::Question(error) => error.into(),
            DialogueError::Speech(error) => error.into(),
            DialogueError::NotFound => with(StatusCode::NOT_FOUND).code("dialogue_not_found"),
            DialogueError::Over | DialogueError::OtherTurn(_) => {
                with(StatusCode::CONFLICT).code("turn_over")
            }
            DialogueError::Gone => with(StatusCode::GONE).code("position_gone"),
            DialogueError::Crowded => with(StatusCode::TOO_MANY_REQUESTS)
                .code("too_many_listeners")
                .retry_after(RETRY_AFTER_SECONDS),
            DialogueError::TooMany(full) => Self::rate_limited(&message, full.retry_after),
            DialogueError::OverBudget { .. } => unavailable().code("over_budget"),
            DialogueError::Slow(_) => unavailable().code("slow_consumer"),
            DialogueError::Leaving => Self::leaving(),
        }
    }
}

impl<E: Into<ApiError>> From<OnceError<E>> for ApiError {
    fn from(error: OnceError<E>) -> Self {
        match error {
            OnceError::OtherBody => {
                let message = "this Idempotency-Key was used with another body";
                let mut error = Self::parameter("Idempotency-Key", "idempotency_mismatch", message);
                error.status = StatusCode::UNPROCESSABLE_ENTITY;
                error
            }
            OnceError::TurnOver => {
                let message = "the turn that was asked for under this Idempotency-Key is over";
                Self::new(StatusCode::CONFLICT, message).code("turn_over")
            }
            OnceError::Full(full) => {
                Self::rate_limited("there are too many Idempotency-Keys in use", full.retry_after)
            }
            OnceError::Asked(error) => error.into(),
        }
    }
}
