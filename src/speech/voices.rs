//! The voices of an engine and how they are named. Invariant: a name that a client may send leads to
//! one voice or to none; nothing that a client sends reaches an engine's library unchecked.

use serde::{Deserialize, Serialize};

/// OpenAI's names, each a distinct espeak variant, so that its clients pass unchanged.
pub const OPENAI_NAMES: [(&str, &str); 13] = [
    ("alloy", "f2"),
    ("ash", "m1"),
    ("ballad", "m2"),
    ("cedar", "m8"),
    ("coral", "f1"),
    ("echo", "m3"),
    ("fable", "m4"),
    ("marin", "f5"),
    ("nova", "f3"),
    ("onyx", "m7"),
    ("sage", "f4"),
    ("shimmer", "f5"),
    ("verse", "m6"),
];

/// The language in which OpenAI's names speak.
const OPENAI_LANGUAGE: &str = "en-us";
/// Names shown when a voice is not known.
const EXAMPLES: usize = 8;

/// One voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// What clients send: a language tag, with `+variant` where the engine has variants.
    pub id: String,
    /// For people.
    pub name: String,
    /// BCP 47 tag.
    pub language: String,
    /// `male` or `female`, where the engine says so.
    pub gender: Option<String>,
    /// What the engine itself calls it.
    pub engine_name: String,
}

/// The voices of one engine, as it said them when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voices {
    /// Spoken when nothing is asked for; an index into `all`.
    pub default: usize,
    /// Sorted by id.
    pub all: Vec<Voice>,
    /// Timbres that can be added to any voice as `id+variant`.
    pub variants: Vec<String>,
}

impl Voices {
    /// The voice that speaks when none is named.
    pub fn default_voice(&self) -> Voice {
        self.all.get(self.default).cloned().unwrap_or_else(|| Voice {
            id: "default".into(),
            name: "Default".into(),
            language: "en".into(),
            gender: None,
            engine_name: String::new(),
        })
    }

    /// The voice that a client's `name` means: an id, an id with a variant, or one of OpenAI's.
    pub fn find(&self, name: &str) -> Option<Voice> {
        let name = name.trim().to_ascii_lowercase().replace('_', "-");
        if let Some(voice) = self.plain(&name) {
            return Some(voice.clone());
        }
        if let Some((alias, variant)) = OPENAI_NAMES.iter().find(|(alias, _)| *alias == name) {
            // An engine without variants speaks them all with its default voice.
            let voice = self.plain(OPENAI_LANGUAGE).map(|base| base.with_variant(variant));
            let voice = voice.filter(|_| self.has_variant(variant));
            let voice = voice.unwrap_or_else(|| self.default_voice());
            return Some(Voice { id: (*alias).into(), ..voice });
        }
        match name.split_once('+') {
            None => self.of_language(&name).cloned(),
            Some((base, variant)) => {
                let variant = self.variants.iter().find(|v| v.eq_ignore_ascii_case(variant))?;
                let base = self.plain(base).or_else(|| self.of_language(base))?;
                Some(base.with_variant(variant))
            }
        }
    }

    /// Every voice that can be asked for by a name of its own, OpenAI's names first.
    pub fn listed(&self) -> Vec<Voice> {
        let aliases = OPENAI_NAMES.iter().filter_map(|(alias, variant)| {
            let voice = self.find(alias).filter(|_| self.has_variant(variant))?;
            let name = alias[..1].to_uppercase() + &alias[1..];
            Some(Voice { name, ..voice })
        });
        aliases.chain(self.all.iter().cloned()).collect()
    }

    /// A few names that would do, for an error message.
    pub fn examples(&self) -> Vec<String> {
        let english = self.all.iter().filter(|voice| voice.language.starts_with("en"));
        let mut names: Vec<String> = english.map(|voice| voice.id.clone()).collect();
        names.truncate(EXAMPLES / 2);
        names.extend(OPENAI_NAMES.iter().map(|(alias, _)| (*alias).into()));
        names.truncate(EXAMPLES);
        names.push("… (see GET /v1/audio/voices)".into());
        names
    }

    fn plain(&self, id: &str) -> Option<&Voice> {
        self.all
            .iter()
            .find(|voice| voice.id.len() == id.len() && settled(&voice.id).eq(id.bytes()))
    }

    /// A voice for a language that no id names alone: `fr` is `fr-fr`, and `zh` Mandarin.
    fn of_language(&self, tag: &str) -> Option<&Voice> {
        let tag = match tag {
            "zh" | "zh-cn" | "zh-hans" => "cmn",
            "no" => "nb",
            other => other,
        };
        let speaks =
            |voice: &&Voice| voice.language.split('-').next() == Some(tag) || voice.language == tag;
        let default = self.all.get(self.default).filter(speaks);
        default.or_else(|| self.all.iter().find(speaks)).filter(|_| !tag.is_empty())
    }

    fn has_variant(&self, variant: &str) -> bool {
        self.variants.iter().any(|known| known == variant)
    }
}

impl Voice {
    fn with_variant(&self, variant: &str) -> Voice {
        Voice {
            id: format!("{}+{variant}", self.id),
            name: format!("{} ({variant})", self.name),
            engine_name: format!("{}+{variant}", self.engine_name),
            gender: gender_of(variant).or_else(|| self.gender.clone()),
            ..self.clone()
        }
    }
}

/// A name as it is compared: language tags are written in either way.
fn settled(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|b| if b == b'_' { b'-' } else { b.to_ascii_lowercase() })
}

/// espeak's numbered variants are f1, f2, … and m1, m2, …; the others have names.
fn gender_of(variant: &str) -> Option<String> {
    let numbered = variant.len() == 2 && variant.ends_with(|c: char| c.is_ascii_digit());
    match variant.chars().next().filter(|_| numbered) {
        Some('f') => Some("female".into()),
        Some('m') => Some("male".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voices() -> Voices {
        let voice = |id: &str| Voice {
            id: id.into(),
            name: id.into(),
            language: id.into(),
            gender: None,
            engine_name: format!("gmw/{id}"),
        };
        let all = vec![voice("de"), voice("en-gb"), voice("en-us")];
        Voices { default: 1, all, variants: vec!["f2".into(), "Andy".into()] }
    }

    #[test]
    fn ids_variants_and_openai_names_lead_to_a_voice() {
        let voices = voices();
        let engine_name = |name| voices.find(name).map(|voice| voice.engine_name);
        assert_eq!(engine_name("de").as_deref(), Some("gmw/de"));
        assert_eq!(engine_name(" EN_US ").as_deref(), Some("gmw/en-us"));
        assert_eq!(engine_name("de+andy").as_deref(), Some("gmw/de+Andy"));
        assert_eq!(engine_name("alloy").as_deref(), Some("gmw/en-us+f2"));
        let alloy = voices.find("alloy").expect("an alias");
        assert_eq!((alloy.id.as_str(), alloy.gender.as_deref()), ("alloy", Some("female")));
        // A variant that this engine lacks still speaks.
        assert_eq!(engine_name("nova").as_deref(), Some("gmw/en-gb"));
    }

    #[test]
    fn anything_else_leads_nowhere() {
        assert_eq!(voices().find("en").map(|voice| voice.id).as_deref(), Some("en-gb"));
        for name in ["", "klingon", "de+nope", "+f2", "de+../../etc", "gmw/de", "de\0", "d e"] {
            assert_eq!(voices().find(name), None, "{name:?}");
        }
    }
}
