//! What listeners of a dialogue are told, in order. Invariant: one of [`Frame::Interrupted`], [`Frame::Done`] and
//! [`Frame::Failed`] is the last of each turn, and nothing of it follows.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{AnswerError, History, Usage};
use crate::search::Hit;
use crate::speech::SpeechError;
use crate::speech::live::Part;

/// What a place costs in a log beside its bytes.
const PLACE_BYTES: usize = 96;

/// Something that listeners are told.
#[derive(Debug)]
pub enum Frame {
    /// It is being thought about.
    Thinking(Indicator),
    /// What comes next of the answer, as it is written.
    Text {
        /// Markdown and all.
        text: String,
        /// The clause that is being written.
        clause: u32,
    },
    /// What comes next of its sound.
    Audio(Part),
    /// What the answer is from.
    Sources(Vec<Source>),
    /// Nothing more of the turn will come.
    Interrupted {
        /// Of the turn that was.
        epoch: u32,
        /// What was heard of it.
        heard_text: String,
        /// What was said so far, with that.
        history: Vec<Message>,
    },
    /// All was said.
    Done(Box<Done>),
    /// Nothing more of the turn will come, for a reason.
    Failed(TurnError),
}

/// What tells that it is thought about: something that the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indicator {
    /// A sound.
    Sound,
    /// A text.
    Text,
}

/// A document that an answer is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Source {
    /// Its id in the search.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub media: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub creator: Option<String>,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// What they said, as far as it was heard.
    pub text: String,
}

/// How a turn ended well.
#[derive(Clone, Debug)]
pub struct Done {
    /// Why the answer ended, as its writer says.
    pub finish: String,
    /// What it took, where that is known.
    pub usage: Option<Usage>,
    /// How long things took.
    pub timings: Timings,
    /// What was said so far; to be sent back with the next question.
    pub history: Vec<Message>,
}

/// How long things took, from the question on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Timings {
    /// Until the first text.
    pub first_text_ms: u64,
    /// Until the first sound; 0 where there is none.
    pub first_audio_ms: u64,
    /// How long the sound is.
    pub audio_ms: u64,
    /// Until the end.
    pub total_ms: u64,
}

/// Why a turn broke off.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TurnError {
    /// There is no answer, or no more of it.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It cannot be spoken.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// An answer came that has not a word.
    #[error("the answer is empty")]
    Empty,
}

impl Frame {
    /// What it costs in the lane of what is small.
    pub fn text_bytes(&self) -> usize {
        let said = |history: &[Message]| {
            history.iter().map(|said| said.text.len() + size_of::<Message>()).sum::<usize>()
        };
        PLACE_BYTES
            + match self {
                Frame::Thinking(_) | Frame::Audio(_) | Frame::Failed(_) => 0,
                Frame::Text { text, .. } => text.len(),
                Frame::Sources(sources) => sources.iter().map(Source::bytes).sum(),
                Frame::Interrupted { heard_text, history, .. } => heard_text.len() + said(history),
                Frame::Done(done) => said(&done.history),
            }
    }

    /// Whether nothing of its turn follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Frame::Interrupted { .. } | Frame::Done(_) | Frame::Failed(_))
    }

    /// Of a part of the sound.
    pub fn audio(part: Part) -> Arc<Self> {
        Arc::new(Frame::Audio(part))
    }
}

impl Source {
    fn bytes(&self) -> usize {
        let parts = [&self.url, &self.media, &self.creator];
        let parts: usize = parts.into_iter().flatten().map(String::len).sum();
        self.id.len() + self.title.len() + parts + size_of::<Self>()
    }
}

impl From<&Hit> for Source {
    fn from(hit: &Hit) -> Self {
        let document = &hit.document;
        Self {
            id: document.id.clone(),
            title: document.title.clone(),
            url: document.url.clone(),
            media: document.media.clone(),
            creator: document.creator.clone(),
        }
    }
}

/// A history as it is sent.
pub fn messages(history: &History) -> Vec<Message> {
    let said = history.turns().flat_map(|turn| {
        [("user", &turn.asked), ("assistant", &turn.answered)]
            .map(|(role, text)| Message { role, text: text.clone() })
    });
    said.filter(|message| !message.text.is_empty()).collect()
}
