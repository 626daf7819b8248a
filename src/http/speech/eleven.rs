//! The same speech in ElevenLabs' shape: `POST /v1/text-to-speech/{voice}` and its `/stream`.
//! Invariant: an output format is answered with exactly what its name says, or refused by name.

use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use serde::Deserialize;

use super::{Asker, deliver, json, short};
use crate::http::error::ApiError;
use crate::http::request_id::RequestId;
use crate::http::{Peer, Services, body};
use crate::limits::SPEECH_BODY_BYTES;
use crate::speech::encode::Format;

const PARAMETERS: [&str; 3] = ["text", "model_id", "voice_settings"];

/// The body, as far as it means something here.
#[derive(Debug, Deserialize)]
struct ElevenRequest {
    text: String,
    model_id: Option<String>,
    voice_settings: Option<VoiceSettings>,
}

#[derive(Debug, Deserialize)]
struct VoiceSettings {
    speed: Option<f32>,
}

/// The query.
#[derive(Debug, Deserialize)]
pub struct Options {
    output_format: Option<String>,
}

/// Speaks the text.
pub async fn create(
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
