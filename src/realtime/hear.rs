//! Sound that comes in where no server talks for us: it is kept until the client says that it is all, and then written down by a
//! transcriber. Invariants: what is kept is bounded, and reserved before it is; a question that is asked meanwhile is answered once it
//! can be read; the end of the session ends the writing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::item::{Form, Item, Role};
use super::life::Stage;
use super::session::{Attachment, Session, State};
use super::wire::Inward;
use super::wrong::{Wrong, some_text};
use crate::answer::AnswerError;
use crate::answer::transcriber::{FORM_BYTES, Recording, Transcriber};
use crate::bounds::Stake;
use crate::ledger::{Departure, Kind};
use crate::limits::{
    HEARING_BYTES, HEARING_LEAST_BYTES, SOCKET_MESSAGE_FREE_BYTES, SPEECH_HZ, TELEPHONE_BYTES,
};
use crate::speech::encode::{WAV_HEADER_BYTES, wav_header};

/// How it stands with what was said.
#[derive(Default)]
pub enum Hearing {
    /// Nothing is there.
    #[default]
    Silence,
    /// Sound, so far.
    Sound(Heard),
    /// It is being written down.
    Writing {
        /// How an answer to it is wished, where one is.
        wish: Option<Value>,
    },
    /// It was written down, and is to be answered.
    Written(Value),
}

/// Sound that was said.
pub struct Heard {
    recording: Recording,
    sound: Inward,
    stake: Arc<Stake>,
}

impl Attachment {
    /// Takes an event about sound.
    pub(super) fn hear(
        &mut self,
        kind: &str,
        event: &Value,
        transcriber: &Transcriber,
    ) -> Result<(), Wrong> {
        match kind {
            "input_audio_buffer.append" => self.append(event, transcriber),
            "input_audio_buffer.commit" => self.commit(transcriber),
            _ => {
                let mut state = self.session.lock();
                if let Hearing::Sound(_) = state.hearing {
                    state.hearing = Hearing::Silence;
                }
                self.session.tell(&mut state, "input_audio_buffer.cleared", json!({}));
                Ok(())
            }
        }
    }

    fn append(&self, event: &Value, transcriber: &Transcriber) -> Result<(), Wrong> {
        let sound = STANDARD.decode(some_text(event, "audio")?);
        let sound = sound.map_err(|_| Wrong::field("audio", "sound in base64"))?;
        let Some(sessions) = self.sessions() else { return Ok(()) };
        let mut state = self.session.lock();
        if !matches!(state.hearing, Hearing::Sound(_)) {
            may_hear(&state.hearing)?;
            let stake = sessions
                .reserve(HEARING_BYTES + FORM_BYTES + TELEPHONE_BYTES, self.session.owner());
            let stake = stake.ok_or_else(|| {
                let message = "there is no room to listen at present; try again in a second";
                Wrong::new("over_budget", message)
            })?;
            let mut recording = transcriber.recording("wav", HEARING_BYTES);
            recording.push(&[0; WAV_HEADER_BYTES]);
            let sound = Inward::new(state.settings.input);
            state.hearing = Hearing::Sound(Heard { recording, sound, stake });
        }
        let State { hearing, settings, .. } = &mut *state;
        let Hearing::Sound(heard) = hearing else { return Ok(()) };
        if heard.sound.wire() != settings.input {
            // What comes from here on comes otherwise.
            heard.sound = Inward::new(settings.input);
        }
        let room = HEARING_BYTES - heard.recording.bytes();
        let samples = if heard.sound.grows(sound.len()) > room {
            None
        } else {
            Some(heard.sound.push(&sound))
        };
        let Some(samples) = samples.filter(|samples| samples.len() <= room) else {
            let message = "no more than a minute is heard at once: send input_audio_buffer.commit";
            return Err(Wrong::new("input_audio_buffer_full", message));
        };
        heard.recording.push(&samples);
        Ok(())
    }

    fn commit(&self, transcriber: &Transcriber) -> Result<(), Wrong> {
        let session = Arc::clone(&self.session);
        let mut state = session.lock();
        may_hear(&state.hearing)?;
        let enough =
            |heard: &Heard| heard.recording.bytes() >= WAV_HEADER_BYTES + HEARING_LEAST_BYTES;
        let Hearing::Sound(heard) = std::mem::take(&mut state.hearing) else {
            return Err(too_little());
        };
        if !enough(&heard) {
            state.hearing = Hearing::Sound(heard);
            return Err(too_little());
        }
        let id = state.name();
        let previous = state.items.last().map(str::to_string);
        session.tell(
            &mut state,
            "input_audio_buffer.committed",
            json!({"previous_item_id": previous, "item_id": id}),
        );
        let item = Item {
            id: id.clone(),
            role: Role::User,
            text: String::new(),
            form: Form::Heard,
            is_whole: true,
        };
        let told = json!({"previous_item_id": previous, "item": item.told()});
        session.tell(&mut state, "conversation.item.added", told);
        state.items.add(item, None);
        state.hearing = Hearing::Writing { wish: None };
        let Heard { mut recording, stake, .. } = heard;
        let samples = u32::try_from(recording.bytes() - WAV_HEADER_BYTES).unwrap_or(u32::MAX);
        recording.begin_with(&wav_header(Some(samples)));
        drop(state);
        let (transcriber, owner) = (transcriber.clone(), Arc::clone(session.owner()));
        let writing = Arc::clone(&session);
        session.spawn(Kind::Task, async move {
            // It is the session's, whose device may leave and come back meanwhile.
            let written = transcriber.write_down(recording, owner, Departure::default()).await;
            drop(stake);
            writing.written(&id, previous.as_deref(), samples, written);
        });
        Ok(())
    }

    /// Keeps a wish for an answer until what was said can be read. False where it can be answered now.
    pub(super) fn waits_to_respond(&self, wish: &Value) -> Result<bool, Wrong> {
        let mut state = self.session.lock();
        let Hearing::Writing { wish: kept } = &mut state.hearing else { return Ok(false) };
        if kept.is_some() {
            let message =
                "an answer was asked for already: it begins when what was said is written down";
            return Err(Wrong::new("conversation_already_has_active_response", message));
        }
        if wish.to_string().len() as u64 > SOCKET_MESSAGE_FREE_BYTES {
            return Err(Wrong::field("response", "at most 16384 bytes behind spoken words"));
        }
        *kept = Some(wish.clone());
        Ok(true)
    }

    /// Forgets a wish for an answer that has not begun. False where there was none.
    pub(super) fn wishes_no_more(&self) -> bool {
        let mut state = self.session.lock();
        match &mut state.hearing {
            Hearing::Writing { wish } => wish.take().is_some(),
            Hearing::Written(_) => {
                state.hearing = Hearing::Silence;
                true
            }
            Hearing::Silence | Hearing::Sound(_) => false,
        }
    }

    /// Answers what was written down meanwhile.
    pub(super) fn respond_to_written(&mut self) {
        let session = Arc::clone(&self.session);
        let mut state = session.lock();
        if state.life.stage() != Stage::Live(self.socket) {
            return;
        }
        let wish = match std::mem::take(&mut state.hearing) {
            Hearing::Written(wish) => wish,
            other => {
                state.hearing = other;
                return;
            }
        };
        drop(state);
        if let Err(wrong) = self.respond(&wish) {
            let mut state = session.lock();
            session.tell(&mut state, "error", json!({"error": wrong.told(None)}));
        }
    }
}

impl Session {
    /// What was said is written down, or cannot be.
    fn written(
        &self,
        id: &str,
        previous: Option<&str>,
        bytes: u32,
        written: Result<String, AnswerError>,
    ) {
        let mut state = self.lock();
        if state.life.stage() == Stage::Ended {
            return;
        }
        let part = json!({"item_id": id, "content_index": 0});
        match written {
            Ok(text) => {
                state.items.rewrite(id, text.clone());
                let kind = "conversation.item.input_audio_transcription.completed";
                let seconds = f64::from(bytes) / f64::from(2 * SPEECH_HZ);
                let usage = json!({"type": "duration", "seconds": seconds});
                let part = with(part, "transcript", json!(text));
                self.tell(&mut state, kind, with(part, "usage", usage));
            }
            Err(error) => {
                tracing::warn!(session = %self.id(), %error, "what was said could not be written down");
                let code = match error {
                    AnswerError::NothingSaid => "nothing_said",
                    AnswerError::QuestionTooLong(_) => "question_too_long",
                    _ => "transcription_failed",
                };
                let error = json!({"type": "transcription_error", "code": code, "message": error.to_string()});
                let kind = "conversation.item.input_audio_transcription.failed";
                self.tell(&mut state, kind, with(part, "error", error));
            }
        }
        if let Some(item) = state.items.find(id) {
            let told = json!({"previous_item_id": previous, "item": item.told()});
            self.tell(&mut state, "conversation.item.done", told);
        }
        if let Hearing::Writing { wish } = std::mem::take(&mut state.hearing) {
            state.hearing = wish.map_or(Hearing::Silence, Hearing::Written);
        }
    }
}

impl State {
    /// Whether an answer is wished to what can be read now.
    pub(super) fn is_written(&self) -> bool {
        matches!(self.hearing, Hearing::Written(_)) && self.running.is_none()
    }
}

fn may_hear(hearing: &Hearing) -> Result<(), Wrong> {
    match hearing {
        Hearing::Silence | Hearing::Sound(_) => Ok(()),
        Hearing::Writing { .. } | Hearing::Written(_) => Err(Wrong::new(
            "input_audio_buffer_busy",
            "what was said before is being written down: wait for its conversation.item.done",
        )),
    }
}

fn too_little() -> Wrong {
    let message = "there is less than 0.1 s of sound: send input_audio_buffer.append first";
    Wrong::new("input_audio_buffer_commit_empty", message)
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}
