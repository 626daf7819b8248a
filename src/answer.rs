//! Who writes the answers. Invariants: an answer is bounded, and so are the question and the history that it is asked
//! with; it ends with [`Piece::End`] or with an error, and nothing else is an end; whoever drops it ends the work for it.

pub mod found;
mod history;
pub mod llm;
pub mod transcriber;

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;

use crate::ledger::Departure;
use crate::limits::{ANSWER_BYTES, QUESTION_BYTES};
use crate::search::{Hit, SearchError};
use crate::upstream::UpstreamError;

pub use history::{History, Turn};

/// Writes answers.
pub trait Responder: Send + Sync + 'static {
    /// What it is called where clients are told who answers.
    fn name(&self) -> &'static str;
    /// The answer, as it is written.
    fn answer(&self, question: Question) -> Pieces;
}

/// An answer as it comes. Nothing follows [`Piece::End`] or an error.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, AnswerError>> + Send>>;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// What it is from, before its text.
    Sources(Vec<Hit>),
    /// What comes next of its text; pieces end anywhere, also within a word.
    Text(String),
    /// It is whole.
    End(End),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub finish: Finish,
    /// What it took, where that is known.
    pub usage: Option<Usage>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// All was said.
    Stop,
    /// It was as long as it may be.
    Length,
    /// What would have come is not to be said.
    ContentFilter,
    /// For another reason, in the words of whoever wrote it.
    Other(String),
    /// Whoever wrote it says that it is whole, and not why.
    Unsaid,
}

/// What an answer took, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Of the question, and all that went with it.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Of both.
    #[serde(default)]
    pub total_tokens: u64,
}

/// A question that may be asked.
#[derive(Clone, Debug)]
pub struct Question {
    text: String,
    history: History,
    instructions: String,
    owner: Arc<str>,
    departure: Departure,
}

/// Why there is no answer, or no more of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nothing was asked.
    #[error("the question is empty")]
    NoQuestion,
    /// Nothing was understood of what was said.
    #[error("nothing was said that could be understood")]
    NothingSaid,
    /// More was asked than one may ask at once.
    #[error("the question is {0} bytes long, at most {QUESTION_BYTES} will do")]
    QuestionTooLong(usize),
    /// The answer would not end.
    #[error("{0}: the answer is longer than {ANSWER_BYTES} bytes")]
    TooLong(&'static str),
    /// Nothing could be looked up.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// Whoever writes the answers failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Question {
    /// Asks `text` after `history`, for the request `owner` of the client of `departure`.
    pub fn new(
        text: impl Into<String>,
        history: History,
        owner: impl Into<Arc<str>>,
        departure: Departure,
    ) -> Result<Self, AnswerError> {
        let text = text.into();
        match text.len() {
            _ if text.trim().is_empty() => Err(AnswerError::NoQuestion),
            bytes if bytes > QUESTION_BYTES => Err(AnswerError::QuestionTooLong(bytes)),
            _ => {
                let (owner, instructions) = (owner.into(), String::new());
                Ok(Self { text, history, instructions, owner, departure })
            }
        }
    }

    /// The same, to be answered as these say: a language model hears them behind its own.
    pub fn instructed(mut self, instructions: String) -> Self {
        self.instructions = instructions;
        self
    }
}

impl std::fmt::Display for Finish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ContentFilter => "content_filter",
            Finish::Other(reason) => reason,
            Finish::Unsaid => "unsaid",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_said() {
        let ask = |text: String| {
            Question::new(text, History::default(), "test", Departure::default()).map(drop)
        };
        assert_eq!(ask(" \n".into()), Err(AnswerError::NoQuestion));
        assert_eq!(ask("x".repeat(QUESTION_BYTES)), Ok(()));
        let error = ask("x".repeat(QUESTION_BYTES + 1)).expect_err("is too long").to_string();
        assert_eq!(error, "the question is 16385 bytes long, at most 16384 will do");
    }
}
