//! Questions that are spoken: `multipart/form-data` with the recording (`audio`) and the rest of the question as JSON
//! (`request`). Invariants: room for all of it is reserved before any of it is read; a recording is never longer than it may
//! be, and is held once, as it is sent on.

use std::pin::pin;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Body as _;
use multer::{Field, Multipart};

use crate::answer::transcriber::{FORM_BYTES, Recording, Transcriber, kind, kinds};
use crate::dialogue::twice::Digest;
use crate::http::Services;
use crate::http::body::{Cost, Incoming, reserve};
use crate::http::error::ApiError;
use crate::limits::{CONVERSE_BODY_BYTES, RECORDING_BYTES, SPOKEN_QUESTION_BYTES};

/// A question that was spoken.
pub struct Spoken {
    /// The rest of it, as JSON; empty where there is none.
    pub request: Bytes,
    /// Of all that makes it what it is.
    pub digest: Digest,
    /// What was said.
    pub recording: Recording,
    /// Held as long as the recording is.
    pub cost: Cost,
}

/// Why the body ended, where its sender did not keep to the rules.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.told())]
struct Refused(ApiError);

/// Reads a question of that `media_type` for `transcriber`.
pub async fn read(
    services: &Services,
    transcriber: &Transcriber,
    owner: &str,
    media_type: &str,
    body: Body,
) -> Result<Spoken, ApiError> {
    let said = body.size_hint().exact();
    if said.is_some_and(|bytes| bytes > SPOKEN_QUESTION_BYTES as u64) {
        return Err(ApiError::too_large(SPOKEN_QUESTION_BYTES));
    }
    let room = said.map_or(SPOKEN_QUESTION_BYTES, |bytes| bytes as usize);
    let cost = reserve(services, owner, room + FORM_BYTES)?;
    let boundary = multer::parse_boundary(media_type).map_err(refused)?;
    let mut incoming =
        pin!(stream::unfold(Incoming::new(body, SPOKEN_QUESTION_BYTES), |mut body| async {
            let next = body.next().await.map_err(Refused).transpose()?;
            Some((next, body))
        }));
    let mut form = Multipart::new(incoming.as_mut(), boundary);
    let (mut request, mut recording) = (BytesMut::new(), None);
    let mut digest = blake3::Hasher::new();
    while let Some(mut field) = form.next_field().await.map_err(refused)? {
        match field.name() {
            Some("audio") if recording.is_none() => {
                recording = Some(record(transcriber, &mut field, room, &mut digest).await?);
            }
            Some("request") if request.is_empty() => {
                while let Some(chunk) = field.chunk().await.map_err(refused)? {
                    if request.len() + chunk.len() > CONVERSE_BODY_BYTES {
                        return Err(ApiError::too_large(CONVERSE_BODY_BYTES).of("request"));
                    }
                    request.extend_from_slice(&chunk);
                }
            }
            _ => {}
        }
    }
    let Some(recording) = recording.filter(|recording| recording.bytes() > 0) else {
        let message = "audio, a file with what is asked, is missing or empty";
        return Err(ApiError::parameter("audio", "missing_audio", message));
    };
    // The length keeps two parts apart that could be read as one.
    digest.update(&(recording.bytes() as u64).to_le_bytes()).update(&request);
    let digest = *digest.finalize().as_bytes();
    Ok(Spoken { request: request.freeze(), digest, recording, cost })
}

async fn record(
    transcriber: &Transcriber,
    field: &mut Field<'_>,
    room: usize,
    digest: &mut blake3::Hasher,
) -> Result<Recording, ApiError> {
    let media_type = field.content_type().map(|kind| kind.essence_str());
    let Some(kind) = kind(field.file_name(), media_type) else {
        let message = format!(
            "audio is of no kind that is known, by its name or its type; it may be {}",
            kinds()
        );
        return Err(ApiError::parameter("audio", "unknown_audio_type", message));
    };
    let mut recording = transcriber.recording(kind, room.min(RECORDING_BYTES));
    while let Some(chunk) = field.chunk().await.map_err(refused)? {
        if recording.bytes() + chunk.len() > RECORDING_BYTES {
            return Err(ApiError::too_large(RECORDING_BYTES).of("audio"));
        }
        digest.update(&chunk);
        recording.push(&chunk);
    }
    Ok(recording)
}

fn refused(error: multer::Error) -> ApiError {
    match error {
        multer::Error::StreamReadFailed(why) => match why.downcast::<Refused>() {
            Ok(refused) => refused.0,
            Err(_) => ApiError::broken_body(),
        },
        error => {
            let message = format!("the body is not the form that it says it is: {error}");
            ApiError::parameter("audio", "invalid_form", message)
        }
    }
}
