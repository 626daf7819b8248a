//! The same speech in ElevenLabs' shape: `POST /v1/text-to-speech/{voice}` and its `/stream`.
//! Invariant: an output format is answered with exactly what its name says, or refused by name.

use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Asker, deliver, short, told};
use crate::http::error::ApiError;
use crate::http::extract::{Path, Query};
use crate::http::request_id::RequestId;
use crate::http::{Peer, Services, body, json};
use crate::limits::SPEECH_BODY_BYTES;
use crate::speech::encode::Format;

const PARAMETERS: [&str; 3] = ["text", "model_id", "voice_settings"];

/// What is to be spoken, as far as it means something here.
#[derive(Debug, Deserialize, ToSchema)]
struct ElevenRequest {
    #[schema(schema_with = told::text)]
    text: String,
    /// An engine's name, or one of OpenAI's names for the default one; see `/v1/models`.
    model_id: Option<String>,
    voice_settings: Option<VoiceSettings>,
}

/// Settings of a voice, as far as they mean something here.
#[derive(Debug, Deserialize, ToSchema)]
struct VoiceSettings {
    #[schema(schema_with = told::speed)]
    speed: Option<f64>,
}

/// The query.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Options {
    /// Codec, rate and bitrate. Any rate and bitrate of a coded format is answered with this server's
    /// own, which players read from the stream.
    #[param(schema_with = told::output_format)]
    output_format: Option<String>,
}

/// Speaks a text, in ElevenLabs' shape.
///
/// The sound is sent while it is being made. What fails before its first byte is an error of its own;
/// what fails later breaks the transfer off.
#[utoipa::path(
    post,
    path = "/v1/text-to-speech/{voice}",
    tag = "Speech",
    operation_id = "create_speech_of_voice",
    params(
        ("voice" = String, Path, description = "A voice's id; see `/v1/audio/voices`.",
            min_length = 1, example = "alloy"),
        Options,
    ),
    request_body = ElevenRequest,
    responses(told::Sound, told::BodyRefused, told::NotSpoken),
)]
pub async fn create(
    services: State<Services>,
    peer: Extension<Peer>,
    id: Extension<RequestId>,
    voice: Path<String>,
    options: Query<Options>,
    request: Request,
) -> Result<Response, ApiError> {
    create_stream(services, peer, id, voice, options, request).await
}

/// The same under the name by which ElevenLabs' clients ask for a stream.
#[utoipa::path(
    post,
    path = "/v1/text-to-speech/{voice}/stream",
    tag = "Speech",
    operation_id = "stream_speech_of_voice",
    params(
        ("voice" = String, Path, description = "A voice's id; see `/v1/audio/voices`.",
            min_length = 1, example = "alloy"),
        Options,
    ),
    request_body = ElevenRequest,
    responses(told::Sound, told::BodyRefused, told::NotSpoken),
)]
pub async fn create_stream(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Path(voice): Path<String>,
    Query(options): Query<Options>,
    request: Request,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let received = body::read(&services, &id, request.into_body(), SPEECH_BODY_BYTES).await?;
    let asked: ElevenRequest = json::parse(&received.bytes, &PARAMETERS)?;
    drop(received);
    let speed = asked.voice_settings.and_then(|settings| settings.speed);
    let (mut utterance, places) =
        Asker { services: &services, peer, id }.utterance(asked.text, "text", speed)?;
    utterance.format = format(options.output_format.as_deref())?;
    (utterance.voice, utterance.model) = (Some(voice), asked.model_id);
    Ok(deliver::begin(&services, utterance, places, began).await?.bytes())
}

/// `codec_rate_bitrate`. Of mp3 and opus any rate and bitrate is answered with ours, which players
/// read from the stream; bare pcm carries no rate, so only its own will do.
fn format(name: Option<&str>) -> Result<Format, ApiError> {
    let Some(name) = name else { return Ok(Format::DEFAULT) };
    let format = match name.split('_').next() {
        Some("pcm") if name != "pcm_24000" => None,
        Some("wav") if name != "wav_24000" => None,
        Some(codec) => Format::named(codec),
        None => None,
    };
    format.ok_or_else(|| {
        let message = format!(
            "output_format '{}' is not made here; mp3_…, opus_…, pcm_24000 and wav_24000 are, as \
             far as this build makes their codec",
            short(name)
        );
        ApiError::parameter("output_format", "unsupported_format", message)
    })
}

#[cfg(test)]
mod tests {
    use super::format;
    use crate::speech::encode::Format;

    #[test]
    fn pcm_and_wav_only_at_the_rate_that_is_made() {
        assert_eq!(format(Some("pcm_24000")), Ok(Format::Pcm));
        assert_eq!(format(Some("wav_24000")), Ok(Format::Wav));
        for other in ["pcm_16000", "wav_44100", "ulaw_8000", "", "_", "x"] {
            assert!(format(Some(other)).is_err(), "{other}");
        }
    }
}
