//! The messages between the server and a worker process: postcard, framed by a big-endian u32
//! length. Both ends are one binary, so the format needs no versions.

use serde::{Deserialize, Serialize};

use crate::speech::Ended;
use crate::speech::voices::Voices;

/// To the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Speak this; the one before has ended.
    Speak(JobMessage),
    /// Stop the job of this epoch, and any older one.
    Cancel {
        /// The job's.
        epoch: u32,
    },
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobMessage {
    /// Rises from job to job of one process, from 1.
    pub epoch: u32,
    /// The piece.
    pub text: String,
    /// The engine's name of the voice.
    pub voice: String,
    /// 1.0 is natural.
    pub speed: f32,
    /// For engines that draw random numbers.
    pub seed: u64,
    /// At the engine's rate.
    pub most_samples: u32,
    /// Samples at the beginning that were sent before.
    pub skip_samples: u32,
    /// Whether a first word that does not fit is sent in part.
    pub cut_words: bool,
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromWorker<'a> {
    /// Once, when the engine is loaded.
    Hello {
        /// Its sample rate.
        hz: u32,
        /// What it can speak with.
        voices: Voices,
    },
    /// The engine cannot be had; the process ends after this.
    Unavailable {
        /// Including what would help.
        reason: String,
    },
    /// Audio of the running job.
    Audio {
        /// The job's.
        epoch: u32,
        /// Bytes of the job's text that are wholly spoken with this frame; `None` inside a word.
        spoken: Option<u32>,
        /// s16 little-endian mono.
        #[serde(borrow)]
        pcm: &'a [u8],
    },
    /// The job is over.
    End {
        /// The job's.
        epoch: u32,
        /// How.
        ended: Ended,
    },
}
