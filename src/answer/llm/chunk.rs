//! One event of a streamed chat. Invariant: what is not understood is an error; what is understood and not needed
//! (tool calls, thoughts, further choices, fields of any server's own) is passed over.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::answer::{Finish, Usage};
use crate::limits::FINISH_CHARS;
use crate::upstream::events::Event;

/// What an event says.
#[derive(Debug, PartialEq)]
pub enum Chunk {
    /// What comes next, of whatever there is.
    Part {
        /// Of the text.
        text: Option<String>,
        /// Why it is over.
        finish: Option<Finish>,
        /// What it took.
        usage: Option<Usage>,
    },
    /// There will be no more; its words are in the event.
    Error,
    /// All was sent.
    Done,
}

/// An event is none of a chat. It says nothing of what the event was, which nobody has looked at.
#[derive(Debug, thiserror::Error)]
#[error("an event of its answer cannot be read behind character {0}")]
pub struct NoChunk(usize);

#[derive(Deserialize)]
struct Wire {
    choices: Option<Vec<Choice>>,
    usage: Option<Lenient<Usage>>,
    error: Option<IgnoredAny>,
    /// `error` where vLLM says one without an envelope.
    object: Option<Lenient<String>>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<Delta>,
    finish_reason: Option<Lenient<String>>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Lenient<String>>,
}

/// What some server puts where another one puts a `T`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Known(T),
    Other(IgnoredAny),
}

impl<T> Lenient<T> {
    fn known(self) -> Option<T> {
        match self {
            Lenient::Known(value) => Some(value),
            Lenient::Other(IgnoredAny) => None,
        }
    }
}

impl Chunk {
    /// Reads it.
    pub fn read(event: &Event) -> Result<Self, NoChunk> {
        let data = event.data.trim();
        if event.kind == "error" {
            return Ok(Chunk::Error);
        }
        if data == "[DONE]" {
            return Ok(Chunk::Done);
        }
        if data.is_empty() {
            return Ok(Chunk::Part { text: None, finish: None, usage: None });
        }
        let wire: Wire = serde_json::from_str(data).map_err(|error| NoChunk(error.column()))?;
        let object = wire.object.and_then(Lenient::known);
        if wire.error.is_some() || object.as_deref() == Some("error") {
            return Ok(Chunk::Error);
        }
        let first = wire.choices.unwrap_or_default().into_iter().find(|choice| choice.index == 0);
        let (delta, reason) =
            first.map_or((None, None), |choice| (choice.delta, choice.finish_reason));
        Ok(Chunk::Part {
            text: delta.and_then(|delta| delta.content?.known()),
            finish: reason.and_then(Lenient::known).and_then(finish),
            usage: wire.usage.and_then(Lenient::known),
        })
    }
}

/// Some servers say an empty reason until there is one.
fn finish(reason: String) -> Option<Finish> {
    Some(match reason.as_str() {
        "" => return None,
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(super::shortened(other, FINISH_CHARS)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(data: &str) -> Result<Chunk, String> {
        Chunk::read(&Event { kind: String::new(), data: data.into() })
            .map_err(|error| error.to_string())
    }

    fn part(text: Option<&str>, finish: Option<Finish>, usage: Option<Usage>) -> Chunk {
        Chunk::Part { text: text.map(Into::into), finish, usage }
    }

    #[test]
    fn what_servers_send_is_understood() {
        let usage = Usage { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 };
        let other = Finish::Other("tool_calls".into());
        for (data, chunk) in [
            (
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}"#,
                part(Some("Hi"), None, None),
            ),
            (
                r#"{"choices":[{"delta":{"content":null},"finish_reason":""}],"usage":null}"#,
                part(None, None, None),
            ),
            (
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
                part(None, Some(Finish::Stop), None),
            ),
            (r#"{"choices":[{"finish_reason":"length"}]}"#, part(None, Some(Finish::Length), None)),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
                part(None, None, Some(usage)),
            ),
            (r#"{"choices":null,"usage":{"prompt_tokens":-1}}"#, part(None, None, None)),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]},"finish_reason":"tool_calls"}]}"#,
                part(None, Some(other), None),
            ),
            (r#"{"choices":[{"index":1,"delta":{"content":"second"}}]}"#, part(None, None, None)),
            (
                r#"{"choices":[{"delta":{"content":[{"type":"thinking"}]}}]}"#,
                part(None, None, None),
            ),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"hm"}}],"timings":{}}"#,
                part(None, None, None),
            ),
            ("", part(None, None, None)),
            (" [DONE] ", Chunk::Done),
            (r#"{"error":{"message":"out of memory","code":500}}"#, Chunk::Error),
            (r#"{"error":"out of memory"}"#, Chunk::Error),
            (r#"{"object":"error","message":"out of memory"}"#, Chunk::Error),
            (r#"{"error":null,"choices":[]}"#, part(None, None, None)),
        ] {
            assert_eq!(read(data), Ok(chunk), "{data}");
        }
        let event = Event { kind: "error".into(), data: "out of memory".into() };
        assert_eq!(Chunk::read(&event).expect("is read"), Chunk::Error);
    }

    #[test]
    fn what_is_no_chunk_is_not_repeated() {
        for bad in
            ["sk-canary", r#"{"choices":"sk-canary"}"#, "[1]", "{", r#"{"choices":[{"index":-1}]}"#]
        {
            let error = read(bad).expect_err("is none");
            assert!(
                error.contains("cannot be read") && !error.contains("canary"),
                "{bad}: {error}"
            );
        }
        let deep = format!("{{\"x\":{}", "[".repeat(60_000));
        assert!(read(&deep).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(data in ".{0,200}", kind in "(error)?") {
            let _ = Chunk::read(&Event { kind, data });
        }
    }
}
