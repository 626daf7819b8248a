//! What lets a device resume its session: a word that says whose session it is, signed, so that nothing has to be remembered of
//! those that are over. Invariant: a token that is taken was signed here, for this principal.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::bounds::signing::SigningKey;
use crate::limits::SESSION_TOKEN_LASTS;

/// Of what is signed; another one is of another version of Evensong.
const VERSION: u8 = 1;
/// More than any token has.
const TOKEN_LETTERS: usize = 256;

/// Why nothing can be resumed by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was never given out here, or to somebody else.
    #[error("there is no such session")]
    Unknown,
    /// It was, and what it was for is over.
    #[error(
        "the session is over, or what came behind that event is no longer held; begin a new one"
    )]
    Lost,
}

#[derive(Serialize, Deserialize)]
struct Said {
    version: u8,
    session: String,
    principal: [u8; 8],
    /// In s since 1970.
    until: u64,
}

/// The token of `session`, whose owner is `principal`.
pub fn sign(key: &SigningKey, session: &str, principal: &str, now: Duration) -> String {
    let said = Said {
        version: VERSION,
        session: session.to_string(),
        principal: digest(principal),
        until: (now + SESSION_TOKEN_LASTS).as_secs(),
    };
    BASE64.encode(key.sign(postcard::to_stdvec(&said).unwrap_or_default()))
}

/// The session of `token`, brought by `principal`.
pub fn open(
    key: &SigningKey,
    token: &str,
    principal: &str,
    now: Duration,
) -> Result<String, Refused> {
    let bytes = Some(token).filter(|token| token.len() <= TOKEN_LETTERS);
    let bytes = bytes.and_then(|token| BASE64.decode(token).ok()).ok_or(Refused::Unknown)?;
    let said = key.verify(&bytes).ok_or(Refused::Unknown)?;
    let said: Said = postcard::from_bytes(said).map_err(|_| Refused::Unknown)?;
    if said.version != VERSION || said.principal != digest(principal) {
        return Err(Refused::Unknown);
    }
    if said.until < now.as_secs() {
        return Err(Refused::Lost);
    }
    Ok(said.session)
}

fn digest(principal: &str) -> [u8; 8] {
    let mut digest = [0; 8];
    digest.copy_from_slice(&blake3::hash(principal.as_bytes()).as_bytes()[..8]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::signing::SIGNATURE_BYTES;

    #[test]
    fn a_token_is_good_for_its_owner_and_its_time() {
        let (key, now) = (SigningKey::new([7; 32]), Duration::from_secs(1_000_000));
        let token = sign(&key, "abc", "anna", now);
        assert!(token.len() <= TOKEN_LETTERS);
        assert_eq!(open(&key, &token, "anna", now).as_deref(), Ok("abc"));
        assert_eq!(open(&key, &token, "otto", now), Err(Refused::Unknown));
        assert_eq!(open(&SigningKey::new([8; 32]), &token, "anna", now), Err(Refused::Unknown));
        let late = now + SESSION_TOKEN_LASTS + Duration::from_secs(1);
        assert_eq!(open(&key, &token, "anna", late), Err(Refused::Lost));
        for nonsense in ["", "x", "%%%", &"A".repeat(40), &"A".repeat(TOKEN_LETTERS + 1)] {
            assert_eq!(open(&key, nonsense, "anna", now), Err(Refused::Unknown), "{nonsense}");
        }
    }

    #[test]
    fn ten_thousand_guesses_open_nothing() {
        let (key, now) = (SigningKey::new([7; 32]), Duration::from_secs(1_000_000));
        let token = sign(&key, "abc", "anna", now);
        let bytes = BASE64.decode(&token).expect("ours");
        for guess in 0..10_000_u32 {
            let mut forged = bytes.clone();
            let signature = blake3::hash(&guess.to_be_bytes());
            let place = forged.len() - SIGNATURE_BYTES;
            forged[place..].copy_from_slice(&signature.as_bytes()[..SIGNATURE_BYTES]);
            assert_eq!(open(&key, &BASE64.encode(&forged), "anna", now), Err(Refused::Unknown));
        }
    }
}
