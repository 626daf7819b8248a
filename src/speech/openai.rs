//! An engine on another server, in OpenAI's shape: OpenAI itself, Kokoro-FastAPI, speaches, LocalAI, vLLM, or another
//! Evensong. Invariants: only voices that it is known to have are asked for; an answer that is not the audio that
//! was asked for is never passed on as if it were.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use serde::Serialize;
use serde_json::Value;

use super::encode::Format;
use super::engine::{Comes, Health, RemoteEngine, Sound, Voiced, Wish};
use super::voices::{OPENAI_NAMES, Voice, Voices};
use crate::ledger::Kind;
use crate::limits::{self, SPEECH_HZ};
use crate::tasks::Spawner;
use crate::upstream::{Answer, Ask, Exchange, Fault, Upstream, UpstreamError};

/// The engine's name.
pub const NAME: &str = "openai";
/// Asked for where neither the client nor the settings name a model.
const MODEL: &str = "tts-1";
/// Any of these may stand before audio of any kind; some servers know no better.
const UNSPECIFIC: [&str; 2] = ["application/octet-stream", "binary/octet-stream"];

/// What is known of the server beside its address.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAiConfig {
    /// Asked for whatever the client names; `None` passes the client's on.
    pub model: Option<String>,
    /// Its voices; where there are none, it is asked for them.
    pub voices: Vec<String>,
    /// Formats that it makes; the others are made here of its pcm, or of its wav.
    pub formats: Vec<Format>,
    /// Rate of its pcm, where its answer does not say.
    pub pcm_hz: u32,
    /// The longest answer.
    pub most_bytes: u64,
}

/// See the module.
pub struct OpenAi {
    config: OpenAiConfig,
    upstream: Upstream,
    voices: RwLock<Arc<Voices>>,
    /// Whether it was asked for them, or need not be.
    asked: AtomicBool,
}

/// The body of a request.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a str,
    voice: &'a str,
    response_format: &'static str,
    speed: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

impl OpenAi {
    /// Over `upstream`. Where its voices are not in the settings, they are asked for by `exchange`, now and then, in
    /// the scope of `spawner`.
    pub fn start(
        config: OpenAiConfig,
        upstream: Upstream,
        exchange: Option<Exchange>,
        spawner: &Spawner,
    ) -> Arc<Self> {
        let known = if config.voices.is_empty() { openai_voices() } else { named(&config.voices) };
        let (voices, asked) = (RwLock::new(Arc::new(known)), AtomicBool::new(exchange.is_none()));
        let this = Arc::new(Self { config, upstream, voices, asked });
        if let Some(exchange) = exchange {
            let (engine, scope) = (Arc::clone(&this), spawner.clone());
            spawner.spawn(Kind::Timer, "voices of openai", async move {
                engine.ask_for_voices(exchange, scope).await;
            });
        }
        this
    }

    /// Again and again, until the scope stops.
    async fn ask_for_voices(&self, exchange: Exchange, scope: Spawner) {
        let owner: Arc<str> = "voices".into();
        loop {
            let asked = tokio::select! {
                biased;
                () = scope.stopping() => return,
                asked = exchange.errand("/audio/voices", &owner) => asked,
            };
            let answered = !matches!(&asked, Err(error) if !error.fault.is_the_askers());
            let pause = if answered { limits::VOICES_EVERY } else { limits::VOICES_RETRY };
            match asked.map(|json| voices_of(&json)) {
                Ok(Some(voices)) => self.learn(voices),
                // OpenAI's own server has no such list; its voices are known.
                Ok(None) | Err(UpstreamError { fault: Fault::Refused { .. }, .. }) => {}
                Err(error) => {
                    tracing::info!(%error, "its voices are not known; OpenAI's names will do")
                }
            }
            self.asked.store(true, Ordering::Release);
            tokio::select! {
                biased;
                () = scope.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn learn(&self, voices: Voices) {
        let mut known = self.voices.write().unwrap_or_else(PoisonError::into_inner);
        if **known != voices {
            tracing::info!(engine = NAME, voices = voices.all.len(), "voices known");
            *known = Arc::new(voices);
        }
    }

    fn body(&self, wish: &Wish, format: Format) -> Bytes {
        let Wish { text, voice, speed, instructions, model, .. } = wish;
        let model = self.config.model.as_deref().or(model.as_deref()).unwrap_or(MODEL);
        let body = Body {
            model,
            input: text,
            voice,
            response_format: format.name(),
            speed: *speed,
            instructions: instructions.as_deref(),
        };
        // Texts and numbers always make JSON.
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

impl Voiced for OpenAi {
    fn name(&self) -> &'static str {
        NAME
    }

    fn health(&self) -> Health {
        match self.upstream.open_for() {
            None => Health::Ready(SPEECH_HZ),
            Some(left) => Health::Unavailable(format!(
                "it failed again and again and is left alone for {} s",
                left.as_secs().max(1)
            )),
        }
    }

    fn voices(&self) -> Arc<Voices> {
        Arc::clone(&self.voices.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn knows_its_voices(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

impl RemoteEngine for OpenAi {
    fn is_tls(&self) -> bool {
        self.upstream.is_tls()
    }

    fn comes(&self, format: Format) -> Comes {
        let makes = |format| self.config.formats.contains(&format);
        match format {
            // Ours has one rate.
            Format::Pcm if makes(format) && self.config.pcm_hz != SPEECH_HZ => {
                Comes::Pcm(self.config.pcm_hz)
            }
            format if makes(format) => Comes::AsWished,
            _ if makes(Format::Pcm) => Comes::Pcm(self.config.pcm_hz),
            _ => Comes::Wav,
        }
    }

    fn ask(&self, wish: Wish) -> BoxFuture<'static, Result<Sound, UpstreamError>> {
        let (comes, wished) = (self.comes(wish.format), wish.format);
        let format = match comes {
            Comes::AsWished => wish.format,
            Comes::Pcm(_) => Format::Pcm,
            Comes::Wav => Format::Wav,
        };
        let ask = Ask {
            accept: HeaderValue::from_static("audio/*, application/octet-stream;q=0.5"),
            departure: Some(wish.departure.clone()),
            // It costs money, and may be spoken twice for all that it matters; but nobody wants to pay twice.
            is_safe: false,
            most_bytes: self.config.most_bytes,
            ..Ask::errand("/audio/speech", Some(self.body(&wish, format)), wish.owner)
        };
        let upstream = self.upstream.clone();
        async move {
            let answer = upstream.open(&ask).await?;
            let said = check(&answer, format).map_err(|fault| upstream.error(fault))?;
            let comes = match said {
                // Ours has one rate, and whoever asked for pcm expects that.
                Some(SPEECH_HZ) if wished == Format::Pcm => Comes::AsWished,
                Some(hz) => Comes::Pcm(hz),
                None => comes,
            };
            Ok(Sound { is_framed: answer.is_framed, body: answer.body, comes })
        }
        .boxed()
    }
}

/// Whether an answer is audio in `format`; and the rate, where that is pcm and it says one.
fn check(answer: &Answer, format: Format) -> Result<Option<u32>, Fault> {
    let got = answer.media_type();
    let fits = match format {
        Format::Mp3 => matches!(got.as_str(), "audio/mpeg" | "audio/mp3" | "audio/x-mp3"),
        Format::Opus => matches!(got.as_str(), "audio/ogg" | "audio/opus" | "application/ogg"),
        Format::Flac => matches!(got.as_str(), "audio/flac" | "audio/x-flac"),
        Format::Wav => matches!(got.as_str(), "audio/wav" | "audio/x-wav" | "audio/wave"),
        Format::Pcm => {
            // Not audio/l16, whose bytes are in the other order (RFC 2586).
            matches!(got.as_str(), "audio/pcm" | "audio/x-pcm" | "audio/raw")
        }
    };
    let channels = answer.parameter("channels").unwrap_or("1");
    let fits = fits && (format != Format::Pcm || channels == "1");
    if !fits && !UNSPECIFIC.contains(&got.as_str()) {
        let got = match got.as_str() {
            "" => "no word on its type".into(),
            _ => got.chars().filter(|c| !c.is_control()).take(64).collect(),
        };
        return Err(Fault::WrongType { got, wanted: format.content_type() });
    }
    match (format, answer.parameter("rate").and_then(|rate| rate.parse().ok())) {
        (Format::Pcm, Some(hz @ 8_000..=48_000)) => Ok(Some(hz)),
        _ => Ok(None),
    }
}

/// Those that OpenAI's own server has; each speaks every language.
fn openai_voices() -> Voices {
    let names: Vec<_> = OPENAI_NAMES.iter().map(|(name, _)| (*name).to_string()).collect();
    named(&names)
}

fn named(names: &[String]) -> Voices {
    let voices = names.iter().filter_map(|name| voice(&Value::String(name.clone())));
    listed(voices.collect())
}

/// The voices in an answer: a list, or an object with one; of names, or of objects with an id.
fn voices_of(json: &Value) -> Option<Voices> {
    let list =
        ["/voices", "/data", ""].into_iter().find_map(|place| json.pointer(place)?.as_array())?;
    let voices: Vec<_> = list.iter().take(limits::VOICES_MOST).filter_map(voice).collect();
    (!voices.is_empty()).then(|| listed(voices))
}

/// Each name once: of two that differ in case alone, or in how a dash is written, the second could not be asked for.
fn listed(mut all: Vec<Voice>) -> Voices {
    let mut seen = std::collections::HashSet::new();
    all.retain(|voice| seen.insert(voice.id.to_ascii_lowercase().replace('_', "-")));
    let default = all.iter().position(|voice| voice.id == OPENAI_NAMES[0].0).unwrap_or(0);
    Voices { default, all, variants: Vec::new() }
}

fn voice(item: &Value) -> Option<Voice> {
    let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| is_plain(text));
    let id = item
        .as_str()
        .or_else(|| text("id"))
        .or_else(|| text("voice_id"))
        .or_else(|| text("name"))?;
    let id = Some(id).filter(|id| is_plain(id))?.to_string();
    let name = text("name").unwrap_or(&id).to_string();
    let language =
        text("language").or_else(|| text("lang")).map_or_else(|| language(&id), Into::into);
    let gender = text("gender").map(str::to_lowercase);
    Some(Voice { name, language, gender, engine_name: id.clone(), id })
}

/// What may stand in a header and on a page: a few printable characters.
fn is_plain(text: &str) -> bool {
    let printable = |c: char| c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric();
    !text.trim().is_empty()
        && text.chars().count() <= limits::VOICE_NAME_CHARS
        && text.chars().all(printable)
}

/// Kokoro's voices say by their first letter which language they speak; OpenAI's speak many (BCP 47: `mul`).
fn language(id: &str) -> String {
    const KOKORO: [(&str, &str); 9] = [
        ("a", "en-us"),
        ("b", "en-gb"),
        ("e", "es"),
        ("f", "fr-fr"),
        ("h", "hi"),
        ("i", "it"),
        ("j", "ja"),
        ("p", "pt-br"),
        ("z", "cmn"),
    ];
    let kokoro = id.split_once('_').and_then(|(prefix, _)| {
        let (first, sex) = prefix.split_at_checked(1)?;
        KOKORO.iter().find(|(letter, _)| *letter == first && matches!(sex, "f" | "m"))
    });
    match kokoro {
        Some((_, tag)) => (*tag).into(),
        None if OPENAI_NAMES.iter().any(|(name, _)| *name == id) => "mul".into(),
        None => "und".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn voices_are_read_in_every_usual_shape() {
        for json in [
            json!({"voices": ["af_bella", "bm_george"]}),
            json!({"voices": [{"id": "af_bella", "name": "Bella"}, {"id": "bm_george"}]}),
            json!({"data": [{"voice_id": "af_bella"}, {"name": "bm_george"}]}),
            json!(["af_bella", "bm_george", "bad\nname", {"none": 1}, 7]),
        ] {
            let voices = voices_of(&json).expect("a list");
            let found: Vec<_> =
                voices.all.iter().map(|v| (v.id.as_str(), v.language.as_str())).collect();
            assert_eq!(found, [("af_bella", "en-us"), ("bm_george", "en-gb")], "{json}");
        }
        for json in [json!({}), json!({"voices": []}), json!("alloy"), json!({"voices": {"a": 1}})]
        {
            assert!(voices_of(&json).is_none(), "{json}");
        }
    }

    #[test]
    fn names_lead_to_its_own_voices() {
        let openai = openai_voices();
        assert_eq!(openai.find("Nova").map(|voice| voice.engine_name).as_deref(), Some("nova"));
        assert_eq!(openai.default_voice().id, "alloy");
        let kokoro = named(&["af_bella".into(), "bm_george".into()]);
        assert_eq!(
            kokoro.find("bm_george").map(|voice| voice.engine_name).as_deref(),
            Some("bm_george")
        );
        // OpenAI's names are taken everywhere; where they are no voices, the default one speaks.
        assert_eq!(kokoro.find("nova").map(|voice| voice.engine_name).as_deref(), Some("af_bella"));
        assert_eq!(kokoro.find("af_nobody"), None);
    }
}
