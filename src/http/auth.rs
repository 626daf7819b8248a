//! Who asks, and whether they may. Invariant: a request reaches its handler only as somebody who was
//! let in for that route; a route that nobody wrote a rule for wants a key.

pub mod keys;
pub mod tickets;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, Method, Uri, header};
use serde::{Deserialize, Serialize};

use super::limit::Rates;
use super::websocket::offers;
use crate::dialogue::is_random;
use keys::{Keys, KeysError};
use tickets::Tickets;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `/v1`: speech, voices, models.
    Speech,
    /// Conversations.
    Dialogue,
    /// Search and GraphQL.
    Search,
    /// Media.
    Media,
    /// What changes documents and media, and the admin listener.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 5] =
        [Scope::Speech, Scope::Dialogue, Scope::Search, Scope::Media, Scope::Admin];
    /// Those of a key for which none were named.
    pub const USUAL: [Scope; 4] = [Scope::Speech, Scope::Dialogue, Scope::Search, Scope::Media];

    /// As in the file and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Speech => "speech",
            Scope::Dialogue => "dialogue",
            Scope::Search => "search",
            Scope::Media => "media",
            Scope::Admin => "admin",
        }
    }
}

/// Whom a route lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Everybody with a key.
    Key,
    /// Who has a key of this scope.
    Scope(Scope),
    /// Who has a key of this scope, or brings a capability, which the handler knows or does not.
    Capability(Scope),
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Stable and unique; what is kept for one principal is kept under this.
    pub id: Arc<str>,
    /// For people: the key's name.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// What of its limits differs from the usual.
    pub rates: Rates<Option<u32>>,
    /// Whether it came without a key.
    pub keyless: bool,
}

impl Principal {
    /// Somebody without a key. Where no keys are configured, all are this one.
    pub fn anybody(scopes: &[Scope]) -> Self {
        let (id, name) = ("anybody".into(), "anybody".into());
        Self { id, name, scopes: scopes.to_vec(), rates: Rates::default(), keyless: true }
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key came.
    NoKey,
    /// The key or ticket that came is not one of ours.
    WrongKey,
    /// The key has not this scope.
    Scope(Scope),
    /// Without keys nobody administers, unless that was said.
    Keyless,
}

/// How a side of the server tells who asks.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Everybody may do everything but administer, and that only if said.
    Keyless {
        /// Whether everybody may administer, too.
        admin: bool,
    },
    /// Only who has a key of this file.
    Keyed(PathBuf),
}

/// Tells who asks. Clones share it.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    anybody: Arc<Principal>,
    /// The file and what was read of it; none where everybody is let in.
    keys: Option<(PathBuf, RwLock<Arc<Keys>>)>,
    tickets: Tickets,
}

impl Auth {
    /// Reads the keys, if there are to be any.
    pub fn new(mode: &Mode) -> Result<Self, KeysError> {
        let (scopes, keys): (&[Scope], _) = match mode {
            Mode::Keyless { admin: true } => (&Scope::ALL, None),
            Mode::Keyless { admin: false } => (&Scope::USUAL, None),
            Mode::Keyed(file) => {
                let keys = Arc::new(Keys::read(file)?);
                (&[], Some((file.clone(), RwLock::new(keys))))
            }
        };
        let anybody = Arc::new(Principal::anybody(scopes));
        Ok(Self(Arc::new(Inner { anybody, keys, tickets: Tickets::default() })))
    }

    /// Whether keys are asked for.
    pub fn is_keyed(&self) -> bool {
        self.0.keys.is_some()
    }

    /// Reads the keys again; on an error those that are in force stay. Gives their number.
    pub fn reload(&self) -> Result<usize, KeysError> {
        let Some((file, keys)) = &self.0.keys else { return Ok(0) };
        let read = Keys::read(file)?;
        let count = read.len();
        *keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(count)
    }

    /// The tickets that stand for keys.
    pub fn tickets(&self) -> &Tickets {
        &self.0.tickets
    }

    /// Who sent a request with these parts, if `access` lets them in.
    pub fn admit(
        &self,
        access: Access,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Arc<Principal>, Denied> {
        if access == Access::Public {
            return Ok(Arc::clone(&self.0.anybody));
        }
        if matches!(access, Access::Capability(_)) && has_capability(uri) {
            return Ok(Arc::clone(&self.0.anybody));
        }
        let principal = self.principal(method, uri, headers)?;
        match access {
            Access::Scope(scope) | Access::Capability(scope)
                if !principal.scopes.contains(&scope) =>
            {
                Err(if principal.keyless { Denied::Keyless } else { Denied::Scope(scope) })
            }
            _ => Ok(principal),
        }
    }

    fn principal(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Arc<Principal>, Denied> {
        let Some((_, keys)) = &self.0.keys else { return Ok(Arc::clone(&self.0.anybody)) };
        let keys = Arc::clone(&keys.read().unwrap_or_else(PoisonError::into_inner));
        // Two of them could be read as either.
        if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
            return Err(Denied::WrongKey);
        }
        if let Some(presented) = presented(uri.path(), headers) {
            return keys.verify(presented).ok_or(Denied::WrongKey);
        }
        // What a browser fetches without headers: only reading, never a form that posts.
        let Some(ticket) = ticket(uri).filter(|_| method == Method::GET) else {
            return Err(Denied::NoKey);
        };
        let principal = self.0.tickets.redeem(ticket);
        principal.filter(|principal| keys.knows(&principal.id)).ok_or(Denied::WrongKey)
    }
}

/// Where ElevenLabs' header is taken for a key.
pub const ELEVEN_PATHS: &str = "/v1/text-to-speech/";

/// Where a subprotocol is taken for a key,
const REALTIME_PATH: &str = "/v1/realtime";
/// that begins so: as OpenAI has it.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";

/// The key in the headers; ElevenLabs' clients have a header of their own for it.
fn presented<'a>(path: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let bearer = || {
        let (scheme, key) = text(header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    };
    let eleven = || {
        let theirs = path.starts_with(ELEVEN_PATHS);
        theirs.then(|| text(http::HeaderName::from_static("xi-api-key"))).flatten()
    };
    // A browser can set no header of a WebSocket, but its subprotocols.
    let socket = || {
        let theirs = path == REALTIME_PATH;
        theirs.then(|| offers(headers).find_map(|offer| offer.strip_prefix(KEY_PROTOCOL))).flatten()
    };
    bearer().or_else(eleven).or_else(socket)
}

/// The ticket in a query.
pub fn ticket(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}

fn has_capability(uri: &Uri) -> bool {
    let is_one = |pair: &str| pair.strip_prefix("capability=").is_some_and(is_random);
    uri.query().is_some_and(|query| query.split('&').any(is_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(auth: &Auth, access: Access, headers: &[(&'static str, &str)]) -> Option<Denied> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), value.parse().expect("a value"))
            })
            .collect();
        let uri = Uri::from_static("/v1/text-to-speech/alloy");
        auth.admit(access, &Method::POST, &uri, &headers).err()
    }

    #[test]
    fn without_keys_everybody_may_do_all_but_administer() {
        let auth = Auth::new(&Mode::Keyless { admin: false }).expect("nothing to read");
        for scope in Scope::USUAL {
            assert_eq!(admitted(&auth, Access::Scope(scope), &[]), None);
        }
        let admin = Access::Scope(Scope::Admin);
        assert_eq!(admitted(&auth, admin, &[]), Some(Denied::Keyless));
        let auth = Auth::new(&Mode::Keyless { admin: true }).expect("nothing to read");
        assert_eq!(admitted(&auth, admin, &[]), None);
    }

    #[test]
    fn with_keys_each_scope_wants_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.toml");
        let add = |name: &str, scopes: &[Scope]| {
            let rates = Rates::default();
            keys::add(&file, name, scopes, rates, "2026-01-01T00:00:00Z").expect("added")
        };
        let (speaker, searcher) = (add("a", &[Scope::Speech]), add("b", &[Scope::Search]));
        let auth = Auth::new(&Mode::Keyed(file.clone())).expect("readable");
        let speech = Access::Scope(Scope::Speech);
        let bearer = |key: &str| format!("Bearer {key}");
        for (headers, denied) in [
            (vec![], Some(Denied::NoKey)),
            (vec![("authorization", bearer(&speaker))], None),
            (vec![("authorization", format!("bearer  {speaker} "))], None),
            (vec![("xi-api-key", speaker.clone())], None),
            (vec![("authorization", bearer(&searcher))], Some(Denied::Scope(Scope::Speech))),
            (vec![("authorization", bearer("evs_x"))], Some(Denied::WrongKey)),
            (vec![("authorization", speaker.clone())], Some(Denied::NoKey)),
            (vec![("authorization", format!("Basic {speaker}"))], Some(Denied::NoKey)),
            // A wrong key is not made good by a right one elsewhere.
            (
                vec![("authorization", bearer("evs_x")), ("xi-api-key", speaker.clone())],
                Some(Denied::WrongKey),
            ),
        ] {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            assert_eq!(admitted(&auth, speech, &headers), denied, "{headers:?}");
        }
        assert_eq!(admitted(&auth, Access::Public, &[]), None);
        keys::revoke(&file, "a").expect("revoked");
        let header = bearer(&speaker);
        assert_eq!(admitted(&auth, speech, &[("authorization", &header)]), None, "not yet read");
        assert_eq!(auth.reload().expect("readable"), 1);
        assert_eq!(admitted(&auth, speech, &[("authorization", &header)]), Some(Denied::WrongKey));
        std::fs::write(&file, "nonsense").expect("written");
        assert!(auth.reload().is_err());
        let header = bearer(&searcher);
        let search = Access::Scope(Scope::Search);
        assert_eq!(admitted(&auth, search, &[("authorization", &header)]), None, "those stay");
    }
}
