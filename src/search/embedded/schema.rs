//! How a document lies in the index on disk. Invariant: a document that was put in comes out as it was, from one stored field;
//! all other fields are only there to find and to order it.

use tantivy::query::{BooleanQuery, Occur, Query, RangeQuery, TermQuery};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{IndexSettings, TantivyDocument, Term};

use crate::search::{Document, Origin, terms};

/// Words, reduced to their stems.
pub const STEMS: &str = "stems";
/// Words as they are spelt.
pub const SPELLINGS: &str = "spellings";

/// Its fields.
#[derive(Clone, Copy)]
pub struct Fields {
    pub id: Field,
    pub document: Field,
    pub title: Field,
    pub text: Field,
    /// For what words begin with.
    pub title_spelt: Field,
    pub text_spelt: Field,
    pub kind: Field,
    pub tag: Field,
    pub creator: Field,
    pub has_audio: Field,
    pub created_ms: Field,
    pub tie: Field,
    pub origin: Field,
    pub pass: Field,
}

/// The names of the fields by which hits are ordered.
pub const CREATED_MS: &str = "created_ms";
/// See [`Document::tie`].
pub const TIE: &str = "tie";

/// The schema, and its fields.
pub fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = |tokenizer, option| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer);
        TextOptions::default().set_indexing_options(indexing.set_index_option(option))
    };
    let stems = words(STEMS, IndexRecordOption::WithFreqsAndPositions);
    let spelt = words(SPELLINGS, IndexRecordOption::Basic);
    let fields = Fields {
        id: schema.add_text_field("id", STRING),
        document: schema.add_bytes_field("document", STORED),
        title: schema.add_text_field("title", stems.clone()),
        text: schema.add_text_field("text", stems),
        title_spelt: schema.add_text_field("title_spelt", spelt.clone()),
        text_spelt: schema.add_text_field("text_spelt", spelt),
        kind: schema.add_text_field("type", STRING),
        tag: schema.add_text_field("tag", STRING),
        creator: schema.add_text_field("creator", STRING),
        has_audio: schema.add_bool_field("has_audio", INDEXED),
        created_ms: schema.add_i64_field(CREATED_MS, FAST | INDEXED),
        tie: schema.add_i64_field(TIE, FAST),
        origin: schema.add_text_field("origin", STRING),
        pass: schema.add_u64_field("pass", FAST | INDEXED),
    };
    (schema.build(), fields)
}

/// Documents are packed by the thread that writes them, not by one of their own.
pub fn settings() -> IndexSettings {
    IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() }
}

/// Those that the schema names.
pub fn tokenizers() -> TokenizerManager {
    let tokenizers = TokenizerManager::default();
    tokenizers.register(STEMS, terms::stems());
    tokenizers.register(SPELLINGS, terms::spellings());
    tokenizers
}

impl Fields {
    /// By which the document `id` is found.
    pub fn id_term(&self, id: &str) -> Term {
        Term::from_field_text(self.id, id)
    }

    /// `document`, as it lies in the index.
    pub fn row(&self, document: &Document, origin: Origin) -> TantivyDocument {
        let mut row = TantivyDocument::new();
        let json = serde_json::to_vec(document).unwrap_or_default();
        row.add_bytes(self.document, &json);
        row.add_text(self.id, &document.id);
        for field in [self.title, self.title_spelt] {
            row.add_text(field, &document.title);
        }
        for field in [self.text, self.text_spelt] {
            row.add_text(field, &document.text);
        }
        row.add_text(self.kind, &document.kind);
        document.tags.iter().for_each(|tag| row.add_text(self.tag, tag));
        document.creator.iter().for_each(|creator| row.add_text(self.creator, creator));
        row.add_bool(self.has_audio, document.has_audio);
        row.add_i64(self.created_ms, document.created_ms());
        row.add_i64(self.tie, document.tie());
        row.add_text(self.origin, origin.name());
        row.add_u64(self.pass, origin.pass());
        row
    }

    /// The source's records of earlier passes than `pass`.
    pub fn passes_before(&self, pass: u64) -> Box<dyn Query> {
        let origin = Term::from_field_text(self.origin, Origin::Source(0).name());
        let origin: Box<dyn Query> = Box::new(TermQuery::new(origin, IndexRecordOption::Basic));
        let before = std::ops::Bound::Excluded(Term::from_field_u64(self.pass, pass));
        let before: Box<dyn Query> = Box::new(RangeQuery::new(std::ops::Bound::Unbounded, before));
        Box::new(BooleanQuery::new(vec![(Occur::Must, origin), (Occur::Must, before)]))
    }
}
