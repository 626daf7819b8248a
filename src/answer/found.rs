//! Answers from what was found: the sentences of a document that say most of what was asked, and whose they are. Invariant:
//! nothing is said that does not stand in a document that is named; where nothing fits, that is what is said. Only small
//! talk, which asks of no document, is answered without one, and nothing is looked up for it.

mod small_talk;

use futures_util::{StreamExt, stream};
use unicode_segmentation::UnicodeSegmentation;

use super::{AnswerError, End, Finish, Piece, Pieces, Question, Responder};
use crate::limits::{FOUND_CHARS, FOUND_HITS, QUERY_CHARS, QUERY_WORDS};
use crate::search::query::{Clause, ClauseKind};
use crate::search::snippet::Finder;
use crate::search::{self, Asker, Filters, Hit, Search, SearchError, Sort, Wish, Within, Words};

/// What it is called.
pub const NAME: &str = "found";
/// Where nothing fits.
const NOTHING: &str = "I found nothing about that.";
/// Words that say how something is asked, and not what.
const ASKING: &str = "a about an and any are as at be been by can could did do does for from give had has have how i \
    if in into is it its list made make me my name of on or please say should show tell than that the their them \
    there these they this those to us want was we were what when where which who whom whose why will with would you \
    your";

/// Answers from an index. Clones share it.
#[derive(Clone)]
pub struct Found {
    search: Search,
}

/// An answer, and what it is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// To be spoken: a few sentences, the last of which names the source where there is one.
    pub text: String,
    /// The documents that were looked at, the one that answers first; none where none does.
    pub sources: Vec<Hit>,
}

impl Found {
    /// From what `search` finds.
    pub fn new(search: Search) -> Self {
        Self { search }
    }

    /// The answer to `question`.
    pub async fn reply(&self, question: &Question) -> Result<Reply, SearchError> {
        let unsourced = |text: &str| Reply { text: text.into(), sources: Vec::new() };
        if let Some(answer) = small_talk::answer(&question.text) {
            return Ok(unsourced(answer));
        }
        let words = words(&question.text);
        let nothing = || unsourced(NOTHING);
        if words.is_empty() {
            return Ok(nothing());
        }
        let (filters, sort) = (Filters::default(), Sort::Relevance);
        let wish = Wish {
            question: search::Question { words: words.clone(), filters, sort },
            within: Within::All,
            limit: FOUND_HITS,
            after: None,
            is_paged: false,
            wants_text: true,
        };
        let departure = Some(question.departure.clone());
        let asker = Asker { owner: question.owner.clone(), departure };
        let hits = self.search.index().find(&wish, &asker).await?.hits;
        Ok(reply(&words, hits).unwrap_or_else(nothing))
    }
}

impl Responder for Found {
    fn name(&self) -> &'static str {
        NAME
    }

    fn answer(&self, question: Question) -> Pieces {
        let this = self.clone();
        let reply = async move { this.reply(&question).await };
        let pieces = stream::once(reply).flat_map(|reply| {
            let end = End { finish: Finish::Stop, usage: None };
            stream::iter(match reply {
                Ok(Reply { text, sources }) => {
                    let mut pieces = Vec::with_capacity(3);
                    pieces.extend((!sources.is_empty()).then_some(Ok(Piece::Sources(sources))));
                    pieces.extend([Ok(Piece::Text(text)), Ok(Piece::End(end))]);
                    pieces
                }
                Err(error) => vec![Err(AnswerError::Search(error))],
            })
        });
        Box::pin(pieces)
    }
}

/// What is looked for, of a question in a person's own words.
fn words(text: &str) -> Words {
    let short: String = text.chars().take(QUERY_CHARS).collect();
    let all: Vec<&str> = short.unicode_words().take(QUERY_WORDS).collect();
    let asks =
        |word: &&&str| ASKING.split_whitespace().any(|asking| word.eq_ignore_ascii_case(asking));
    let mut wanted: Vec<_> = all.iter().filter(|word| !asks(word)).collect();
    if wanted.is_empty() {
        wanted = all.iter().collect();
    }
    let clause = |word: &&&str| Clause {
        text: (**word).to_string(),
        kind: ClauseKind::Word,
        excluded: false,
    };
    Words { clauses: wanted.iter().map(clause).collect(), any: true }
}

/// The answer that the best of `hits` gives, if it says at least half of what was asked.
fn reply(words: &Words, mut hits: Vec<Hit>) -> Option<Reply> {
    let mut finder = Finder::new(words.wanted());
    let mut says = |hit: &Hit| {
        let document = &hit.document;
        finder.terms_in(&format!("{} {}", document.title, document.text))
    };
    // Hits come in the order of their scores; of those that say as much the first stays first.
    let scores: Vec<usize> = hits.iter().map(&mut says).collect();
    let most = *scores.iter().max()?;
    if most * 2 < words.clauses.len() {
        return None;
    }
    let best = scores.iter().position(|score| *score == most)?;
    hits[..=best].rotate_right(1);
    let document = &hits.first()?.document;
    let said = passage(&mut finder, &document.text);
    let by = document.creator.as_deref().map(|creator| format!(" by {creator}"));
    let source = format!("{}{}", document.title, by.unwrap_or_default());
    let text = match said.is_empty() {
        true => format!("There is something about that: {source}."),
        false => format!("{said} That is from {source}."),
    };
    Some(Reply { text, sources: hits })
}

/// The sentence of `text` that says most, and those behind it as far as there is room.
fn passage(finder: &mut Finder, text: &str) -> String {
    let sentences: Vec<String> =
        text.lines().flat_map(str::unicode_sentences).map(tidy).filter(|s| is_spoken(s)).collect();
    let scores: Vec<usize> = sentences.iter().map(|sentence| finder.terms_in(sentence)).collect();
    let Some(most) = scores.iter().max() else { return String::new() };
    let first = scores.iter().position(|score| score == most).unwrap_or(0);
    let mut passage = String::new();
    for sentence in &sentences[first..] {
        let room = FOUND_CHARS.saturating_sub(passage.chars().count());
        if sentence.chars().count() > room {
            if passage.is_empty() {
                let cut: String = sentence.chars().take(room).collect();
                let whole = cut.rsplit_once(' ').map_or(&*cut, |(whole, _)| whole);
                passage = format!("{whole} …");
            }
            break;
        }
        if !passage.is_empty() {
            passage.push(' ');
        }
        passage += sentence;
    }
    passage
}

fn tidy(sentence: &str) -> String {
    let words: Vec<_> = sentence.split_whitespace().collect();
    let mut tidy = words.join(" ");
    // A heading, or the end of a line, is an end as well.
    if tidy.ends_with(char::is_alphanumeric) {
        tidy.push('.');
    }
    tidy
}

/// Whether it is a sentence that a person would say, and not a row of a table, an item or a line of a program.
fn is_spoken(sentence: &str) -> bool {
    const UNSPOKEN: [&str; 10] = ["::", "--", "/", "=", "{", "}", "_", "$", "\\", "<"];
    let begins = sentence.chars().next().is_some_and(|c| c.is_uppercase() || !c.is_ascii());
    let words = sentence.unicode_words().count();
    let letters = sentence.chars().filter(|c| c.is_alphabetic() || c.is_whitespace()).count();
    begins
        && words >= 4
        && letters * 10 >= sentence.chars().count() * 8
        && !UNSPOKEN.iter().any(|mark| sentence.contains(mark))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, ready};

    use super::*;
    use crate::answer::History;
    use crate::ledger::Departure;
    use crate::search::{Batch, Document, Found as Hits, Health, Index, Outcome, Signer};

    /// An index that is down, and counts how often it is asked all the same.
    #[derive(Default)]
    struct Down(AtomicUsize);

    impl Down {
        fn refuse<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, SearchError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            ready(Err(SearchError::Unavailable("it is down".into()))).boxed()
        }
    }

    type Asked<'a, T> = BoxFuture<'a, Result<T, SearchError>>;

    impl Index for Down {
        fn name(&self) -> &'static str {
            "down"
        }

        fn find<'a>(&'a self, _: &'a Wish, _: &'a Asker) -> Asked<'a, Hits> {
            self.refuse()
        }

        fn document<'a>(&'a self, _: &'a str, _: &'a Asker) -> Asked<'a, Option<Document>> {
            self.refuse()
        }

        fn write<'a>(&'a self, _: Batch, _: &'a Asker) -> Asked<'a, Vec<Outcome>> {
            self.refuse()
        }

        fn checkpoint<'a>(&'a self, _: &'a Asker) -> Asked<'a, Option<String>> {
            self.refuse()
        }

        fn forget<'a>(&'a self, _: u64, _: &'a Asker) -> Asked<'a, u64> {
            self.refuse()
        }

        fn health(&self) -> Health {
            Health::Unavailable("it is down".into())
        }
    }

    #[tokio::test]
    async fn small_talk_is_answered_also_where_nothing_can_be_looked_up() {
        let index = Arc::new(Down::default());
        let found = Found::new(Search::new(
            index.clone(),
            Signer::new(crate::bounds::signing::SigningKey::new([0; 32])),
        ));
        let ask = async |text: &str| -> Vec<Result<Piece, AnswerError>> {
            let question = Question::new(text, History::default(), "me", Departure::default());
            found.answer(question.expect("a question")).collect().await
        };
        let said = "Good evening. Ask me something, and I will look for it in my documents.";
        let end = End { finish: Finish::Stop, usage: None };
        let told = [Ok(Piece::Text(said.into())), Ok(Piece::End(end))];
        assert_eq!(ask("Good evening, Evensong!").await, told, "a text, and no sources");
        assert_eq!(index.0.load(Ordering::Relaxed), 0, "nothing is looked up");
        let pieces = ask("What was said on a good evening?").await;
        assert!(matches!(&pieces[..], [Err(AnswerError::Search(_))]), "{pieces:?}");
        assert_eq!(index.0.load(Ordering::Relaxed), 1);
    }

    fn hit(title: &str, text: &str, creator: Option<&str>) -> Hit {
        let (id, creator) = (title.to_string(), creator.map(ToString::to_string));
        let document =
            Document { id, title: title.into(), text: text.into(), creator, ..Document::default() };
        Hit { document, score: Some(1.0), snippet: String::new() }
    }

    #[test]
    fn what_is_looked_for_is_what_is_asked_about() {
        let looked = |text: &str| -> Vec<String> {
            words(text).clauses.into_iter().map(|clause| clause.text).collect()
        };
        assert_eq!(looked("What is the ring of a stream?"), ["ring", "stream"]);
        assert_eq!(looked("Who are you?"), ["Who", "are", "you"]);
        assert!(looked(" ?! ").is_empty());
        assert_eq!(
            words(&"word ".repeat(5000)).clauses.len(),
            QUERY_CHARS.div_ceil(5).min(QUERY_WORDS)
        );
    }

    #[test]
    fn the_best_sentence_is_said_with_its_source() {
        let text = "A stream has a ring. The ring is a queue of pages, and each page is counted. It is freed at once.\n\
                    | 4 | 8 | 15 | 16 |\nlet x = y(&z[0]);\nNothing else matters here.";
        let hits = vec![
            hit(
                "Streams",
                "Streams are made of audio, and nothing is said of the other thing.",
                None,
            ),
            hit("The ring", text, Some("Evensong")),
        ];
        let reply =
            reply(&words("How are the pages of the ring counted?"), hits).expect("an answer");
        assert_eq!(
            reply.text,
            "The ring is a queue of pages, and each page is counted. It is freed at once. Nothing else matters here. \
             That is from The ring by Evensong."
        );
        assert_eq!(reply.sources[0].document.title, "The ring");
        assert_eq!(reply.sources.len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_not_said() {
        assert_eq!(
            reply(
                &words("mountains of the moon today"),
                vec![hit("Sun", "The sun is up today.", None)]
            ),
            None
        );
        assert_eq!(reply(&words("moon"), Vec::new()), None);
        let only_title = reply(&words("moon"), vec![hit("The moon", "", None)]).expect("an answer");
        assert_eq!(only_title.text, "There is something about that: The moon.");
        let long = format!("The moon {}is far away.", "and the moon ".repeat(200));
        let long = reply(&words("moon"), vec![hit("Moon", &long, None)]).expect("an answer");
        assert!(
            long.text.chars().count() < FOUND_CHARS + 40
                && long.text.contains(" … That is from Moon.")
        );
    }
}
