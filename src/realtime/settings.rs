//! How a session is to answer. Invariant: a change is taken whole or not at all, and what is told is what holds.

use serde_json::{Value, json};

use super::wire::Wire;
use super::wrong::{Wrong, at, number, text};
use crate::limits::SESSION_INSTRUCTIONS_BYTES;
use crate::speech::Speech;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The name by which the session was opened.
    pub model: String,
    /// How the model is to behave, in words.
    pub instructions: String,
    /// None: the configured one.
    pub voice: Option<String>,
    /// 0.25 to 4.
    pub speed: f32,
    /// Whether answers are only written.
    pub is_silent: bool,
    /// As what sound comes,
    pub input: Wire,
    /// and goes.
    pub output: Wire,
}

impl Settings {
    /// The usual ones, of a session that was opened for `model`.
    pub fn new(model: &str) -> Self {
        Self {
            model: model.to_string(),
            instructions: String::new(),
            voice: None,
            speed: 1.0,
            is_silent: false,
            input: Wire::Pcm,
            output: Wire::Pcm,
        }
    }

    /// Changes what `change` says; `path` is where that stands in its event.
    pub fn update(&mut self, change: &Value, path: &str, speech: &Speech) -> Result<(), Wrong> {
        if !change.is_object() {
            return Err(Wrong::field(path, "an object"));
        }
        let mut next = self.clone();
        let within = |wrong: Wrong| {
            let param = format!("{path}.{}", wrong.param.as_deref().unwrap_or_default());
            let message = match &wrong.param {
                Some(inner) => wrong.message.replacen(inner.as_str(), &param, 1),
                None => wrong.message.clone(),
            };
            Wrong { message, param: Some(param), ..wrong }
        };
        next.change(change, speech).map_err(within)?;
        *self = next;
        Ok(())
    }

    fn change(&mut self, change: &Value, speech: &Speech) -> Result<(), Wrong> {
        if let Some(instructions) = text(change, "instructions")? {
            if instructions.len() > SESSION_INSTRUCTIONS_BYTES {
                let most = format!("at most {SESSION_INSTRUCTIONS_BYTES} bytes long");
                return Err(Wrong::field("instructions", &most));
            }
            self.instructions = instructions.to_string();
        }
        for modalities in ["output_modalities", "modalities"] {
            match at(change, modalities) {
                None | Some(Value::Null) => {}
                Some(found) => self.is_silent = !speaks(found, modalities)?,
            }
        }
        for voice in ["audio.output.voice", "voice"] {
            let named = match at(change, voice) {
                // OpenAI's own voices by number, as an object.
                Some(Value::Object(_)) => text(change, &format!("{voice}.id"))?,
                _ => text(change, voice)?,
            };
            if let Some(named) = named {
                let unknown = |_| {
                    Wrong::new(
                        "unknown_voice",
                        format!(
                            "{voice}: there is no voice {named:?}; GET /v1/audio/voices lists them"
                        ),
                    )
                    .of(voice)
                };
                self.voice = Some(speech.voice(None, named).map_err(unknown)?.id);
            }
        }
        if let Some(speed) = number(change, "audio.output.speed")? {
            if !(0.25..=4.0).contains(&speed) {
                return Err(Wrong::field("audio.output.speed", "between 0.25 and 4"));
            }
            self.speed = speed as f32;
        }
        let formats =
            [("audio.input.format", &mut self.input), ("audio.output.format", &mut self.output)];
        for (field, wire) in formats {
            if let Some(found) = at(change, field).filter(|found| !found.is_null()) {
                *wire = Wire::read(found).ok_or_else(|| Wrong::field(field, Wire::KNOWN))?;
            }
        }
        Ok(())
    }

    /// As they are told, of the session `id`; `voice` is the one that is configured.
    pub fn told(&self, id: &str, voice: &str) -> Value {
        json!({
            "type": "realtime",
            "object": "realtime.session",
            "id": id,
            "model": self.model,
            "output_modalities": [self.modality()],
            "instructions": self.instructions,
            "tools": [],
            "tool_choice": "none",
            "max_output_tokens": "inf",
            "truncation": "auto",
            "audio": {
                "input": {"format": self.input.told(), "transcription": null, "noise_reduction": null, "turn_detection": null},
                "output": {"format": self.output.told(), "voice": self.voice.as_deref().unwrap_or(voice), "speed": self.speed},
            },
        })
    }

    /// As what answers come.
    pub fn modality(&self) -> &'static str {
        if self.is_silent { "text" } else { "audio" }
    }
}

fn speaks(found: &Value, path: &str) -> Result<bool, Wrong> {
    let wrong = || Wrong::field(path, r#"["audio"] or ["text"]"#);
    let all = found.as_array().filter(|all| (1..=2).contains(&all.len())).ok_or_else(wrong)?;
    let is = |name: &str| all.iter().any(|modality| modality == name);
    if !all.iter().all(|modality| modality == "audio" || modality == "text") {
        return Err(wrong());
    }
    Ok(is("audio"))
}
