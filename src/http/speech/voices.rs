//! What can be asked for: voices with a preview each, and models.

use std::time::Instant;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asker, deliver, format};
use crate::http::error::ApiError;
use crate::http::request_id::RequestId;
use crate::http::{Peer, Services};

/// Names by which OpenAI's clients ask for the default engine.
const MODEL_ALIASES: [&str; 3] = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"];

/// What a voice says of itself, by the language of its tag. A voice of any other language counts:
/// digits are read out in every one.
const PREVIEWS: [(&str, &str); 24] = [
    ("en", "Good evening. This is how I sound."),
    ("de", "Guten Abend. So klinge ich."),
    ("fr", "Bonsoir. Voici ma voix."),
    ("es", "Buenas tardes. Así sueno yo."),
    ("it", "Buonasera. Questa è la mia voce."),
    ("pt", "Boa noite. Esta é a minha voz."),
    ("nl", "Goedenavond. Zo klink ik."),
    ("sv", "God kväll. Så här låter jag."),
    ("da", "God aften. Sådan lyder jeg."),
    ("nb", "God kveld. Slik høres jeg ut."),
    ("fi", "Hyvää iltaa. Tältä kuulostan."),
    ("pl", "Dobry wieczór. Tak brzmi mój głos."),
    ("cs", "Dobrý večer. Takto zním."),
    ("hu", "Jó estét. Így hangzik a hangom."),
    ("ro", "Bună seara. Așa sun eu."),
    ("ru", "Добрый вечер. Вот так я звучу."),
    ("uk", "Добрий вечір. Ось так я звучу."),
    ("el", "Καλησπέρα. Έτσι ακούγομαι."),
    ("tr", "İyi akşamlar. Sesim böyle."),
    ("ar", "مساء الخير. هذا هو صوتي."),
    ("hi", "शुभ संध्या। मेरी आवाज़ ऐसी है।"),
    ("cmn", "晚上好。这是我的声音。"),
    ("ja", "こんばんは。これが私の声です。"),
    ("ko", "안녕하세요. 제 목소리입니다."),
];
const PREVIEW_OF_ANY: &str = "1, 2, 3, 4, 5.";

/// `GET /v1/audio/voices`.
pub async fn list(State(services): State<Services>) -> Json<Value> {
    let mut rows = Vec::new();
    for engine in services.speech.engines() {
        for voice in engine.voices().listed() {
            let mut row = json!({
                "id": voice.id,
                "name": voice.name,
                "language": voice.language,
                "engine": engine.name(),
                "preview_url": preview_url(&voice.id, engine.name()),
            });
            if let (Some(gender), Some(row)) = (voice.gender, row.as_object_mut()) {
                row.insert("gender".into(), gender.into());
            }
            rows.push(row);
        }
    }
    Json(json!({"voices": rows}))
}

/// Ids are tags and names of `[a-z0-9+-]`; of these only the plus means something in a URL.
fn preview_url(id: &str, engine: &str) -> String {
    format!("/v1/audio/voices/{}/preview?model={engine}", id.replace('+', "%2B"))
}

/// The query of a preview.
#[derive(Debug, Deserialize)]
pub struct Options {
    model: Option<String>,
    response_format: Option<String>,
}

/// `GET /v1/audio/voices/{id}/preview`: a sentence in the voice's language; made once and kept.
pub async fn preview(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Path(name): Path<String>,
    Query(options): Query<Options>,
) -> Result<Response, ApiError> {
    let voice = services.speech.voice(options.model.as_deref(), &name)?;
    let language = voice.language.split('-').next().unwrap_or_default();
    let known = PREVIEWS.iter().find(|(tag, _)| *tag == language);
    let text = known.map_or(PREVIEW_OF_ANY, |(_, text)| text).to_string();
    let (mut utterance, places) =
        Asker { services: &services, peer, id }.utterance(text, "voice", None)?;
    utterance.format = format(options.response_format.as_deref())?;
    (utterance.voice, utterance.model) = (Some(name), options.model);
    Ok(deliver::begin(&services, utterance, places, Instant::now()).await?.bytes())
}

/// `GET /v1/models`.
pub async fn models(State(services): State<Services>) -> Json<Value> {
    let data: Vec<_> = model_names(&services).into_iter().map(describe).collect();
    Json(json!({"object": "list", "data": data}))
}

/// `GET /v1/models/{id}`.
pub async fn model(State(services): State<Services>, Path(name): Path<String>) -> Response {
    match model_names(&services).into_iter().find(|known| *known == name) {
        Some(known) => Json(describe(known)).into_response(),
        None => ApiError::no_model(&name).into_response(),
    }
}

fn model_names(services: &Services) -> Vec<&'static str> {
    let engines = services.speech.engines().iter().map(|engine| engine.name());
    engines.chain(MODEL_ALIASES).collect()
}

fn describe(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "evensong"})
}
