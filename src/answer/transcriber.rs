//! What was said, written down by any server with OpenAI's `/audio/transcriptions`: OpenAI itself, Speaches, LocalAI,
//! whisper.cpp's server behind a gateway. Invariants: a recording is held once, in the form in which it is sent on; nothing
//! that a client names stands in that form; dropping the wait closes the connection.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use serde::Deserialize;

use super::AnswerError;
use crate::ledger::Departure;
use crate::limits::{QUESTION_BYTES, TRANSCRIBE_WITHIN};
use crate::upstream::{Ask, Fault, Upstream};

/// Kinds of recordings: how such a server knows them, by the name of a file, and by which media types they come.
const KINDS: [(&str, &[&str]); 7] = [
    ("flac", &["audio/flac", "audio/x-flac"]),
    ("mp3", &["audio/mpeg", "audio/mp3"]),
    ("m4a", &["audio/mp4", "audio/x-m4a", "audio/m4a", "audio/aac"]),
    ("mp4", &["video/mp4"]),
    ("ogg", &["audio/ogg", "audio/opus", "application/ogg"]),
    ("wav", &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"]),
    ("webm", &["audio/webm", "video/webm"]),
];

/// Other names for files of those kinds.
const NAMES: [(&str, &str); 4] =
    [("mpga", "mp3"), ("mpeg", "mp3"), ("oga", "ogg"), ("opus", "ogg")];

/// Bytes of a form beside its recording and the name of the model.
pub const FORM_BYTES: usize = 512;

/// What is asked of the server beside the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscriberConfig {
    /// The model, as the server calls it.
    pub model: String,
}

/// Whoever writes down what is said. Clones share it.
#[derive(Clone)]
pub struct Transcriber(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    config: TranscriberConfig,
}

/// A recording on its way.
pub struct Recording {
    form: BytesMut,
    /// Where it begins in that.
    begins: usize,
    boundary: String,
    bytes: usize,
}

/// What kinds of recordings there are, as an error says it.
pub fn kinds() -> String {
    KINDS.map(|(kind, _)| kind).join(", ")
}

/// The kind of a recording in a file of that name, or of that media type.
pub fn kind(file_name: Option<&str>, media_type: Option<&str>) -> Option<&'static str> {
    let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
    let by_type = KINDS.into_iter().find(|(_, types)| types.contains(&media_type.trim()));
    let ending = file_name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    let ending = ending.unwrap_or_default().to_ascii_lowercase();
    let ending = NAMES.iter().find(|(name, _)| *name == ending).map_or(&*ending, |(_, kind)| kind);
    // A name says more than a type: files of the same type are told apart by it.
    let by_name = KINDS.into_iter().find(|(kind, _)| *kind == ending);
    by_name.or(by_type).map(|(kind, _)| kind)
}

impl Transcriber {
    /// The model of that configuration at `upstream`.
    pub fn new(upstream: Upstream, config: TranscriberConfig) -> Self {
        Self(Arc::new(Inner { upstream, config }))
    }

    /// An empty recording of that [`kind`], with room for so many bytes of it.
    pub fn recording(&self, kind: &'static str, room: usize) -> Recording {
        let mut random = [0; 18];
        // Where there is no chance to be had, the clock's will do: it only must not stand in the recording.
        if getrandom::fill(&mut random).is_err() {
            let now = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
            random[..16].copy_from_slice(&now);
        }
        let boundary = URL_SAFE_NO_PAD.encode(random);
        let model = &self.0.config.model;
        let mut form = BytesMut::with_capacity(room + model.len() + FORM_BYTES);
        for (name, value) in [("model", &**model), ("response_format", "json")] {
            let part = format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            form.put(part.as_bytes());
        }
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"question.{kind}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        form.put(head.as_bytes());
        let begins = form.len();
        Recording { form, begins, boundary, bytes: 0 }
    }

    /// What is said in a recording, for the request `owner` of the client of `departure`.
    pub async fn write_down(
        &self,
        recording: Recording,
        owner: Arc<str>,
        departure: Departure,
    ) -> Result<String, AnswerError> {
        #[derive(Deserialize)]
        struct Written {
            text: String,
        }
        let upstream = &self.0.upstream;
        let (form, media_type) = recording.finish();
        let ask = Ask {
            method: Method::POST,
            body: Some((form, media_type.into())),
            departure: Some(departure),
            // Listening takes longer than beginning to answer.
            within: Some(TRANSCRIBE_WITHIN),
            ..Ask::errand("/audio/transcriptions", None, owner)
        };
        let (_, bytes) = upstream.whole(&ask).await?;
        let garbage = |error| upstream.error(Fault::Garbage(format!("no transcript: {error}")));
        let Written { text } = serde_json::from_slice(&bytes).map_err(garbage)?;
        match text.trim() {
            "" => Err(AnswerError::NothingSaid),
            text if text.len() > QUESTION_BYTES => Err(AnswerError::QuestionTooLong(text.len())),
            text => Ok(text.to_string()),
        }
    }
}

impl Recording {
    /// What comes next of it.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.form.put(bytes);
    }

    /// Puts `head` over its first bytes, of which it has as many.
    pub fn begin_with(&mut self, head: &[u8]) {
        let most = head.len().min(self.bytes);
        self.form[self.begins..self.begins + most].copy_from_slice(&head[..most]);
    }

    /// Bytes of it so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The whole form, and its media type.
    fn finish(mut self) -> (Bytes, String) {
        self.form.put(format!("\r\n--{}--\r\n", self.boundary).as_bytes());
        (self.form.freeze(), format!("multipart/form-data; boundary={}", self.boundary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_known_by_its_name_or_by_its_type() {
        for (name, media_type, known) in [
            (Some("Question.WAV"), None, Some("wav")),
            (Some("blob"), Some("audio/webm"), Some("webm")),
            (Some("a.opus"), Some("application/octet-stream"), Some("ogg")),
            (Some("a.mpga"), Some("audio/mpeg"), Some("mp3")),
            (None, Some("Audio/X-Wav"), Some("wav")),
            (Some("a.txt"), Some("text/plain"), None),
            (Some("wav"), None, None),
            (None, None, None),
        ] {
            assert_eq!(kind(name, media_type), known, "{name:?} {media_type:?}");
        }
    }
}
