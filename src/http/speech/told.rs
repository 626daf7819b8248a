//! What the documentation says of speech beyond what its types do: the limits of parameters, from
//! where they are checked, and the answers that its routes share.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::IntoResponses;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{Content, RefOr, Response, ResponseBuilder};

use super::timestamps::LINE_FORMATS;
use super::{SPEEDS, STREAM_FORMATS};
use crate::limits::{HEAD_HOLD, SPEECH_BODY_BYTES, SPEECH_INPUT_CHARS};
use crate::speech::encode::Format;

/// A text to be spoken.
pub fn text() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What is to be said; not only white space."))
        .min_length(Some(1))
        .max_length(Some(SPEECH_INPUT_CHARS))
        .pattern(Some(r"\S"))
        .examples(["Evening falls, and somebody begins to sing."])
        .build()
}

/// How fast; none is as fast as usual.
pub fn speed() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Array(vec![Type::Number, Type::Null]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
        .description(Some("How fast, where 1 is usual."))
        .minimum(Some(*SPEEDS.start()))
        .maximum(Some(*SPEEDS.end()))
        .default(Some(1.into()))
        .build()
}

/// A format that this build makes, or none.
pub fn format() -> Object {
    let names = Format::ALL.map(|format| Value::from(format.name()));
    optional("The format of the sound.", names.to_vec(), Format::DEFAULT.name())
}

/// How the sound comes, or none.
pub fn stream_format() -> Object {
    let names = STREAM_FORMATS.map(Value::from).to_vec();
    optional("The sound as it is, or in server-sent events.", names, STREAM_FORMATS[0])
}

fn optional(text: &str, mut names: Vec<Value>, default: &str) -> Object {
    names.push(Value::Null);
    ObjectBuilder::new()
        .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
        .description(Some(text))
        .enum_values(Some(names))
        .default(Some(default.into()))
        .build()
}

/// How lines with the times of words come, or none.
pub fn line_format() -> Object {
    let names = LINE_FORMATS.map(Value::from).to_vec();
    optional("Lines of JSON, or server-sent events.", names, LINE_FORMATS[0])
}

/// A format that this build makes, in a query.
pub fn query_format() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Format::ALL.map(Format::name)))
        .default(Some(Format::DEFAULT.name().into()))
        .build()
}

/// ElevenLabs' names for formats, as far as this build makes them.
pub fn output_format() -> Object {
    let coded = Format::ALL.map(Format::name);
    let coded = coded.iter().filter(|name| !matches!(**name, "wav" | "pcm"));
    let coded = coded.copied().collect::<Vec<_>>().join("|");
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!(r"^(({coded})(_[\s\S]*)?|(wav|pcm)_24000)$")))
        .examples(["mp3_44100_128", "opus_48000_32", "pcm_24000"])
        .default(Some(Format::DEFAULT.name().into()))
        .build()
}

type Answers = BTreeMap<String, RefOr<Response>>;

/// The sound as it is.
pub struct Sound;

impl IntoResponses for Sound {
    fn responses() -> Answers {
        let kinds = Format::ALL.map(Format::content_type);
        BTreeMap::from([spoken("The sound.", &kinds)])
    }
}

/// The sound with the times of its words.
pub struct SpokenLines;

impl IntoResponses for SpokenLines {
    fn responses() -> Answers {
        let text = "The sound in pieces, with the times of its words.";
        BTreeMap::from([spoken(text, &["application/x-ndjson", "text/event-stream"])])
    }
}

/// The sound as it is, or in events.
pub struct SoundOrEvents;

impl IntoResponses for SoundOrEvents {
    fn responses() -> Answers {
        let text = "The sound: as it is, or in events `speech.audio.delta`, each with a piece of it in \
                    base64 (`audio`), and `speech.audio.done` with `usage` in the end.";
        let kinds = Format::ALL.map(Format::content_type);
        BTreeMap::from([spoken(text, &[&kinds[..], &["text/event-stream"]].concat())])
    }
}

fn spoken(text: &str, kinds: &[&str]) -> (String, RefOr<Response>) {
    let header = |text: &str, kind| {
        let schema = ObjectBuilder::new().schema_type(kind);
        HeaderBuilder::new().description(Some(text)).schema(Some(schema)).build()
    };
    let cache = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(super::deliver::CACHE_WORDS));
    let cache = HeaderBuilder::new()
        .description(Some("Whether it was kept, is being made for somebody else too, or was made."))
        .schema(Some(cache))
        .build();
    let headers: [(&str, Header); 5] = [
        ("x-stream-max-bytes", header("The most this stream can ever hold.", Type::Integer)),
        ("server-timing", header("`first`: milliseconds to the first sound.", Type::String)),
        ("x-voice", header("The voice that speaks.", Type::String)),
        ("x-engine", header("The engine that speaks.", Type::String)),
        ("x-cache", cache),
    ];
    let answer = ResponseBuilder::new().description(text);
    let answer =
        headers.into_iter().fold(answer, |answer, (name, header)| answer.header(name, header));
    // Sound has no schema: nothing in it is text.
    let answer =
        kinds.iter().fold(answer, |answer, kind| answer.content(*kind, Content::default()));
    ("200".into(), answer.build().into())
}

/// What can be wrong with a body.
pub struct BodyRefused;

impl IntoResponses for BodyRefused {
    fn responses() -> Answers {
        answers([
            ("408", "The body came too slowly.".into()),
            ("413", format!("The body is larger than {SPEECH_BODY_BYTES} bytes.")),
        ])
    }
}

/// Why nothing is spoken.
pub struct NotSpoken;

impl IntoResponses for NotSpoken {
    fn responses() -> Answers {
        let seconds = HEAD_HOLD.as_secs();
        answers([
            ("400", "What was asked for cannot be done; `param` says which of it.".into()),
            ("429", "Too many streams, starts or characters.".into()),
            ("502", "The engine failed before its first sound.".into()),
            (
                "503",
                "The engine is not there or busy, there is no room, or the server leaves.".into(),
            ),
            ("504", format!("The engine gave no sound within {seconds} s.")),
        ])
    }
}

fn answers<const N: usize>(said: [(&str, String); N]) -> Answers {
    said.into_iter().map(|(status, text)| (status.into(), Response::new(text).into())).collect()
}
