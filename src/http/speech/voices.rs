//! What can be asked for: voices with a preview each, and models.

use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Asker, deliver, format, told};
use crate::http::error::ApiError;
use crate::http::extract::{Path, Query};
use crate::http::request_id::RequestId;
use crate::http::{Peer, Services};

/// Names by which OpenAI's clients ask for the default engine.
const MODEL_ALIASES: [&str; 3] = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"];

/// What a voice says of itself, by the language of its tag. A voice of any other language counts:
/// digits are read out in every one.
const PREVIEWS: [(&str, &str); 25] = [
    ("en", "Good evening. This is how I sound."),
    ("mul", "Good evening. This is how I sound."),
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

/// Voices that can be asked for.
#[derive(Serialize, ToSchema)]
pub struct Voices {
    voices: Vec<Voice>,
}

/// A voice.
#[derive(Serialize, ToSchema)]
struct Voice {
    /// What to send as `voice`.
    id: String,
    /// For people.
    name: String,
    /// As in BCP 47.
    language: String,
    /// `male` or `female`, where the engine says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gender: Option<String>,
    /// Who speaks it.
    engine: &'static str,
    /// A sentence in it.
    preview_url: String,
}

/// The voices that can be asked for.
///
/// OpenAI's names for voices are taken as well, and stand for some of these.
#[utoipa::path(
    get,
    path = "/v1/audio/voices",
    tag = "Voices and models",
    operation_id = "list_voices",
    responses((status = 200, description = "All of them.", body = Voices)),
)]
pub async fn list(State(services): State<Services>) -> Json<Voices> {
    let mut voices = Vec::new();
    for engine in services.speech.engines() {
        let engine_name = engine.name();
        voices.extend(engine.voices().listed().into_iter().map(|voice| Voice {
            preview_url: preview_url(&voice.id, engine_name),
            id: voice.id,
            name: voice.name,
            language: voice.language,
            gender: voice.gender,
            engine: engine_name,
        }));
    }
    Json(Voices { voices })
}

/// Ids may be anything that another server calls its voices.
fn preview_url(id: &str, engine: &str) -> String {
    let mut encoded = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(byte.into())
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    format!("/v1/audio/voices/{encoded}/preview?model={engine}")
}

/// The query of a preview.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Options {
    /// The engine that has the voice; the default one, if it is not said.
    model: Option<String>,
    /// The format of the sound.
    #[param(schema_with = told::query_format)]
    response_format: Option<String>,
}

/// A sentence in the voice's language; made once and kept.
#[utoipa::path(
    get,
    path = "/v1/audio/voices/{voice}/preview",
    tag = "Voices and models",
    operation_id = "preview_voice",
    params(
        ("voice" = String, Path, description = "A voice's id; see `/v1/audio/voices`.",
            min_length = 1, example = "alloy"),
        Options,
    ),
    responses(told::Sound, told::NotSpoken),
)]
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

/// Models that can be asked for, in OpenAI's shape.
#[derive(Serialize, ToSchema)]
pub struct Models {
    /// Always `list`.
    object: &'static str,
    data: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
struct Model {
    /// What to send as `model`.
    id: &'static str,
    /// Always `model`.
    object: &'static str,
    /// Always 0: nobody noted it.
    created: u64,
    owned_by: &'static str,
}

/// The engines that can be asked for as models, and OpenAI's names for the default one.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "Voices and models",
    operation_id = "list_models",
    responses((status = 200, description = "All of them.", body = Models)),
)]
pub async fn models(State(services): State<Services>) -> Json<Models> {
    let data = model_names(&services).into_iter().map(describe).collect();
    Json(Models { object: "list", data })
}

/// One model.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "Voices and models",
    operation_id = "get_model",
    params(("model" = String, Path, description = "Its id; see `/v1/models`.", min_length = 1, example = "tts-1")),
    responses(
        (status = 200, description = "It is there.", body = Model),
        (status = 404, description = "There is no such model."),
    ),
)]
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

fn describe(id: &'static str) -> Model {
    Model { id, object: "model", created: 0, owned_by: "evensong" }
}
