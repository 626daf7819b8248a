//! JSON bodies of requests: parsed with the name of the field that is wrong. Invariant: no text is
//! parsed that is nested deeper than the limit, wherever it is.

use serde::Deserialize;

use crate::http::error::ApiError;
use crate::limits::JSON_DEPTH;

/// Parses `bytes`; an error in one of `parameters` names it.
pub fn parse<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    parameters: &'static [&'static str],
) -> Result<T, ApiError> {
    if depth(bytes) > JSON_DEPTH {
        return Err(ApiError::json(format!("the body is nested deeper than {JSON_DEPTH} levels")));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let request = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let named = parameters.iter().find(|name| {
            let first = path.split(['.', '[']).next().unwrap_or_default();
            first == **name || inner.to_string().starts_with(&format!("missing field `{name}`"))
        });
        match named.filter(|_| inner.is_data()) {
            Some(name) => {
                ApiError::parameter(name, "invalid_parameter", format!("{name}: {inner}"))
            }
            None => ApiError::json(format!("the body is not the JSON expected here: {inner}")),
        }
    })?;
    json.end()
        .map_err(|error| ApiError::json(format!("the body goes on behind its end: {error}")))?;
    Ok(request)
}

/// Deepest nesting of a JSON text. What a request does not name is passed over by the parser without
/// a look, so its own limit does not see it.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(depth(br#"{"a": [1, {"b": 2}], "c": "[[[\"[["}"#), 3);
        assert_eq!(depth(b"]]]"), 0);
        assert_eq!(depth("[".repeat(1000).as_bytes()), 1000);
    }
}
