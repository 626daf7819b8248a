//! The JSON of a GraphQL request. Invariant: what is looked at here is what whoever gets it will see: no field that
//! matters stands in it twice, in whatever spelling.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::http::error::ApiError;
use crate::http::json;

const PARAMETERS: [&str; 3] = ["query", "variables", "operationName"];

/// What matters of a request.
#[derive(Debug, Deserialize)]
pub struct Asked<'a> {
    /// The document.
    #[serde(borrow)]
    pub query: Cow<'a, str>,
    /// They are for the server alone to read.
    #[serde(default, rename = "variables")]
    _variables: Option<Members>,
    /// Which operation of the document is meant.
    #[serde(default, borrow, rename = "operationName")]
    operation: Option<Cow<'a, str>>,
}

impl<'a> Asked<'a> {
    /// Reads `body`.
    pub fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.trim_ascii_start().starts_with(b"[") {
            let message = "batches are not answered here: one request is one object";
            return Err(ApiError::json(message).coded("batch"));
        }
        // What is passed over is passed over unseen.
        if std::str::from_utf8(body).is_err() {
            return Err(ApiError::json("the body is not the JSON expected here: it is no UTF-8"));
        }
        json::parse::<Names>(body, &PARAMETERS)?;
        json::parse(body, &PARAMETERS)
    }

    /// Which operation of the document is meant, if it is said.
    pub fn operation(&self) -> Option<&str> {
        self.operation.as_deref().filter(|name| !name.is_empty())
    }
}

/// An object, whatever is in it.
#[derive(Debug)]
struct Members;

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Members)
            }
        }
        deserializer.deserialize_map(Any)
    }
}

/// The names of an object's members. Some servers find `Query` where `query` is asked for, and take the last of the two.
struct Names;

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a query")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                while let Some(name) = map.next_key::<String>()? {
                    let alike = PARAMETERS.iter().find(|known| known.eq_ignore_ascii_case(&name));
                    if let Some(known) = alike.filter(|known| **known != name) {
                        return Err(A::Error::custom(format!("{known} is not written '{name}'")));
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(Names)
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> String {
        match Asked::read(body.as_bytes()) {
            Ok(asked) => format!("{} {:?}", asked.query, asked.operation()),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn what_is_read_is_what_will_be_seen() {
        for (body, expected) in [
            (r#"{"query":"{a}"}"#, "{a} None"),
            (r#" {"qu\u0065ry":"{\n}","variables":null,"operationName":null} "#, "{\n} None"),
            (r#"{"query":"{a}","variables":{"a":[{}]},"operationName":"A"}"#, "{a} Some(\"A\")"),
            (r#"{"query":"{a}","operationName":"","extensions":[1],"x":{}}"#, "{a} None"),
        ] {
            assert_eq!(said(body), expected, "{body}");
        }
        for (body, part) in [
            ("", "invalid_json"),
            ("7", "invalid_json"),
            ("[]", "\"batch\""),
            (r#" [{"query":"{a}"}]"#, "\"batch\""),
            ("{}", "Some(\"query\")"),
            (r#"{"query":null}"#, "Some(\"query\")"),
            (r#"{"query":7}"#, "Some(\"query\")"),
            (r#"{"query":"{a}","variables":[]}"#, "Some(\"variables\")"),
            (r#"{"query":"{a}","variables":"{}"}"#, "Some(\"variables\")"),
            (r#"{"query":"{a}","operationName":[]}"#, "Some(\"operationName\")"),
            (r#"{"query":"{a}","query":"{b}"}"#, "duplicate field `query`"),
            (r#"{"query":"{a}","qu\u0065ry":"{b}"}"#, "duplicate field `query`"),
            (r#"{"query":"{a}","Query":"{b}"}"#, "query is not written 'Query'"),
            (r#"{"query":"{a}","operationname":"b"}"#, "operationName is not written"),
            (r#"{"query":"{a}"} {}"#, "goes on behind its end"),
            (&format!(r#"{{"query":"{{a}}","x":{}}}"#, "[".repeat(100_000)), "nested deeper"),
        ] {
            assert!(said(body).contains(part), "{body:.80}: {}", said(body));
        }
    }
}
