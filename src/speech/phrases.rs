//! Speech that is made once: short phrases kept by weight, and one synthesis for equal requests at
//! the same time. Invariants: nothing crosses from one principal to another, since the principal is
//! part of the key; what is kept has its own reservation, which goes back when its last reader has
//! dropped it, evicted or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use moka::sync::Cache;

use super::encode::Format;
use super::passing::Failure;
use crate::bounds::{Budget, Reservation, log};
use crate::ledger::{Entry, Kind, Ledger};
use crate::limits;

/// All that decides how a phrase sounds, and who may hear it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose it is.
    pub principal: Arc<str>,
    /// Who speaks it.
    pub engine: &'static str,
    /// The engine's own name of the voice.
    pub voice: String,
    /// The bits of the speed.
    pub speed: u32,
    /// The container and codec.
    pub format: Format,
    /// What else a remote engine was told: the model, and how to speak.
    pub told: Option<(Option<String>, Option<String>)>,
    /// As it is spoken.
    pub text: String,
}

/// A phrase that is kept, with what it costs.
pub struct Phrase {
    chunks: Vec<Bytes>,
    bytes: usize,
    _reservation: Reservation,
    _entry: Entry,
}

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Phrases(Arc<Inner>);

struct Inner {
    kept: Cache<Key, Arc<Phrase>>,
    running: Mutex<HashMap<Key, (log::Door, Failure)>>,
    budget: Budget,
    ledger: Ledger,
}

/// How a phrase can be had.
pub enum Found {
    /// It is kept.
    Kept(Arc<Phrase>),
    /// Somebody else has it made just now; what goes wrong with it does so for both.
    Running(log::Reader, Failure),
    /// It is made from here on, and the guard says when it ended.
    Begun(log::Writer, log::Reader, Keep),
}

/// Takes note of the end of a synthesis: dropped, the phrase is no longer running.
pub struct Keep {
    phrases: Phrases,
    key: Key,
    door: log::Door,
}

impl Phrases {
    /// Keeps at most `bytes`.
    pub fn new(bytes: u64, ledger: Ledger) -> Self {
        let weigh = |key: &Key, phrase: &Arc<Phrase>| {
            u32::try_from(phrase.bytes + key.text.len() + limits::PHRASE_OVERHEAD_BYTES)
                .unwrap_or(u32::MAX)
        };
        let kept = Cache::builder()
            .weigher(weigh)
            .max_capacity(bytes)
            .time_to_idle(limits::PHRASE_IDLE_MOST)
            .build();
        let (running, budget) = (Mutex::default(), Budget::new(bytes));
        Self(Arc::new(Inner { kept, running, budget, ledger }))
    }

    /// Whether so long a text is short enough, in that format and at that speed.
    pub fn is_short(text: &str, format: Format, speed: f32) -> bool {
        let chars = text.chars().take(limits::PHRASE_CHARS + 1).count();
        let seconds = chars as f64 * limits::SECONDS_PER_CHAR / f64::from(speed);
        // An estimate: one that is wrong costs the sharing, not the stream.
        let likely = seconds * format.bytes_per_second() as f64;
        chars <= limits::PHRASE_CHARS && likely <= limits::LOG_BYTES as f64 * 0.75
    }

    /// Finds a phrase, or begins it with what `begin` makes; of two equal requests at the same
    /// moment one begins and the other joins. What goes wrong with one that is begun stands in `failure`.
    pub fn find<E>(
        &self,
        key: Key,
        failure: &Failure,
        begin: impl FnOnce() -> Result<(log::Writer, log::Reader), E>,
    ) -> Result<Found, E> {
        let mut running = self.running();
        if let Some(phrase) = self.0.kept.get(&key) {
            return Ok(Found::Kept(phrase));
        }
        if let Some((door, theirs)) = running.get(&key)
            && let Some(reader) = door.enter()
        {
            return Ok(Found::Running(reader, theirs.clone()));
        }
        let (writer, reader) = begin()?;
        let door = writer.door();
        running.insert(key.clone(), (door.clone(), failure.clone()));
        Ok(Found::Begun(writer, reader, Keep { phrases: self.clone(), key, door }))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Key, (log::Door, Failure)>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keep {
    /// The synthesis ended well: the phrase is kept, if it is whole and there is room.
    pub fn done(self, chunks: Option<Vec<Bytes>>) {
        let Some(chunks) = chunks else { return };
        let inner = &self.phrases.0;
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        let Some(reservation) = inner.budget.reserve(bytes as u64).filter(|_| bytes > 0) else {
            return;
        };
        let entry = inner.ledger.enter(Kind::Phrase, self.key.engine, bytes as u64);
        let phrase = Phrase { chunks, bytes, _reservation: reservation, _entry: entry };
        inner.kept.insert(self.key.clone(), Arc::new(phrase));
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        // One that all readers had left may have been begun anew under the same key.
        let mut running = self.phrases.running();
        if running.get(&self.key).is_some_and(|(door, _)| door.is_same(&self.door)) {
            running.remove(&self.key);
        }
    }
}

impl Phrase {
    /// The chunk of that number, while there are any.
    pub fn chunk(&self, number: usize) -> Option<Bytes> {
        self.chunks.get(number).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::{Context, Wake, Waker};

    use futures_util::FutureExt;

    use super::super::output::Output;
    use super::*;
    use crate::bounds::Stake;

    fn key(principal: &str, text: &str) -> Key {
        Key {
            principal: principal.into(),
            engine: "tone",
            voice: "tone".into(),
            speed: 1.0f32.to_bits(),
            format: Format::Pcm,
            told: None,
            text: text.into(),
        }
    }

    fn a_log() -> Result<(log::Writer, log::Reader), ()> {
        let budget = Budget::new(300);
        Ok(log::log(300, Stake::unlisted(budget.reserve(300).expect("fits"))))
    }

    fn begin(phrases: &Phrases, key: Key) -> (log::Writer, log::Reader, Keep) {
        match phrases.find(key, &Failure::default(), a_log) {
            Ok(Found::Begun(writer, reader, keep)) => (writer, reader, keep),
            _ => panic!("it was there"),
        }
    }

    fn is_there(phrases: &Phrases, key: Key) -> bool {
        phrases.find(key, &Failure::default(), || Err(())).is_ok()
    }

    #[test]
    fn a_phrase_is_joined_while_it_runs_and_kept_when_it_is_whole() {
        let ledger = Ledger::new();
        let phrases = Phrases::new(100_000, ledger.clone());
        let (mut writer, _reader, keep) = begin(&phrases, key("a", "hi"));
        assert_eq!(writer.write(b"hi").now_or_never(), Some(Ok(())));
        assert!(matches!(
            phrases.find(key("a", "hi"), &Failure::default(), a_log),
            Ok(Found::Running(..))
        ));
        assert!(!is_there(&phrases, key("b", "hi")), "another principal");
        keep.done(writer.content());
        let Ok(Found::Kept(phrase)) = phrases.find(key("a", "hi"), &Failure::default(), a_log)
        else {
            panic!("not kept")
        };
        assert_eq!(phrase.chunk(0).as_deref(), Some(&b"hi"[..]));
        assert!(!is_there(&phrases, key("b", "hi")));
        assert!(ledger.is_idle() && ledger.live(Kind::Phrase) == 1);
    }

    #[test]
    fn who_asks_again_as_soon_as_it_hears_of_the_end_finds_it_kept() {
        struct Again(Phrases, AtomicBool);
        impl Wake for Again {
            fn wake(self: Arc<Self>) {
                let found = self.0.find(key("a", "hi"), &Failure::default(), || Err(()));
                self.1.store(matches!(found, Ok(Found::Kept(_))), Relaxed);
            }
        }
        let phrases = Phrases::new(100_000, Ledger::new());
        let (mut writer, mut reader, keep) = begin(&phrases, key("a", "hi"));
        assert_eq!(writer.write(b"hi").now_or_never(), Some(Ok(())));
        let again = Arc::new(Again(phrases.clone(), AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&again));
        while reader.poll_next(&mut Context::from_waker(&waker)).is_ready() {}
        Output::Log(writer, Some(keep)).finish();
        assert!(again.1.load(Relaxed), "it would be made a second time");
    }

    #[test]
    fn one_that_was_left_is_neither_joined_nor_kept_nor_does_its_end_touch_a_new_one() {
        let phrases = Phrases::new(100_000, Ledger::new());
        let (mut writer, reader, keep) = begin(&phrases, key("a", "hi"));
        assert_eq!(writer.write(b"hi").now_or_never(), Some(Ok(())));
        drop(reader);
        assert!(!is_there(&phrases, key("a", "hi")));
        let (_writer, _reader, _keep) = begin(&phrases, key("a", "hi"));
        keep.done(writer.content());
        assert!(matches!(
            phrases.find(key("a", "hi"), &Failure::default(), a_log),
            Ok(Found::Running(..))
        ));
        drop(_keep);
        assert!(phrases.running().is_empty());
    }

    #[test]
    fn kept_bytes_never_pass_the_bound_even_while_evicted_phrases_are_read() {
        let phrases = Phrases::new(1000, Ledger::new());
        let mut read = Vec::new();
        for number in 0..50 {
            let (mut writer, _reader, keep) = begin(&phrases, key("a", &number.to_string()));
            assert_eq!(writer.write(&[0; 300]).now_or_never(), Some(Ok(())));
            keep.done(writer.content());
            let found =
                phrases.find(key("a", &number.to_string()), &Failure::default(), || Err(()));
            if let Ok(Found::Kept(phrase)) = found {
                read.push(phrase);
            }
            phrases.0.kept.run_pending_tasks();
            let held: usize = read.iter().map(|phrase| phrase.bytes).sum();
            assert!(held <= 1000 && phrases.0.budget.state().reserved <= 1000);
        }
        assert!(!read.is_empty());
    }
}
