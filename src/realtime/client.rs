//! What clients send, and what becomes of it. Invariant: what cannot be done is answered by an `error` that names the client's
//! event, and the session goes on.

use std::sync::Arc;

use serde_json::{Value, json};

use super::item::{Form, Item, Role};
use super::life::Stage;
use super::session::Attachment;
use super::wrong::{Wrong, at, number, some_text, text};
use crate::answer::transcriber::Transcriber;
use crate::limits::{QUESTION_BYTES, SESSION_ITEM_NAME_BYTES, SESSION_NAME_BYTES};

/// The events that are understood.
pub const EVENTS: [&str; 11] = [
    "session.update",
    "conversation.item.create",
    "conversation.item.truncate",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "output_audio_buffer.clear",
];

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// It was as it should be.
    pub is_fine: bool,
    /// It was sound.
    pub is_sound: bool,
}

impl Attachment {
    /// Takes an event. Where it was wrong, that was told.
    pub fn take(&mut self, message: &str) -> Taken {
        let session = Arc::clone(&self.session);
        let metrics = self.sessions().map(|sessions| sessions.0.means.metrics.clone());
        let mut taken = Taken { is_fine: true, is_sound: false };
        let (name, done) = match serde_json::from_str::<Value>(message) {
            Err(error) => {
                (None, Err(Wrong::new("invalid_json", format!("an event must be JSON: {error}"))))
            }
            Ok(event) => {
                let name = text(&event, "event_id")
                    .ok()
                    .flatten()
                    .map(|name| name.chars().take(SESSION_NAME_BYTES).collect::<String>());
                let kind = some_text(&event, "type").map(str::to_string);
                if let (Some(metrics), Ok(kind)) = (&metrics, &kind) {
                    let known = EVENTS.iter().find(|known| *known == kind);
                    metrics.received(known.copied().unwrap_or("unknown"));
                    taken.is_sound = kind == "input_audio_buffer.append";
                }
                let done = kind.and_then(|kind| match self.goes_elsewhere(&kind, &event) {
                    true => self.pass_on(&kind, message),
                    false => self.event(&kind, &event),
                });
                (name, done)
            }
        };
        if let Err(wrong) = done {
            if let Some(metrics) = metrics {
                metrics.session_errors.inc();
            }
            self.tell_wrong(&session, &wrong, name.as_deref());
            taken.is_fine = false;
        }
        taken
    }

    /// Tells that something was wrong with what came.
    pub fn refuse(&mut self, code: &'static str, message: &str) {
        let session = Arc::clone(&self.session);
        self.tell_wrong(&session, &Wrong::new(code, message), None);
    }

    fn tell_wrong(&self, session: &super::Session, wrong: &Wrong, event: Option<&str>) {
        let mut state = session.lock();
        if state.life.stage() == Stage::Live(self.socket) {
            session.tell(&mut state, "error", json!({"error": wrong.told(event)}));
        }
    }

    fn event(&mut self, kind: &str, event: &Value) -> Result<(), Wrong> {
        match kind {
            "session.update" => self.update(event),
            "conversation.item.create" => self.create(event),
            "conversation.item.truncate" => self.truncate(event),
            "conversation.item.delete" => self.delete(event),
            "conversation.item.retrieve" => self.retrieve(event),
            "response.create" => {
                let nothing = Value::Null;
                let wish = event.get("response").unwrap_or(&nothing);
                if self.waits_to_respond(wish)? { Ok(()) } else { self.respond(wish) }
            }
            "response.cancel" => {
                let id = text(event, "response_id")?.map(str::to_string);
                if id.is_none() && self.wishes_no_more() {
                    Ok(())
                } else {
                    self.cancel(id.as_deref())
                }
            }
            "input_audio_buffer.append"
            | "input_audio_buffer.commit"
            | "input_audio_buffer.clear" => match self.transcriber() {
                Some(transcriber) => self.hear(kind, event, &transcriber),
                None => Err(self.unheard()),
            },
            // What was cancelled is not sent; what was sent is the client's to drop.
            "output_audio_buffer.clear" => Ok(()),
            _ => {
                let known = EVENTS.join(", ");
                let message = format!("there is no event of this type; there are {known}");
                Err(Wrong::new("unknown_event", message).of("type"))
            }
        }
    }

    /// Who writes down sound, where nobody listens to it.
    fn transcriber(&self) -> Option<Transcriber> {
        let sessions = self.sessions()?;
        let means = &sessions.0.means;
        means.transcriber.clone().filter(|_| means.listening.is_none())
    }

    /// Why there is no sound to be had.
    fn unheard(&self) -> Wrong {
        let listens = self.sessions().is_some_and(|sessions| sessions.0.means.listening.is_some());
        match listens {
            true => Wrong::new(
                "input_audio_buffer_empty",
                "there is no sound: send input_audio_buffer.append first",
            ),
            false => Wrong::new(
                "input_audio_unavailable",
                "nobody listens here: no realtime server is configured to which sound is passed on, and no transcriber; send input_text",
            ),
        }
    }

    fn update(&mut self, event: &Value) -> Result<(), Wrong> {
        let Some(change) = event.get("session") else { return Err(Wrong::missing("session")) };
        let Some(sessions) = self.sessions() else { return Ok(()) };
        let mut state = self.session.lock();
        let mut settings = state.settings.clone();
        settings.update(change, "session", &sessions.0.means.speech)?;
        if sessions.0.means.listening.is_some() {
            state.relay.wish(change)?;
            self.pass_wish(&mut state, event, change);
        }
        let id = format!("sess_{}", self.session.id());
        let mut told = settings.told(&id, &sessions.0.means.voice);
        state.relay.show(&mut told);
        state.settings = settings;
        self.session.tell(&mut state, "session.updated", json!({"session": told}));
        Ok(())
    }

    fn create(&mut self, event: &Value) -> Result<(), Wrong> {
        let mut state = self.session.lock();
        let given = text(event, "item.id")?.map(str::to_string);
        if let Some(id) = &given {
            if id.is_empty() || id.len() > SESSION_ITEM_NAME_BYTES {
                return Err(Wrong::field(
                    "item.id",
                    &format!("1 to {SESSION_ITEM_NAME_BYTES} bytes long"),
                ));
            }
            if state.items.find(id).is_some() {
                return Err(Wrong::new(
                    "item_already_exists",
                    format!("there is an item {id:?} already"),
                )
                .of("item.id"));
            }
        }
        let (role, said) = message(event)?;
        let id = given.unwrap_or_else(|| state.name());
        let behind = text(event, "previous_item_id")?;
        let previous = match behind {
            Some("root") => None,
            Some(behind) => Some(behind.to_string()),
            None => state.items.last().map(str::to_string),
        };
        let item = Item { id, role, text: said, form: Form::Text, is_whole: true };
        let told = item.told();
        if !state.items.add(item, behind) {
            return Err(no_item("previous_item_id", behind.unwrap_or_default()));
        }
        for kind in ["conversation.item.added", "conversation.item.done"] {
            let event = json!({"previous_item_id": previous, "item": told});
            self.session.tell(&mut state, kind, event);
        }
        Ok(())
    }

    fn truncate(&mut self, event: &Value) -> Result<(), Wrong> {
        let id = some_text(event, "item_id")?;
        let played =
            number(event, "audio_end_ms")?.ok_or_else(|| Wrong::missing("audio_end_ms"))?;
        if number(event, "content_index")?.is_some_and(|index| index != 0.0) {
            return Err(Wrong::field("content_index", "0"));
        }
        let mut state = self.session.lock();
        let Some(item) = state.items.find(id) else { return Err(no_item("item_id", id)) };
        let Form::Spoken { ms, heard } = &item.form else {
            return Err(Wrong::field("item_id", "an item that was spoken"));
        };
        if !(0.0..=f64::from(*ms)).contains(&played) {
            return Err(Wrong::field(
                "audio_end_ms",
                &format!("between 0 and {ms}, which is how long it is"),
            ));
        }
        let text = match heard {
            _ if played >= f64::from(*ms) => item.text.clone(),
            Some(heard) => heard.after(played as u32).to_string(),
            None => return Err(Wrong::field("item_id", "the last item that was spoken")),
        };
        let heard_text = text.clone();
        state.items.rewrite(id, text);
        let event = json!({
            "item_id": id,
            "content_index": 0,
            "audio_end_ms": played as u32,
            "heard_text": heard_text,
        });
        self.session.tell(&mut state, "conversation.item.truncated", event);
        Ok(())
    }

    fn delete(&mut self, event: &Value) -> Result<(), Wrong> {
        let id = some_text(event, "item_id")?;
        let mut state = self.session.lock();
        if !state.items.remove(id) {
            return Err(no_item("item_id", id));
        }
        self.session.tell(&mut state, "conversation.item.deleted", json!({"item_id": id}));
        Ok(())
    }

    fn retrieve(&mut self, event: &Value) -> Result<(), Wrong> {
        let id = some_text(event, "item_id")?;
        let mut state = self.session.lock();
        let Some(item) = state.items.find(id) else { return Err(no_item("item_id", id)) };
        let told = item.told();
        self.session.tell(&mut state, "conversation.item.retrieved", json!({"item": told}));
        Ok(())
    }
}

/// Who says what in an item that is sent.
fn message(event: &Value) -> Result<(Role, String), Wrong> {
    if !at(event, "item").is_some_and(Value::is_object) {
        return Err(Wrong::missing("item"));
    }
    if some_text(event, "item.type")? != "message" {
        return Err(Wrong::field("item.type", "\"message\": tools are not called here"));
    }
    let role = match some_text(event, "item.role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(Wrong::field("item.role", "user, assistant or system")),
    };
    let parts = at(event, "item.content").and_then(Value::as_array);
    let parts = parts.ok_or_else(|| Wrong::field("item.content", "a list of parts"))?;
    let mut said = String::new();
    for part in parts {
        match some_text(part, "type").map_err(|wrong| wrong.of("item.content"))? {
            "input_text" | "output_text" | "text" => {}
            "input_audio" => {
                return Err(Wrong::new(
                    "input_audio_unavailable",
                    "sound comes by input_audio_buffer.append here, and text by input_text",
                )
                .of("item.content"));
            }
            _ => {
                return Err(Wrong::field(
                    "item.content",
                    "parts of type input_text or output_text",
                ));
            }
        }
        let text = some_text(part, "text").map_err(|wrong| wrong.of("item.content"))?;
        if !said.is_empty() {
            said.push('\n');
        }
        said += text;
    }
    if said.trim().is_empty() {
        return Err(Wrong::field("item.content", "a text that is not empty"));
    }
    if said.len() > QUESTION_BYTES {
        return Err(Wrong::field(
            "item.content",
            &format!("at most {QUESTION_BYTES} bytes of text"),
        ));
    }
    Ok((role, said))
}

fn no_item(param: &str, id: &str) -> Wrong {
    let id: String = id.chars().take(SESSION_NAME_BYTES).collect();
    Wrong::new("item_not_found", format!("{param}: there is no item {id:?}")).of(param)
}
