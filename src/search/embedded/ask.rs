//! A question, as the index on disk is asked it. Invariant: it asks the same as a search engine is asked by
//! `search::elastic::ask`, field by field and weight by weight.

use std::ops::Bound;

use tantivy::Term;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, EmptyQuery,
    FuzzyTermQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::tokenizer::TextAnalyzer;

use super::schema::Fields;
use super::steady::Steady;
use crate::search::query::{Clause, ClauseKind, Filters};
use crate::search::{Wish, Within, terms};

/// What stands in a title counts so many times.
pub const TITLE_BOOST: f32 = 3.0;
/// What the field that fits less adds to the one that fits best.
pub const TIE_BREAKER: f32 = 0.3;

type Part = (Occur, Box<dyn Query>);

/// What `wish` asks of the index.
pub fn query(fields: &Fields, wish: &Wish) -> BooleanQuery {
    let words = &wish.question.words;
    let mut asking =
        Asking { fields, within: wish.within, stems: terms::stems(), spelt: terms::spellings() };
    let mut parts: Vec<Part> = Vec::new();
    let mut some: Vec<Part> = Vec::new();
    for clause in &words.clauses {
        let query = asking.clause(clause);
        match clause {
            clause if clause.excluded => parts.push((Occur::MustNot, query)),
            Clause { kind: ClauseKind::Phrase, .. } if !words.any => {
                parts.push((Occur::Must, query));
            }
            _ => some.push((Occur::Should, query)),
        }
    }
    if !some.is_empty() {
        let mut some = BooleanQuery::new(some);
        some.set_minimum_number_should_match(words.least().max(1));
        parts.push((Occur::Must, Steady::boxed(some)));
    }
    if words.is_empty() {
        parts.push((Occur::Must, Box::new(AllQuery)));
    }
    parts.extend(filters(fields, &wish.question.filters));
    BooleanQuery::new(parts)
}

struct Asking<'a> {
    fields: &'a Fields,
    within: Within,
    stems: TextAnalyzer,
    spelt: TextAnalyzer,
}

impl Asking<'_> {
    fn clause(&mut self, clause: &Clause) -> Box<dyn Query> {
        let Fields { title, text, title_spelt, text_spelt, .. } = *self.fields;
        match clause.kind {
            ClauseKind::Word | ClauseKind::Phrase => {
                let terms = terms::of(&mut self.stems, &clause.text);
                self.either(|field| in_order(field, &terms), title, text)
            }
            ClauseKind::Prefix => {
                // What is typed may be whole already: then its other forms are meant as well.
                let spelt = terms::of(&mut self.spelt, &clause.text);
                let whole = terms::of(&mut self.stems, &clause.text);
                let begins = self.either(|field| beginning(field, &spelt), title_spelt, text_spelt);
                let is = self.either(|field| in_order(field, &whole), title, text);
                Steady::boxed(DisjunctionMaxQuery::with_tie_breaker(vec![begins, is], 0.0))
            }
        }
    }

    /// In the title, where it counts more, or in the text.
    fn either(
        &self,
        query: impl Fn(Field) -> Box<dyn Query>,
        title: Field,
        text: Field,
    ) -> Box<dyn Query> {
        let in_title = Box::new(BoostQuery::new(query(title), TITLE_BOOST));
        match self.within {
            Within::Titles => in_title,
            Within::All => Steady::boxed(DisjunctionMaxQuery::with_tie_breaker(
                vec![in_title, query(text)],
                TIE_BREAKER,
            )),
        }
    }
}

fn in_order(field: Field, terms: &[String]) -> Box<dyn Query> {
    let term = |text: &String| Term::from_field_text(field, text);
    match terms {
        [] => Box::new(EmptyQuery),
        [one] => Box::new(TermQuery::new(term(one), IndexRecordOption::WithFreqs)),
        more => Steady::boxed(PhraseQuery::new(more.iter().map(term).collect())),
    }
}

/// Words that begin so; of something like `re-ind*`, with all that stands before.
fn beginning(field: Field, spelt: &[String]) -> Box<dyn Query> {
    let Some((last, before)) = spelt.split_last() else { return Box::new(EmptyQuery) };
    let term = |text: &String| Term::from_field_text(field, text);
    let begins = FuzzyTermQuery::new_prefix(term(last), 0, false);
    let begins: Box<dyn Query> = Box::new(ConstScoreQuery::new(Box::new(begins), 1.0));
    let mut parts = vec![(Occur::Must, begins)];
    for text in before {
        let there: Box<dyn Query> = Box::new(TermQuery::new(term(text), IndexRecordOption::Basic));
        let there: Box<dyn Query> = Box::new(ConstScoreQuery::new(there, 0.0));
        parts.push((Occur::Must, there));
    }
    Steady::boxed(BooleanQuery::new(parts))
}

/// None of them counts for relevance.
fn filters(fields: &Fields, filters: &Filters) -> Vec<Part> {
    let mut all: Vec<Box<dyn Query>> = Vec::new();
    let mut exactly = |term| all.push(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
    filters.kind.iter().for_each(|kind| exactly(Term::from_field_text(fields.kind, kind)));
    filters.tags.iter().for_each(|tag| exactly(Term::from_field_text(fields.tag, tag)));
    let creator = filters.creator.iter();
    creator.for_each(|creator| exactly(Term::from_field_text(fields.creator, creator)));
    let audio = filters.has_audio.iter();
    audio.for_each(|audio| exactly(Term::from_field_bool(fields.has_audio, *audio)));
    if filters.from_ms.is_some() || filters.to_ms.is_some() {
        let bound = |ms: Option<i64>| match ms {
            Some(ms) => Bound::Included(Term::from_field_i64(fields.created_ms, ms)),
            None => Bound::Unbounded,
        };
        all.push(Box::new(RangeQuery::new(bound(filters.from_ms), bound(filters.to_ms))));
    }
    let silent = |query| -> Part { (Occur::Must, Box::new(ConstScoreQuery::new(query, 0.0))) };
    all.into_iter().map(silent).collect()
}
