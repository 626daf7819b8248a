//! An answer of a session: a turn of a dialogue, told in OpenAI's events. Invariants: what is told of one ends with
//! `response.done`, once; behind a cancel nothing of it comes; it is made no faster than its client confirms.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use super::item::{Form, Item, Role};
use super::life::Stage;
use super::session::{Attachment, Session, State};
use super::settings::Settings;
use super::wire::Outward;
use super::wrong::{Wrong, text};
use super::{Asker, Sessions};
use crate::answer::Usage;
use crate::bounds::replay::Position;
use crate::dialogue::frame::{Frame, Indicator};
use crate::dialogue::heard::Heard;
use crate::dialogue::listen::{Ear, Listener};
use crate::dialogue::{Asking, Dialogue, DialogueError};
use crate::limits::RESPONSE_BYTES;
use crate::speech::encode::Format;
use crate::speech::live::LiveWish;

/// An answer that is being made.
pub struct Running {
    dialogue: Arc<Dialogue>,
    /// Of what was told last.
    position: Option<Position>,
    id: String,
    item: String,
    previous: Option<String>,
    settings: Settings,
    metadata: Value,
    /// Whether its item was told.
    is_open: bool,
    /// Its sound, as the client takes that.
    sound: Outward,
    text: String,
    heard: Heard,
    audio_ms: u64,
}

/// How an answer ended.
pub enum Finish {
    /// All was said.
    Completed(Option<Usage>),
    /// The client wanted no more.
    Cancelled,
    /// It speaks itself.
    TurnDetected,
    /// It broke off, for this reason.
    Failed(Value),
}

impl Running {
    /// Its dialogue.
    pub fn dialogue(&self) -> &Arc<Dialogue> {
        &self.dialogue
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Listens, behind what was told.
    pub fn listen(&self, asker: &dyn Asker) -> Result<Listener, DialogueError> {
        self.dialogue.listen(Ear {
            after: self.position,
            follows: false,
            // What its client may have missed is the session's to tell: a place that was left keeps nothing here.
            knows_place: false,
            owner: asker.owner(),
            departure: asker.departure(),
        })
    }

    fn told(
        &self,
        voice: &str,
        status: &str,
        details: Value,
        usage: Option<Usage>,
        output: Vec<Value>,
    ) -> Value {
        let usage = usage.map(|usage| {
            json!({
                "total_tokens": usage.total_tokens,
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
            })
        });
        let voice = self.settings.voice.as_deref().unwrap_or(voice);
        let format = self.settings.output.told();
        json!({
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "output": output,
            "output_modalities": [self.settings.modality()],
            "audio": {"output": {"format": format, "voice": voice}},
            "max_output_tokens": "inf",
            "usage": usage,
            "metadata": self.metadata,
        })
    }

    fn item(&self, is_whole: bool) -> Item {
        let form = match self.settings.is_silent {
            true => Form::Text,
            false => Form::Spoken {
                ms: u32::try_from(self.audio_ms).unwrap_or(u32::MAX),
                heard: Some(Box::new(self.heard.clone())),
            },
        };
        let (id, text) = (self.item.clone(), self.text.clone());
        Item { id, role: Role::Assistant, text, form, is_whole }
    }
}

impl Attachment {
    /// Begins an answer to what stands there, as `wish` says.
    pub(super) fn respond(&mut self, wish: &Value) -> Result<(), Wrong> {
        let sessions = self.sessions().ok_or_else(leaving)?;
        let means = &sessions.0.means;
        let session = Arc::clone(&self.session);
        let mut state = session.lock();
        self.may_respond(&state)?;
        let settings = wished(&state.settings, wish, &means.speech)?;
        if state.room.is_none() {
            let room = sessions.reserve(RESPONSE_BYTES, &self.asker.owner());
            state.room = Some(room.ok_or_else(|| {
                let message = "there is no room for an answer at present; try again in a second";
                Wrong::new("over_budget", message)
            })?);
        }
        let begun = self.begin_dialogue(&sessions, &settings, &state);
        let dialogue = begun.inspect_err(|_| state.let_go())?;
        state.answers += 1;
        let number = state.answers;
        let running = Running {
            dialogue,
            position: None,
            id: format!("resp_{number}"),
            item: state.name_answer(number),
            previous: state.items.last().map(str::to_string),
            sound: Outward::new(settings.output),
            settings,
            metadata: wish.get("metadata").cloned().unwrap_or(Value::Null),
            is_open: false,
            text: String::new(),
            heard: Heard::default(),
            audio_ms: 0,
        };
        let told = running.told(&means.voice, "in_progress", Value::Null, None, Vec::new());
        session.tell(&mut state, "response.created", json!({"response": told}));
        let listened = running.listen(&*self.asker);
        state.running = Some(running);
        match listened {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => session.finish(&mut state, Finish::Failed(self.asker.refused(error))),
        }
        Ok(())
    }

    fn may_respond(&self, state: &State) -> Result<(), Wrong> {
        if state.life.stage() != Stage::Live(self.socket) {
            return Err(leaving());
        }
        match state.running {
            None => Ok(()),
            Some(_) => Err(Wrong::new(
                "conversation_already_has_active_response",
                "an answer is being given: send response.cancel first, or wait for response.done",
            )),
        }
    }

    /// Asks what stands in the conversation.
    fn begin_dialogue(
        &self,
        sessions: &Sessions,
        settings: &Settings,
        state: &State,
    ) -> Result<Arc<Dialogue>, Wrong> {
        let means = &sessions.0.means;
        let (asked, history) = state.items.question().ok_or_else(|| {
            let message = "there is nothing to answer: send conversation.item.create first";
            Wrong::new("no_question", message)
        })?;
        let refused = |told: Value| {
            let code = told["code"].as_str().unwrap_or_default();
            let message = told["message"].as_str().unwrap_or_default();
            Wrong::new("response_refused", format!("{code}: {message}"))
        };
        let places = self.asker.admit(asked.chars().count()).map_err(refused)?;
        let asking = Asking {
            text: asked,
            dialogue: None,
            history: Some(history),
            played_ms: None,
            voice: LiveWish {
                voice: settings.voice.clone(),
                model: None,
                instructions: None,
                speed: settings.speed,
                format: Format::Pcm,
                owner: self.asker.owner(),
            },
            thinking: Some(Indicator::Sound),
            is_resumable: true,
            grace: Some(means.patience.grace),
            is_silent: settings.is_silent,
            instructions: settings.instructions.clone(),
            principal: self.asker.principal(),
            places,
        };
        let accepted = means.dialogues.converse(asking);
        let found = accepted
            .and_then(|accepted| means.dialogues.find(&accepted.dialogue, &self.asker.principal()));
        found.map_err(|error| refused(self.asker.refused(error)))
    }

    /// Ends the answer that is being given, if its name is this one.
    pub(super) fn cancel(&mut self, id: Option<&str>) -> Result<(), Wrong> {
        let session = Arc::clone(&self.session);
        let mut state = session.lock();
        let is_meant = |running: &Running| id.is_none_or(|id| id == running.id());
        if !state.running.as_ref().is_some_and(is_meant) {
            return Err(Wrong::new("response_cancel_not_active", "no such answer is being given"));
        }
        session.finish(&mut state, Finish::Cancelled);
        drop(state);
        self.listener = None;
        Ok(())
    }

    /// Takes what is next of the answer, and tells it. Ready when there may be more to be sent: never while nothing is
    /// answered, here or elsewhere, or the client is behind.
    pub async fn heard(&mut self) {
        if self.session.lock().is_written() {
            return self.respond_to_written();
        }
        let has_room = self.session.lock().outbox.has_room();
        let news = Arc::clone(&self.news);
        let Some(listener) = self.listener.as_mut().filter(|_| has_room) else {
            return news.notified().await;
        };
        let next = tokio::select! {
            biased;
            () = news.notified() => return,
            next = listener.next() => next,
        };
        let session = Arc::clone(&self.session);
        let mut state = session.lock();
        // Whoever has it now listens for itself.
        if state.life.stage() != Stage::Live(self.socket) {
            drop(state);
            self.listener = None;
            return;
        }
        match next {
            Some(Ok((position, frame))) => {
                if let Some(running) = &mut state.running {
                    running.position = Some(position);
                }
                session.show(&mut state, &frame, &*self.asker);
            }
            Some(Err(_)) => {
                session.tell(&mut state, "evensong.slow_consumer", json!({}));
                let error = json!({"type": "server_error", "code": "slow_consumer", "message": "the answer was not taken in time"});
                session.finish(&mut state, Finish::Failed(error));
            }
            None => {
                let error = json!({"type": "server_error", "code": "broken", "message": "the answer broke off"});
                session.finish(&mut state, Finish::Failed(error));
            }
        }
        let is_over = state.running.is_none();
        drop(state);
        if is_over {
            self.listener = None;
        }
    }
}

impl Session {
    /// Tells what a frame says.
    fn show(&self, state: &mut State, frame: &Frame, asker: &dyn Asker) {
        let Some(running) = &state.running else { return };
        let response = running.id.clone();
        match frame {
            Frame::Thinking(_) => {
                let event =
                    json!({"response_id": response, "indicator": "sound", "asset": asker.asset()});
                self.tell(state, "evensong.thinking", event);
            }
            Frame::Sources(sources) => {
                let hits = asker.sources(sources);
                self.tell(
                    state,
                    "evensong.sources",
                    json!({"response_id": response, "hits": hits}),
                );
            }
            Frame::Text { text, .. } => {
                self.begin(state);
                let Some(running) = &mut state.running else { return };
                running.text += text;
                let kind = match running.settings.is_silent {
                    true => "response.output_text.delta",
                    false => "response.output_audio_transcript.delta",
                };
                let event = running.part(json!({"delta": text}));
                self.tell(state, kind, event);
            }
            Frame::Audio(part) => {
                self.begin(state);
                let Some(running) = &mut state.running else { return };
                part.words.iter().for_each(|word| running.heard.add(word));
                running.audio_ms = running.audio_ms.max(part.ends_ms);
                let sound = running.sound.push(&part.audio);
                let mut event = running.part(json!({"delta": STANDARD.encode(sound)}));
                if !part.words.is_empty() {
                    // Ours, beside what the standard has: when each of them is said.
                    event["words"] = json!(part.words);
                }
                self.tell(state, "response.output_audio.delta", event);
            }
            Frame::Done(done) => self.finish(state, Finish::Completed(done.usage)),
            Frame::Failed(error) => self.finish(state, Finish::Failed(asker.failed(error))),
            Frame::Interrupted { .. } => self.finish(state, Finish::Cancelled),
        }
    }

    /// Tells the item of the answer, once.
    fn begin(&self, state: &mut State) {
        let Some(running) = state.running.as_mut().filter(|running| !running.is_open) else {
            return;
        };
        running.is_open = true;
        let item = json!({
            "id": running.item,
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        });
        let (response, previous) = (running.id.clone(), running.previous.clone());
        let part = match running.settings.is_silent {
            true => json!({"type": "text", "text": ""}),
            false => json!({"type": "audio", "transcript": ""}),
        };
        let part = running.part(json!({"part": part}));
        let added = json!({"response_id": response, "output_index": 0, "item": item});
        self.tell(state, "response.output_item.added", added);
        let added = json!({"previous_item_id": previous, "item": item});
        self.tell(state, "conversation.item.added", added);
        self.tell(state, "response.content_part.added", part);
    }

    /// Tells the end of the answer, once.
    pub(super) fn finish(&self, state: &mut State, finish: Finish) {
        let Some(mut running) = state.running.take() else { return };
        // All that is to be told of it is told here: its dialogue waits for nobody's coming back.
        running.dialogue.delete(Some(0));
        let (status, details, usage) = match finish {
            Finish::Completed(usage) => ("completed", Value::Null, usage),
            Finish::Cancelled => {
                ("cancelled", json!({"type": "cancelled", "reason": "client_cancelled"}), None)
            }
            Finish::TurnDetected => {
                ("cancelled", json!({"type": "cancelled", "reason": "turn_detected"}), None)
            }
            Finish::Failed(error) => ("failed", json!({"type": "failed", "error": error}), None),
        };
        let item = running.item(status == "completed");
        let told = item.told();
        let mut output = Vec::new();
        if running.is_open {
            let text = &running.text;
            let part = match running.settings.is_silent {
                true => {
                    let event = running.part(json!({"text": text}));
                    self.tell(state, "response.output_text.done", event);
                    json!({"type": "text", "text": text})
                }
                false => {
                    let rest = running.sound.finish();
                    if !rest.is_empty() && status == "completed" {
                        let event = running.part(json!({"delta": STANDARD.encode(rest)}));
                        self.tell(state, "response.output_audio.delta", event);
                    }
                    self.tell(state, "response.output_audio.done", running.part(json!({})));
                    let event = running.part(json!({"transcript": text}));
                    self.tell(state, "response.output_audio_transcript.done", event);
                    json!({"type": "audio", "transcript": text})
                }
            };
            let event = running.part(json!({"part": part}));
            self.tell(state, "response.content_part.done", event);
            let event = json!({"response_id": running.id, "output_index": 0, "item": told});
            self.tell(state, "response.output_item.done", event);
            let event = json!({"previous_item_id": running.previous, "item": told});
            self.tell(state, "conversation.item.done", event);
            // Where somebody listens elsewhere, more may have been said since it was asked for.
            let behind = running.previous.clone().filter(|id| state.items.find(id).is_some());
            state.relay.learn(&item, behind.as_deref());
            state.items.add(item, behind.as_deref());
            output.push(told);
        }
        let told = running.told(&self.voice(), status, details, usage, output);
        self.tell(state, "response.done", json!({"response": told}));
    }
}

impl Running {
    /// An event of its one part.
    fn part(&self, mut event: Value) -> Value {
        event["response_id"] = json!(self.id);
        event["item_id"] = json!(self.item);
        event["output_index"] = json!(0);
        event["content_index"] = json!(0);
        event
    }
}

/// The session's settings, with what an answer is asked for beside.
fn wished(
    settings: &Settings,
    wish: &Value,
    speech: &crate::speech::Speech,
) -> Result<Settings, Wrong> {
    let mut settings = settings.clone();
    if wish.is_null() {
        return Ok(settings);
    }
    settings.update(wish, "response", speech)?;
    if let Some(kind) = text(wish, "conversation")?.filter(|kind| *kind != "auto") {
        let message = format!(
            "response.conversation must be \"auto\", and not {kind:?}: an answer stands in the session's conversation"
        );
        return Err(Wrong::new("invalid_value", message).of("response.conversation"));
    }
    if wish.get("input").is_some_and(|input| !input.is_null()) {
        return Err(Wrong::field(
            "response.input",
            "left out: what is asked stands in the conversation",
        ));
    }
    if wish.get("metadata").is_some_and(|metadata| metadata.to_string().len() > METADATA_BYTES) {
        return Err(Wrong::field(
            "response.metadata",
            &format!("at most {METADATA_BYTES} bytes long"),
        ));
    }
    Ok(settings)
}

const METADATA_BYTES: usize = 4096;

fn leaving() -> Wrong {
    Wrong::new("session_over", "the session is over")
}
