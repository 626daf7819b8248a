//! The part of the configuration that says who writes answers.

use serde::{Deserialize, Serialize};

use super::upstream::{self, UpstreamSettings};
use super::{ConfigError, bad};
use crate::answer::llm::LlmConfig;
use crate::answer::transcriber::TranscriberConfig;
use crate::limits::SYSTEM_PROMPT_BYTES;
use crate::upstream::address::Base;
use crate::upstream::{Secret, UpstreamConfig};

/// Who writes answers.
#[derive(Clone, Debug)]
pub struct AnswerConfig {
    /// None: no language model.
    pub llm: Option<LlmUpstream>,
    /// None: nobody writes down what is said.
    pub transcriber: Option<TranscriberUpstream>,
}

/// A language model, and where it is.
#[derive(Clone, Debug)]
pub struct LlmUpstream {
    /// What is asked of it.
    pub llm: LlmConfig,
    /// How it is asked.
    pub upstream: UpstreamConfig,
}

/// Who writes down what is said, and where it is.
#[derive(Clone, Debug)]
pub struct TranscriberUpstream {
    /// What is asked of it.
    pub transcriber: TranscriberConfig,
    /// How it is asked.
    pub upstream: UpstreamConfig,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerSettings {
    llm: LlmSettings,
    transcriber: TranscriberSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TranscriberSettings {
    base_url: String,
    api_key: Secret,
    model: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LlmSettings {
    base_url: String,
    api_key: Secret,
    model: String,
    system_prompt: String,
    max_tokens: u64,
    temperature: f64,
}

impl AnswerSettings {
    pub(super) fn check(&self, how: &UpstreamSettings) -> Result<AnswerConfig, ConfigError> {
        Ok(AnswerConfig { llm: self.llm.check(how)?, transcriber: self.transcriber.check(how)? })
    }
}

impl TranscriberSettings {
    fn check(&self, how: &UpstreamSettings) -> Result<Option<TranscriberUpstream>, ConfigError> {
        let key = upstream::key("answer.transcriber.api_key", &self.api_key)?;
        let base = self.base_url.trim();
        if base.is_empty() {
            if key.is_empty() {
                return Ok(None);
            }
            let hint = "answer.transcriber.base_url as well: whom the key is for";
            return Err(bad("answer.transcriber.api_key", "(set)", hint));
        }
        let base = upstream::base("answer.transcriber.base_url", base)?;
        let model = self.model.trim().to_string();
        // It stands in a form.
        if model.is_empty() || model.chars().any(char::is_control) {
            let hint = "a model as the server calls it; its /models lists them";
            return Err(bad("answer.transcriber.model", format!("{model:?}"), hint));
        }
        let upstream = how.upstream("answer.transcriber", base, key)?;
        Ok(Some(TranscriberUpstream { transcriber: TranscriberConfig { model }, upstream }))
    }
}

impl LlmSettings {
    fn check(&self, how: &UpstreamSettings) -> Result<Option<LlmUpstream>, ConfigError> {
        let max_tokens = u32::try_from(self.max_tokens).map_err(|_| {
            bad("answer.llm.max_tokens", self.max_tokens, format!("at most {}", u32::MAX))
        })?;
        if !(0.0..=2.0).contains(&self.temperature) && self.temperature != -1.0 {
            let hint = "between 0 and 2, or -1: as the server has it";
            return Err(bad("answer.llm.temperature", self.temperature, hint));
        }
        let prompt = self.system_prompt.trim();
        if prompt.len() > SYSTEM_PROMPT_BYTES {
            let (key, bytes) = ("answer.llm.system_prompt", prompt.len());
            let hint = format!("at most {SYSTEM_PROMPT_BYTES}");
            return Err(bad(key, format!("a text of {bytes} bytes"), hint));
        }
        let key = upstream::key("answer.llm.api_key", &self.api_key)?;
        let Some(base) = self.base()? else { return Ok(None) };
        let model = self.model.trim().to_string();
        if model.is_empty() {
            let hint = "a model as the server calls it; its /models lists them";
            return Err(bad("answer.llm.model", "(empty)", hint));
        }
        Ok(Some(LlmUpstream {
            upstream: how.upstream("answer.llm", base, key)?,
            llm: LlmConfig {
                model,
                system_prompt: prompt.to_string(),
                max_tokens: (max_tokens > 0).then_some(max_tokens),
                temperature: (self.temperature >= 0.0).then_some(self.temperature),
            },
        }))
    }

    fn base(&self) -> Result<Option<Base>, ConfigError> {
        let (text, model) = (self.base_url.trim(), self.model.trim());
        if !text.is_empty() {
            return upstream::base("answer.llm.base_url", text).map(Some);
        }
        if !model.is_empty() {
            let hint = "answer.llm.base_url as well: the server that has this model";
            return Err(bad("answer.llm.model", model, hint));
        }
        if !self.api_key.is_empty() {
            let hint = "answer.llm.base_url as well: whom the key is for";
            return Err(bad("answer.llm.api_key", "(set)", hint));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Settings};

    fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let flag = |name: &str| {
            let pair = pairs.iter().find(|(key, _)| name.strip_prefix("answer.llm.") == Some(key));
            pair.map(|(_, value)| (*value).to_string())
        };
        let settings = Settings::read(None, |_| None, flag).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
    }

    const MODEL: [(&str, &str); 2] =
        [("base_url", "http://localhost:11434/v1"), ("model", "small")];

    #[test]
    fn nobody_answers_unless_it_is_said_who() {
        assert!(with(&[]).expect("defaults").answer.llm.is_none());
        let LlmUpstream { llm, upstream } =
            with(&MODEL).expect("good").answer.llm.expect("somebody");
        assert_eq!((&*llm.model, llm.max_tokens, llm.temperature), ("small", None, None));
        assert!(llm.system_prompt.contains("read aloud") && upstream.key.is_empty());
        let more = [("max_tokens", "300"), ("temperature", "0"), ("system_prompt", " ")];
        let llm = with(&[&MODEL[..], &more].concat()).expect("good").answer.llm.expect("somebody");
        assert_eq!((llm.llm.max_tokens, llm.llm.temperature), (Some(300), Some(0.0)));
        assert_eq!(llm.llm.system_prompt, "");
    }

    #[test]
    fn a_bad_value_names_its_key_its_value_and_what_would_do() {
        let prompt = "x".repeat(SYSTEM_PROMPT_BYTES + 1);
        for (key, value, shown, hint) in [
            ("base_url", "localhost:11434", "localhost:11434", "begins with http://"),
            ("base_url", "http://169.254.169.254/v1", "169.254.169.254", "metadata"),
            ("base_url", "http://me:canary@host/v1", "…@host/v1", "without user and password"),
            ("model", "", "(empty)", "as the server calls it"),
            ("max_tokens", "4294967296", "4294967296", "at most"),
            ("temperature", "2.5", "2.5", "between 0 and 2, or -1"),
            ("temperature", "-0.5", "-0.5", "between 0 and 2, or -1"),
            ("system_prompt", &prompt, "16385 bytes", "at most 16384"),
            ("api_key", "canary\nX-Evil: 1", "(set)", "without control"),
        ] {
            let error = with(&[&[(key, value)], &MODEL[..]].concat()).expect_err("is bad");
            let named = error.starts_with(&format!("answer.llm.{key} = "));
            assert!(named && error.contains(shown) && error.contains(hint), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        for (pair, said) in [
            (MODEL[1], "answer.llm.model = small: answer.llm.base_url as well"),
            (("api_key", "canary"), "answer.llm.api_key = (set): answer.llm.base_url as well"),
        ] {
            let error = with(&[pair]).expect_err("nowhere");
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn somebody_writes_down_what_is_said_where_it_is_said_who() {
        let with = |pairs: &[(&str, &str)]| {
            let flag = |name: &str| {
                let pair = pairs
                    .iter()
                    .find(|(key, _)| name.strip_prefix("answer.transcriber.") == Some(key));
                pair.map(|(_, value)| (*value).to_string())
            };
            let settings = Settings::read(None, |_| None, flag).expect("read");
            settings.check().map(|config| config.answer.transcriber).map_err(|e| e.to_string())
        };
        assert!(with(&[]).expect("defaults").is_none());
        let base = ("base_url", "http://localhost:8000/v1");
        let found = with(&[base]).expect("good").expect("somebody");
        assert_eq!(found.transcriber.model, "whisper-1");
        for (pairs, said) in [
            (
                vec![("api_key", "canary")],
                "answer.transcriber.api_key = (set): answer.transcriber.base_url as well",
            ),
            (vec![base, ("model", " ")], "answer.transcriber.model = \"\": a model as"),
            (vec![base, ("model", "a\nb")], "answer.transcriber.model = \"a\\nb\": a model as"),
            (vec![("base_url", "localhost")], "answer.transcriber.base_url = localhost: "),
        ] {
            let error = with(&pairs).expect_err("is bad");
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let flag = |name: &str| match name {
            "answer.llm.api_key" => Some("canary".to_string()),
            "answer.llm.base_url" => Some(MODEL[0].1.to_string()),
            "answer.llm.model" => Some(MODEL[1].1.to_string()),
            _ => None,
        };
        let settings = Settings::read(None, |_| None, flag).expect("read");
        let config = settings.check().expect("good");
        let shown = format!("{settings:?} {} {config:?} {}", settings.to_toml(), config.shown);
        assert!(
            !shown.contains("canary") && shown.contains("answer.llm.api_key is set"),
            "{shown}"
        );
    }
}
