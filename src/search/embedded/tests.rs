//! The index on disk, beside a plain look at every document.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::ledger::{Kind, Ledger};
use crate::search::query::{self, ClauseKind, Filters};
use crate::search::{Change, Origin, Question, Within, Words};
use crate::tasks::Scope;

/// The same each time, and without a crate of its own.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 8] = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "fig"];
        // Some are rare, since rare words are the ones that lead a search.
        WORDS[(self.roll(8) * self.roll(8) / 8) as usize]
    }

    fn text(&mut self, most: u64) -> String {
        let words: Vec<_> = (0..=self.roll(most)).map(|_| self.word()).collect();
        words.join(" ")
    }
}

fn wish(question: Question) -> Wish {
    Wish {
        question,
        within: Within::All,
        limit: 100,
        after: None,
        is_paged: true,
        wants_text: true,
    }
}

/// Whether `document` is what `question` asks for, as one would explain it.
fn fits(question: &Question, document: &Document) -> bool {
    let has = |text: &str, clause: &query::Clause| match clause.kind {
        ClauseKind::Word => text.split(' ').any(|word| word == clause.text),
        ClauseKind::Phrase => format!(" {text} ").contains(&format!(" {} ", clause.text)),
        ClauseKind::Prefix => text.split(' ').any(|word| word.starts_with(&clause.text)),
    };
    let there =
        |clause: &query::Clause| has(&document.title, clause) || has(&document.text, clause);
    let words = &question.words;
    let excluded = words.clauses.iter().any(|clause| clause.excluded && there(clause));
    let phrase = |clause: &&query::Clause| clause.kind == ClauseKind::Phrase;
    let phrases = words.wanted().filter(phrase).all(there);
    let count = words.wanted().filter(|clause| !phrase(clause) && there(clause)).count();
    let tags = question.filters.tags.iter().all(|tag| document.tags.contains(tag));
    !excluded && phrases && count >= words.least() && tags
}

fn some_documents(dice: &mut Dice, count: usize) -> Vec<Document> {
    let document = |number| {
        let made = Document {
            id: format!("{number}"),
            kind: "tree".into(),
            title: dice.text(2),
            text: dice.text(9),
            tags: vec![format!("tag{}", dice.roll(40))],
            created_at: format!("2026-01-{:02}T00:00:00Z", 1 + dice.roll(20)),
            ..Document::default()
        };
        made.checked().expect("good")
    };
    (0..count).map(document).collect()
}

fn some_question(dice: &mut Dice) -> Question {
    let clause = |dice: &mut Dice| {
        let sign = if dice.roll(5) == 0 { "-" } else { "" };
        match dice.roll(6) {
            0 => format!("{sign}\"{} {}\"", dice.word(), dice.word()),
            1 => format!("{sign}{}*", &dice.word()[..1]),
            _ => format!("{sign}{}", dice.word()),
        }
    };
    let text: Vec<_> = (0..=dice.roll(4)).map(|_| clause(dice)).collect();
    let mut filters = Filters::default();
    if dice.roll(2) == 0 {
        filters.tags.push(format!("tag{}", dice.roll(40)));
    }
    let sort = [Sort::Relevance, Sort::Newest, Sort::Oldest][dice.roll(3) as usize];
    Question { words: Words::parse(&text.join(" ")).expect("short"), filters, sort }
}

async fn write(index: &Embedded, documents: &[Document]) {
    let changes =
        documents.iter().map(|document| Change::Put(Box::new(document.clone()), Origin::Put));
    let batch = Batch { changes: changes.collect(), checkpoint: None, is_visible: true };
    let outcomes = index.write(batch, &Asker::server("test")).await.expect("written");
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Indexed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_is_what_a_look_at_every_document_finds() {
    let (folder, scope) =
        (tempfile::tempdir().expect("a folder"), Scope::new("test", Ledger::new()));
    let index = Embedded::start(folder.path(), scope.spawner()).await.expect("opened");
    let mut dice = Dice(7);
    // More than the unions of the library look at in one go, in segments of several sizes.
    let documents = some_documents(&mut dice, 9_000);
    for part in [&documents[..6_000], &documents[6_000..8_999], &documents[8_999..]] {
        write(&index, part).await;
    }
    for _ in 0..150 {
        let question = some_question(&mut dice);
        let fitting: BTreeSet<_> = documents
            .iter()
            .filter(|document| fits(&question, document))
            .map(|document| document.id.clone())
            .collect();
        let mut asking = wish(question.clone());
        let mut seen = BTreeSet::new();
        // The first pages will do where there are many.
        for _ in 0..5 {
            let found = index.find(&asking, &Asker::server("test")).await.expect("found");
            assert_eq!(found.total, fitting.len() as u64, "{question:?}");
            for hit in found.hits {
                assert!(fits(&question, &hit.document), "{question:?}: {:?}", hit.document);
                assert!(seen.insert(hit.document.id), "{question:?}: twice");
            }
            asking.after = found.next;
            if asking.after.is_none() {
                assert_eq!(seen, fitting, "{question:?}");
                break;
            }
        }
    }
    drop(index);
    scope.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_and_its_documents_are_there_together_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let asker = Asker::server("test");
    let mut dice = Dice(1);
    let documents = some_documents(&mut dice, 10);
    {
        let scope = Scope::new("test", Ledger::new());
        let index = Embedded::start(folder.path(), scope.spawner()).await.expect("opened");
        assert_eq!(index.checkpoint(&asker).await, Ok(None));
        let changes = documents.iter().map(|d| Change::Put(Box::new(d.clone()), Origin::Source(3)));
        let batch = Batch {
            changes: changes.collect(),
            checkpoint: Some("here".into()),
            is_visible: false,
        };
        index.write(batch, &asker).await.expect("written");
        // What is written without one leaves it as it is.
        write(&index, &documents[..1]).await;
        scope.stop(Duration::ZERO).await;
    }
    let scope = Scope::new("test", Ledger::new());
    let index = Embedded::start(folder.path(), scope.spawner()).await.expect("opened again");
    assert_eq!(index.checkpoint(&asker).await, Ok(Some("here".into())));
    let found = index.find(&wish(Question::default()), &asker).await.expect("found");
    assert_eq!(found.total, 10);
    assert_eq!(index.document("7", &asker).await, Ok(Some(documents[7].clone())));
    // Only what came of the source, and of earlier passes over it, is forgotten.
    assert_eq!(index.forget(3, &asker).await, Ok(0));
    assert_eq!(index.forget(4, &asker).await, Ok(9));
    let left = index.find(&wish(Question::default()), &asker).await.expect("found");
    assert_eq!((left.total, &left.hits[0].document), (1, &documents[0]));
    scope.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_may_have_it_open_and_one_writes_at_a_time() {
    let (folder, ledger) = (tempfile::tempdir().expect("a folder"), Ledger::new());
    let scope = Scope::new("test", ledger.clone());
    let one = Embedded::start(folder.path(), scope.spawner()).await.expect("opened");
    let other = Embedded::start(folder.path(), scope.spawner()).await.expect("opened");
    let asker = Asker::server("test");
    let documents = some_documents(&mut Dice(2), 2);
    write(&one, &documents[..1]).await;
    assert_eq!(ledger.live(Kind::IndexWriter), 1);
    let change = Change::Put(Box::new(documents[1].clone()), Origin::Put);
    let batch = Batch { changes: vec![change], ..Batch::default() };
    // It is waited for, and let go of when nobody has written for a while.
    assert_eq!(other.write(batch, &asker).await, Ok(vec![Outcome::Indexed]));
    assert_eq!(ledger.live(Kind::IndexWriter), 1);
    let began = Instant::now();
    while one.find(&wish(Question::default()), &asker).await.expect("found").total < 2 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "what another process wrote is not seen"
        );
        tokio::task::yield_now().await;
    }
    scope.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_has_lost_its_list_is_refused_and_not_begun_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let scope = Scope::new("test", Ledger::new());
    let index = Embedded::start(folder.path(), scope.spawner()).await.expect("opened");
    write(&index, &some_documents(&mut Dice(3), 5)).await;
    let list = index.folder().join("meta.json");
    drop(index);
    scope.stop(Duration::ZERO).await;
    let kept = std::fs::read(&list).expect("there");
    std::fs::remove_file(&list).expect("removed");
    let scope = Scope::new("test", Ledger::new());
    let refused = Embedded::start(folder.path(), scope.spawner()).await.err();
    assert!(refused.is_some_and(|error| error.to_string().contains("meta.json is missing")));
    std::fs::write(&list, kept).expect("brought back");
    let index = Embedded::start(folder.path(), scope.spawner()).await.expect("opened");
    let found =
        index.find(&wish(Question::default()), &Asker::server("test")).await.expect("found");
    assert_eq!(found.total, 5);
    scope.stop(Duration::ZERO).await;
}
