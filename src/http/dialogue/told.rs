//! Shapes of what is asked in a dialogue and answered. Invariant: an answer is made of the same type that documents it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Content, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::dialogue::frame::Message;
use crate::limits::{CONVERSE_BODY_BYTES, LISTENERS, QUESTION_BYTES, RECORDING_BYTES};
use crate::speech::encode::Format;

/// What a client shows that shows a text.
pub const THINKING: &str = "Thinking …";

/// That a question is being thought about.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conversing {
    /// The dialogue's id, which is the server's.
    #[schema(value_type = String)]
    pub dialogue_id: Arc<str>,
    /// The number of the turn; events of an earlier one do not come any more.
    pub epoch: u32,
    /// What was understood, where it was asked by voice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub text: Option<Arc<str>>,
    /// Who writes the answer: `llm`, a language model, or `found`, what was found in the documents here.
    pub answering: &'static str,
    /// Who speaks it.
    pub engine: &'static str,
    /// With which voice.
    pub voice: String,
    /// What the sound is.
    pub format: &'static str,
    /// What tells the user that it is thought about: nothing that has to be sent.
    pub thinking_indicator: ThinkingIndicator,
    /// Where to listen, without headers.
    pub streams: Streams,
}

/// What tells that a question is thought about.
#[derive(Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ThinkingIndicator {
    /// A sound that the client has.
    Sound {
        /// Which never changes under its name.
        asset: &'static str,
    },
    /// A text.
    Text {
        /// To be shown.
        text: &'static str,
    },
    /// Nothing.
    None,
}

/// Where to listen.
#[derive(Serialize, ToSchema)]
pub struct Streams {
    /// Events; see `open_stream`.
    pub events: String,
    /// Sound; see `get_dialogue_audio`.
    pub audio: String,
}

/// How much was played.
#[derive(Debug, Deserialize, ToSchema)]
pub struct HeardRequest {
    /// Milliseconds of the turn's sound.
    #[schema(minimum = 0)]
    pub played_ms: u32,
    /// Of which turn; the last, where it is not said.
    #[schema(minimum = 1)]
    pub epoch: Option<u32>,
}

/// What was heard.
#[derive(Serialize, ToSchema)]
pub struct Heard {
    /// The words of it.
    pub heard_text: String,
    /// What was said so far, with that.
    pub history: Vec<Message>,
}

/// One event of a stream; none but the first says how soon to come back.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents what events are made of")]
pub struct StreamEvent {
    /// `epoch.number`, by which `Last-Event-ID` goes on.
    id: Option<String>,
    /// `thinking`, `text`, `audio`, `sources`, `heartbeat`, `interrupted`, `done` or `error`.
    event: Option<String>,
    /// An object, as JSON.
    data: Option<String>,
    /// Milliseconds until a browser comes back.
    retry: Option<u32>,
}

/// A key by which a question is asked once.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it documents what is read from the headers")]
pub struct Idempotency {
    /// The same key and body again give the same answer.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// Whose stream it is.
#[derive(Debug, Deserialize)]
pub struct Opening {
    #[serde(rename = "dialogueId")]
    pub dialogue_id: Option<String>,
    pub capability: Option<String>,
    pub follow: Option<String>,
}

/// What an event stream is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it documents what Opening reads")]
pub struct OpenStream {
    /// The dialogue's id.
    #[param(rename = "dialogueId")]
    dialogue_id: String,
    /// What lets in who has no key, as in `streams`.
    capability: Option<String>,
    /// `1`: through later turns as well.
    #[param(schema_with = follow)]
    follow: Option<String>,
}

/// Where an event stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it documents what is read from the headers")]
pub struct LastEventId {
    /// The id of the last event that came.
    #[param(rename = "Last-Event-ID", pattern = r"^[1-9][0-9]{0,8}\.[1-9][0-9]{0,17}$")]
    last_event_id: Option<String>,
}

/// What lets in who has no key.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it documents what Opening reads")]
pub struct Capability {
    /// As in `streams`.
    capability: Option<String>,
}

fn follow() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["0", "1", "true", "false"]))
}

/// A question.
pub fn question() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What is asked; not only white space."))
        .min_length(Some(1))
        .max_length(Some(QUESTION_BYTES / 4))
        .pattern(Some(r"\S"))
        .examples(["What is the ring of a stream?"])
        .build()
}

/// What tells that it is thought about, or none.
pub fn thinking() -> Object {
    let names = ["sound", "text", "none"].map(Value::from);
    ObjectBuilder::new()
        .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
        .description(Some("What tells that it is thought about: `sound` (an asset of the page), `text` or `none`."))
        .enum_values(Some([&names[..], &[Value::Null]].concat()))
        .default(Some("sound".into()))
        .build()
}

type Answers = BTreeMap<String, RefOr<Response>>;

fn answers<const N: usize>(list: [(&str, String); N]) -> Answers {
    list.into_iter()
        .map(|(status, text)| (status.to_string(), Response::new(text).into()))
        .collect()
}

/// Why a question is not asked.
pub struct NotAsked;

impl IntoResponses for NotAsked {
    fn responses() -> Answers {
        answers([
            ("400", "A parameter cannot be met, which `param` names, or the body is no JSON of this shape.".into()),
            ("404", "There is no such dialogue, or nobody answers here.".into()),
            ("408", "The body came too slowly.".into()),
            ("409", "What was asked under this key is over.".into()),
            ("413", format!("The body is larger than {CONVERSE_BODY_BYTES} bytes, or the recording than {RECORDING_BYTES}.")),
            ("422", "The key was used with another body.".into()),
            ("429", "There are too many dialogues, or keys.".into()),
            ("502", "What was said could not be written down.".into()),
            ("503", "There is no room, the engine cannot speak, or the server leaves.".into()),
            ("504", "What was said was not written down in time.".into()),
        ])
    }
}

/// Why nobody is heard.
pub struct NotHeard;

impl IntoResponses for NotHeard {
    fn responses() -> Answers {
        answers([
            ("400", "A parameter cannot be met, which `param` names.".into()),
            ("404", "There is no such dialogue, or it is over.".into()),
            ("409", "The turn is over.".into()),
            ("410", "What comes behind the given event is no longer held.".into()),
            ("429", format!("{LISTENERS} listen already.")),
            ("503", "There is no room for another listener.".into()),
        ])
    }
}

/// The sound of a turn.
pub struct DialogueSound;

impl IntoResponses for DialogueSound {
    fn responses() -> Answers {
        let mut response = ResponseBuilder::new().description("The sound.");
        for kind in Format::ALL.map(Format::content_type) {
            let bytes =
                ObjectBuilder::new().schema_type(Type::String).content_media_type(kind).build();
            response = response.content(kind, Content::new(Some(bytes)));
        }
        BTreeMap::from([("200".into(), response.build().into())])
    }
}
