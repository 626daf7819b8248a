//! The request for a streamed chat, in the words that its server knows. Invariant: roles take turns, since the templates
//! of many models ask for that.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use super::LlmConfig;
use crate::answer::Question;

/// Where servers differ, and nobody knows before asking. It says so much as is understood by all that are known until one refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// It does not know `stream_options` (some gateways), so it will not say what an answer took.
    without_usage: bool,
    /// It wants `max_completion_tokens` (OpenAI's newer models), which some others pass over.
    completion_tokens: bool,
}

impl Dialect {
    /// Whether a refusal names what can be said otherwise, and was not yet.
    pub fn learn(&mut self, config: &LlmConfig, refusal: &str) -> bool {
        let before = *self;
        self.without_usage |= refusal.contains("stream_options");
        self.completion_tokens |=
            config.max_tokens.is_some() && refusal.contains("max_completion_tokens");
        *self != before
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

/// The request, as JSON.
pub fn body(config: &LlmConfig, question: &Question, dialect: Dialect) -> Bytes {
    let (older, newer) = match dialect.completion_tokens {
        false => (config.max_tokens, None),
        true => (None, config.max_tokens),
    };
    let request = Request {
        model: &config.model,
        messages: messages(config, question),
        stream: true,
        stream_options: (!dialect.without_usage).then_some(StreamOptions { include_usage: true }),
        temperature: config.temperature,
        max_tokens: older,
        max_completion_tokens: newer,
    };
    serde_json::to_vec(&request).expect("text and numbers are JSON").into()
}

/// What was not answered, or not heard, is joined with what comes behind it.
fn messages<'a>(config: &'a LlmConfig, question: &'a Question) -> Vec<Message<'a>> {
    let turns = question.history.turns();
    let said = turns.flat_map(|turn| [("user", &turn.asked), ("assistant", &turn.answered)]);
    let system = [("system", &config.system_prompt), ("system", &question.instructions)];
    let said = system.into_iter().chain(said);
    let said = said.chain([("user", &question.text)]);
    let mut messages: Vec<Message<'_>> = Vec::new();
    for (role, text) in said.filter(|(_, text)| !text.is_empty()) {
        match messages.last_mut() {
            Some(last) if last.role == role => {
                let content = last.content.to_mut();
                content.push_str("\n\n");
                content.push_str(text);
            }
            _ => messages.push(Message { role, content: text.into() }),
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{History, Turn};
    use crate::ledger::Departure;
    use serde_json::{Value, json};

    fn config() -> LlmConfig {
        LlmConfig {
            model: "small".into(),
            system_prompt: String::new(),
            max_tokens: None,
            temperature: None,
        }
    }

    fn said(config: &LlmConfig, turns: &[(&str, &str)], dialect: Dialect) -> Value {
        let turn = |(asked, answered): &(&str, &str)| Turn {
            asked: (*asked).into(),
            answered: (*answered).into(),
        };
        let history: History = turns.iter().map(turn).collect();
        let question =
            Question::new("Why?", history, "test", Departure::default()).expect("a question");
        serde_json::from_slice(&body(config, &question, dialect)).expect("JSON")
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let message = json!({"role": "user", "content": "Why?"});
        let expected = json!({
            "model": "small", "messages": [message], "stream": true,
            "stream_options": {"include_usage": true},
        });
        assert_eq!(said(&config(), &[], Dialect::default()), expected);
    }

    #[test]
    fn roles_take_turns() {
        let config = LlmConfig { system_prompt: "Be brief.".into(), ..config() };
        let turns = [("a", "b"), ("c", ""), ("d", "e"), ("", "f"), ("g", "")];
        let request = said(&config, &turns, Dialect::default());
        let messages = request["messages"].as_array().expect("a list").iter();
        let messages: Vec<_> =
            messages.map(|m| (m["role"].as_str(), m["content"].as_str())).collect();
        let expected = [
            ("system", "Be brief."),
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c\n\nd"),
            ("assistant", "e\n\nf"),
            ("user", "g\n\nWhy?"),
        ];
        assert_eq!(messages, expected.map(|(role, text)| (Some(role), Some(text))));
    }

    #[test]
    fn what_a_question_is_to_be_answered_like_stands_behind_our_own_words() {
        let config = LlmConfig { system_prompt: "Be brief.".into(), ..config() };
        let question = Question::new("Why?", History::default(), "test", Departure::default());
        let question = question.expect("a question").instructed("Rhyme.".into());
        let messages = messages(&config, &question);
        assert_eq!((messages[0].role, &*messages[0].content), ("system", "Be brief.\n\nRhyme."));
        assert_eq!((messages[1].role, &*messages[1].content, messages.len()), ("user", "Why?", 2));
    }

    #[test]
    fn a_refusal_is_learnt_from_once() {
        let config = LlmConfig { max_tokens: Some(7), temperature: Some(0.5), ..config() };
        let mut dialect = Dialect::default();
        assert_eq!(said(&config, &[], dialect)["max_tokens"], 7);
        let refusal = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
        assert!(dialect.learn(&config, refusal));
        assert!(!dialect.learn(&config, refusal) && !dialect.learn(&config, "no such model"));
        assert!(dialect.learn(&config, "Extra inputs are not permitted: stream_options"));
        let request = said(&config, &[], dialect);
        assert_eq!(
            (&request["max_completion_tokens"], &request["temperature"]),
            (&json!(7), &json!(0.5))
        );
        assert!(request.get("max_tokens").is_none() && request.get("stream_options").is_none());
        let without = LlmConfig { max_tokens: None, ..config };
        assert!(!Dialect::default().learn(&without, refusal), "it was not sent");
    }
}
