//! What a server elsewhere says, as its session tells it. Invariants: it comes to the client word for word but for the number of the
//! event; what is no event of the conversation, or an echo of what was said before, does not; what was said stands in the
//! session's own conversation as well, as text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::item::{Form, Item, Role};
use super::super::respond::Finish;
use super::super::session::{Session, State};
use super::super::wrong::{at, text};
use super::Listening;
use super::link::Try;
use crate::limits::{QUESTION_BYTES, SESSION_NAME_BYTES};

/// Events that are known, for whoever counts them.
const KNOWN: [&str; 29] = [
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.deleted",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.failed",
    "conversation.item.retrieved",
    "conversation.item.truncated",
    "error",
    "input_audio_buffer.cleared",
    "input_audio_buffer.committed",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "rate_limits.updated",
    "response.content_part.added",
    "response.content_part.done",
    "response.created",
    "response.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
];

/// Events of which the session has to know more than that they came.
const NOTED: [&str; 9] = [
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.deleted",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.truncated",
    "input_audio_buffer.speech_started",
    "response.created",
    "response.done",
];

/// The fields of an event in their order, each word for word.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, which is an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Reader).map(Fields)
    }
}

/// An event with a number of ours, and all else as it came in so many bytes.
fn numbered(fields: &[(String, &RawValue)], number: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 48);
    text += &format!("{{\"event_id\":\"event_{number}\"");
    for (name, value) in fields.iter().filter(|(name, _)| name != "event_id") {
        text += &format!(",{}:", Value::from(&**name));
        text += value.get();
    }
    text.push('}');
    text
}

impl Session {
    /// Takes what the server says by the connection of that number.
    pub(super) fn heed(
        &self,
        number: Try,
        listening: &Listening,
        message: &str,
    ) -> Result<(), &'static str> {
        let hidden;
        let message = match listening.sockets.shows(message) {
            true => {
                hidden = listening.sockets.hide(message);
                &hidden
            }
            false => message,
        };
        let no_event = "it said something that is no event";
        let Fields(fields) = serde_json::from_str(message).map_err(|_| no_event)?;
        let kind = fields.iter().find(|(name, _)| name == "type").ok_or(no_event)?;
        let kind: String = serde_json::from_str(kind.1.get()).map_err(|_| no_event)?;
        // Most of what comes is sound, of which nothing is to be known.
        let event = match NOTED.contains(&&*kind) {
            true => serde_json::from_str(message).map_err(|_| no_event)?,
            false => Value::Null,
        };
        let mut state = self.lock();
        // Late news of a connection that is not wanted any more.
        if !state.relay.link.runs(number) || state.relay.is_echo(&kind, &event) {
            return Ok(());
        }
        self.note(&mut state, &kind, &event);
        let known = KNOWN.iter().find(|known| **known == kind).copied();
        let event = numbered(&fields, state.outbox.last() + 1, message.len());
        self.say(&mut state, known.unwrap_or("unknown"), event);
        Ok(())
    }

    /// Whether there is room for what the server of that connection says.
    pub(super) fn has_room(&self, number: Try) -> bool {
        let state = self.lock();
        state.relay.link.runs(number) && state.outbox.has_room()
    }

    /// Remembers what is to be known of the conversation.
    fn note(&self, state: &mut State, kind: &str, event: &Value) {
        let id = |path: &str| text(event, path).ok().flatten().map(str::to_string);
        match kind {
            "response.created" => state.relay.open = id("response.id"),
            "response.done" => state.relay.open = None,
            "conversation.item.done" => {
                if let Some(item) = said(&event["item"]).and_then(|item| state.items.replace(item))
                {
                    let behind = match event.get("previous_item_id") {
                        Some(Value::Null) => Some("root"),
                        Some(Value::String(id)) => {
                            state.items.find(id).is_some().then_some(id.as_str())
                        }
                        _ => None,
                    };
                    state.items.add(item, behind);
                }
            }
            "conversation.item.input_audio_transcription.completed" => {
                if let (Some(item), Some(said)) = (id("item_id"), id("transcript")) {
                    state.items.rewrite(&item, shortened(&said));
                }
            }
            "conversation.item.deleted" => {
                if let Some(item) = id("item_id") {
                    state.items.remove(&item);
                    // Another one of that name is news.
                    state.relay.known.retain(|known| *known != item);
                }
            }
            // How much of it was heard is not said: what nobody may have heard is not told again.
            "conversation.item.truncated" => {
                if let Some(item) = id("item_id") {
                    state.items.rewrite(&item, String::new());
                }
            }
            // Whoever speaks does not want to hear the answer to what was asked before.
            "input_audio_buffer.speech_started" => {
                self.finish(state, Finish::TurnDetected);
            }
            _ => {}
        }
    }

    /// Ends, for the client, the answer that the server began and cannot end any more.
    pub(super) fn fail_open(&self, state: &mut State) {
        let Some(id) = state.relay.open.take() else { return };
        let message = "who answers is not there any more";
        let error = json!({"type": "server_error", "code": "upstream_lost", "message": message});
        let response = json!({
            "id": id,
            "object": "realtime.response",
            "status": "failed",
            "status_details": {"type": "failed", "error": error},
            "output": [],
            "usage": null,
        });
        self.tell(state, "response.done", json!({"response": response}));
    }
}

impl super::Relay {
    /// Whether an event is about the connection itself, or says again what the session has told it.
    fn is_echo(&self, kind: &str, event: &Value) -> bool {
        match kind {
            // What holds of its session is told by the session.
            "session.created" | "session.updated" | "conversation.created" => true,
            "conversation.item.added" | "conversation.item.created" | "conversation.item.done" => {
                let id = at(event, "item.id").and_then(Value::as_str);
                id.is_some_and(|id| self.known.iter().any(|known| known == id))
            }
            _ => false,
        }
    }
}

/// An item as text; none where it is no message.
fn said(item: &Value) -> Option<Item> {
    let role = match (item["type"].as_str()?, item["role"].as_str()?) {
        ("message", "user") => Role::User,
        ("message", "assistant") => Role::Assistant,
        ("message", "system") => Role::System,
        _ => return None,
    };
    let id = item["id"].as_str().filter(|id| id.len() <= SESSION_NAME_BYTES)?.to_string();
    let parts = item["content"].as_array()?.iter();
    let texts =
        parts.filter_map(|part| part["text"].as_str().or_else(|| part["transcript"].as_str()));
    let text = shortened(&texts.collect::<Vec<_>>().join("\n"));
    Some(Item { id, role, text, form: Form::Text, is_whole: item["status"] != "incomplete" })
}

/// As much of a text as a question may have.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(QUESTION_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_word_for_word_but_for_its_number() {
        let message = r#"{ "z": -0, "event_id": "theirs", "a\"b": [1e2, 12345678901234567890.10],"type":"x"}"#;
        let Fields(fields) = serde_json::from_str(message).expect("an object");
        let told = numbered(&fields, 7, message.len());
        assert_eq!(
            told,
            r#"{"event_id":"event_7","z":-0,"a\"b":[1e2, 12345678901234567890.10],"type":"x"}"#
        );
        for odd in ["[]", "3", "{", r#"{"a" 1}"#] {
            assert!(serde_json::from_str::<Fields<'_>>(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn items_are_kept_as_the_text_that_was_said() {
        let content = json!([{"type": "output_audio", "transcript": "Good"}, {"type": "output_text", "text": "evening."}]);
        let item = json!({"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": content});
        let said_by = said(&item).expect("a message");
        assert_eq!((&*said_by.text, said_by.role), ("Good\nevening.", Role::Assistant));
        let unheard = json!({"id": "i", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": null}]});
        assert_eq!(said(&unheard).expect("a message").text, "");
        for odd in
            [json!({}), json!({"id": "i", "type": "function_call", "role": "user"}), json!(3)]
        {
            assert!(said(&odd).is_none(), "{odd}");
        }
        let long = "é".repeat(QUESTION_BYTES);
        assert!(shortened(&long).len() <= QUESTION_BYTES && shortened("short") == "short");
    }
}
