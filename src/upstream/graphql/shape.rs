//! The shape of a GraphQL answer: whether there are data, and whether there are errors. Invariant: nothing of the answer
//! is kept, and however deep it is nested costs a byte a level: serde_json passes over what is ignored without
//! calling itself.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `data` is there, and not null.
    pub has_data: bool,
    /// `errors` is there, and neither null nor empty.
    pub has_errors: bool,
}

impl Shape {
    /// Of `json`, which must be an object and nothing behind it.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Whether there is something, and not all.
    pub fn is_partial(self) -> bool {
        self.has_data && self.has_errors
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Whole)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shape = Shape::default();
        while let Some(name) = map.next_key::<Name>()? {
            match name {
                // Of two, whoever reads it may take either.
                Name::Data => shape.has_data |= map.next_value::<Filled>()?.is_there,
                Name::Errors => {
                    let errors: Filled = map.next_value()?;
                    shape.has_errors |= errors.is_there && !errors.is_empty;
                }
                Name::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(shape)
    }
}

enum Name {
    Data,
    Errors,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(match text {
                    "data" => Name::Data,
                    "errors" => Name::Errors,
                    _ => Name::Other,
                })
            }
        }
        deserializer.deserialize_identifier(Text)
    }
}

/// A value, of which one knows whether it is null and whether there is something in it.
struct Filled {
    is_there: bool,
    is_empty: bool,
}

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Filling)
    }
}

struct Filling;

impl<'de> Visitor<'de> for Filling {
    type Value = Filled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Filled, E> {
        Ok(Filled { is_there: false, is_empty: true })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
        Ok(Filled { is_there: true, is_empty: false })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
        Ok(Filled { is_there: true, is_empty: false })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
        Ok(Filled { is_there: true, is_empty: false })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
        Ok(Filled { is_there: true, is_empty: false })
    }

    fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
        Ok(Filled { is_there: true, is_empty: text.is_empty() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Filled, A::Error> {
        let mut is_empty = true;
        while items.next_element::<IgnoredAny>()?.is_some() {
            is_empty = false;
        }
        Ok(Filled { is_there: true, is_empty })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Filled, A::Error> {
        let mut is_empty = true;
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            is_empty = false;
        }
        Ok(Filled { is_there: true, is_empty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_errors_are_told_from_nothing() {
        for (json, data, errors) in [
            ("{}", false, false),
            (r#"{"data":null}"#, false, false),
            (r#"{"data":{}}"#, true, false),
            (r#" {"extensions":{"data":1},"data":{"a":{"errors":[1]}}} "#, true, false),
            (r#"{"data":{"a":1},"errors":[{"message":"x"}]}"#, true, true),
            (r#"{"errors":[{"message":"x"}],"data":{"a":1}}"#, true, true),
            (r#"{"d\u0061ta":{"a":1},"err\u006frs":[1]}"#, true, true),
            (r#"{"data":null,"errors":[{"message":"x"}]}"#, false, true),
            (r#"{"data":{"a":1},"errors":[]}"#, true, false),
            (r#"{"data":{"a":1},"errors":null}"#, true, false),
            (r#"{"data":7,"errors":"all"}"#, true, true),
            (r#"{"data":-1.5,"errors":{"a":true}}"#, true, true),
        ] {
            let shape = Shape::read(json.as_bytes()).expect("an object");
            assert_eq!(shape, Shape { has_data: data, has_errors: errors }, "{json}");
            assert_eq!(shape.is_partial(), data && errors);
        }
        for json in ["", "[]", "null", "7", "<html>", "{", r#"{"data":{}"#, r#"{"data":{}} x"#] {
            assert!(Shape::read(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn nesting_as_deep_as_an_answer_is_long_overflows_nothing() {
        let deep = 500_000;
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let inner = format!("{}1{}", open.repeat(deep), close.repeat(deep));
            for name in ["data", "errors", "other"] {
                let json = format!(r#"{{"{name}":{inner}}}"#);
                assert_eq!(Shape::read(json.as_bytes()).expect("fine").has_data, name == "data");
                assert!(Shape::read(&json.as_bytes()[..json.len() / 2]).is_err());
            }
        }
    }
}
