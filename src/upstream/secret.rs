//! A key of an upstream. Invariant: whatever is written down or shown of it is that there is one.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands for it wherever it is shown.
pub const HIDDEN: &str = "(set)";

/// How a key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// As most do.
    Bearer,
    /// As search engines do: a key, or a user and a password with a colon between them.
    Engine,
}

/// See the module. Empty means that there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The secret `text`, without the white space that files end with.
    pub fn new(text: &str) -> Self {
        Self(text.trim().into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a bearer's token; none where there is none, or where it cannot stand in a header.
    pub fn bearer(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        (!self.is_empty()).then_some(value)
    }

    /// As `scheme` has it; none where there is none, or where it cannot stand in a header.
    pub fn authorization(&self, scheme: Scheme) -> Option<HeaderValue> {
        let said = match scheme {
            Scheme::Bearer => return self.bearer(),
            Scheme::Engine if self.0.contains(':') => format!("Basic {}", BASE64.encode(&*self.0)),
            Scheme::Engine => format!("ApiKey {}", self.0),
        };
        let mut value = HeaderValue::from_str(&said).ok()?;
        value.set_sensitive(true);
        (!self.is_empty()).then_some(value)
    }

    /// `text` with the secret taken out, wherever an upstream repeats it.
    pub fn taken_out_of(&self, text: &str) -> String {
        if self.is_empty() { text.to_string() } else { text.replace(&*self.0, "***") }
    }

    /// Whether it stands in `bytes`, which are passed on as they are or not at all.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        !secret.is_empty() && bytes.windows(secret.len()).any(|part| part == secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { HIDDEN })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_nothing_of_itself() {
        let secret = Secret::new("sk-canary\n");
        let shown = serde_json::to_string(&secret).expect("JSON");
        assert!(!format!("{secret:?} {shown} {:?}", secret.bearer()).contains("canary"));
        assert_eq!(secret.bearer().expect("a header"), "Bearer sk-canary");
        let engine = |text| Secret::new(text).authorization(Scheme::Engine).expect("a header");
        assert_eq!(engine("abc=="), "ApiKey abc==");
        assert_eq!(engine("user:pass:word"), "Basic dXNlcjpwYXNzOndvcmQ=");
        assert!(Secret::default().authorization(Scheme::Engine).is_none());
        assert_eq!(secret.taken_out_of("bad key sk-canary!"), "bad key ***!");
        assert!(secret.is_in(b"bad key sk-canary!") && !secret.is_in(b"sk-canar"));
        let none = Secret::new(" ");
        assert!(none.is_empty() && none.bearer().is_none());
        assert_eq!(none.taken_out_of("as it is"), "as it is");
        assert!(!none.is_in(b"as it is"));
    }
}
