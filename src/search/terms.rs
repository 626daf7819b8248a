//! How texts are taken apart into what is compared: words in lower case, without accents, in English reduced to their
//! stems. Invariant: documents and questions are taken apart alike.

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer,
    TextAnalyzer,
};

use crate::limits::WORD_BYTES;

/// Words as they are searched.
pub fn stems() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// Words as they are spelt, for what they begin with.
pub fn spellings() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

/// The terms of `text`.
pub fn of(analyzer: &mut TextAnalyzer, text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    analyzer.token_stream(text).process(&mut |token| terms.push(token.text.clone()));
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_one_term() {
        let mut stems = stems();
        assert_eq!(of(&mut stems, "Éveils RUNNING Runs, run"), ["eveil", "run", "run", "run"]);
        assert_eq!(of(&mut spellings(), "Running"), ["running"]);
        assert!(of(&mut stems, &"x".repeat(WORD_BYTES + 1)).is_empty());
    }
}
