//! What is wrong with an event of a client, in OpenAI's shape. Invariant: it names the field and what would do.

use serde_json::{Value, json};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// What it is called.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The field.
    pub param: Option<String>,
}

impl Wrong {
    /// Of that code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    /// A field that must be something else.
    pub fn field(param: &str, must_be: &str) -> Self {
        let message = format!("{param} must be {must_be}");
        Self { code: "invalid_value", message, param: Some(param.to_string()) }
    }

    /// A field that is missing.
    pub fn missing(param: &str) -> Self {
        let message = format!("{param} is missing");
        Self { code: "missing_required_parameter", message, param: Some(param.to_string()) }
    }

    /// The same, of this field.
    pub fn of(mut self, param: &str) -> Self {
        self.param = Some(param.to_string());
        self
    }

    /// As it is told, of the client's event of that name.
    pub fn told(&self, event: Option<&str>) -> Value {
        json!({
            "type": "invalid_request_error",
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event,
        })
    }
}

/// The text at `path` of `value`, its parts divided by dots; none where it is not there or null.
pub fn text<'a>(value: &'a Value, path: &str) -> Result<Option<&'a str>, Wrong> {
    match at(value, path) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Wrong::field(path, "a text")),
    }
}

/// The same, which must be there.
pub fn some_text<'a>(value: &'a Value, path: &str) -> Result<&'a str, Wrong> {
    text(value, path)?.ok_or_else(|| Wrong::missing(path))
}

/// The number at `path`.
pub fn number(value: &Value, path: &str) -> Result<Option<f64>, Wrong> {
    match at(value, path) {
        None | Some(Value::Null) => Ok(None),
        Some(found) => found.as_f64().map(Some).ok_or_else(|| Wrong::field(path, "a number")),
    }
}

/// What stands at `path`.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, part| value.get(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_path_and_named_when_they_are_wrong() {
        let value = json!({"session": {"audio": {"output": {"voice": "alloy", "speed": "fast"}}}, "no": null});
        assert_eq!(text(&value, "session.audio.output.voice"), Ok(Some("alloy")));
        assert_eq!((text(&value, "no"), text(&value, "session.x.y")), (Ok(None), Ok(None)));
        let wrong = number(&value, "session.audio.output.speed").expect_err("a text");
        assert_eq!(wrong.message, "session.audio.output.speed must be a number");
        assert_eq!(some_text(&value, "no").expect_err("null").code, "missing_required_parameter");
        let told = wrong.told(Some("e1"));
        assert_eq!(
            (&told["param"], &told["event_id"]),
            (&json!("session.audio.output.speed"), &json!("e1"))
        );
    }
}
