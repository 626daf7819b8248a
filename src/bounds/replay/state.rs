//! What a log holds, and where its readers are. Invariants: those of the log, each kept within one call under its lock.

use std::collections::VecDeque;
use std::task::Waker;

use super::{Gone, Lane, Position, Terms};
use crate::bounds::budget::Held;

/// Readers that left, and may come back: beyond so many, the one that is furthest behind is given up.
pub(super) const LOST_MOST: usize = 8;

pub(super) struct State<T> {
    pub(super) items: VecDeque<Item<T>>,
    /// Number of the first of them.
    pub(super) first: u64,
    pub(super) audio: usize,
    pub(super) text: usize,
    pub(super) epoch: u32,
    /// Bytes of audio of this epoch.
    pub(super) written: u64,
    pub(super) readers: Vec<Option<Reading>>,
    /// Nothing more is made for the time being.
    pub(super) paused: bool,
    /// Whether whoever makes audio found no room for it.
    pub(super) is_full: bool,
    /// Nothing more will come.
    pub(super) sealed: bool,
    /// Who fills the lanes: text, audio.
    pub(super) writers: [Option<Waker>; 2],
}

pub(super) struct Item<T> {
    pub(super) thing: T,
    pub(super) position: Position,
    pub(super) lane: Lane,
    pub(super) bytes: usize,
    /// Bytes of audio of its epoch, with this one.
    pub(super) audio_to_here: u64,
    pub(super) _held: Held,
}

pub(super) struct Reading {
    pub(super) next: u64,
    pub(super) taken: u64,
    /// Bytes of audio of the current epoch.
    pub(super) audio: u64,
    pub(super) is_cut: bool,
    /// It has left, and this is where it was.
    pub(super) is_lost: bool,
    /// It will not come back.
    pub(super) stays_away: bool,
    pub(super) waker: Option<Waker>,
}

impl Reading {
    /// Of one that has taken nothing, in front of the item `next` and behind so much `audio`.
    pub(super) fn at(next: u64, audio: u64) -> Self {
        let (is_cut, is_lost, stays_away) = (false, false, false);
        Self { next, taken: 0, audio, is_cut, is_lost, stays_away, waker: None }
    }
}

impl<T> State<T> {
    /// The number that comes next.
    pub(super) fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    pub(super) fn is_over_for(&self, epoch: u32) -> bool {
        self.sealed || epoch != self.epoch
    }

    /// Where something stays behind the readers, that has a reserve of its own and takes no room.
    pub(super) fn room(&self, terms: &Terms, lane: Lane) -> usize {
        let (held, reserve) = match lane {
            // That between the audio, of which there is no more than is written.
            Lane::Text => (self.text, usize::MAX),
            // And the rest of the item that is the first of them.
            Lane::Audio => {
                let first = self.items.front().map_or(0, |item| item.bytes);
                (self.audio, terms.behind_bytes + first)
            }
        };
        let behind = if terms.behind_bytes > 0 { self.behind(lane) } else { 0 };
        terms.of(lane).saturating_sub(held - behind.min(reserve))
    }

    /// The number of the item behind `after`, or of the first that is still there.
    pub(super) fn behind_position(&self, after: Option<Position>) -> Result<u64, Gone> {
        let next = match after {
            Some(after) if after.epoch == self.epoch || after.number >= self.first => {
                if after.epoch > self.epoch || after.number >= self.end() {
                    return Err(Gone);
                }
                after.number + 1
            }
            Some(after) if after.epoch > self.epoch => return Err(Gone),
            _ => self.first,
        };
        if next < self.first { Err(Gone) } else { Ok(next) }
    }

    /// The reader at `place` leaves; where it can be `lost`, and had not heard the end, its place stays.
    pub(super) fn leave(&mut self, place: usize, can_be_lost: bool) {
        let is_sealed = self.sealed;
        let reading = self.readers[place].as_mut().filter(|reading| !reading.is_cut && !is_sealed);
        match reading.filter(|reading| can_be_lost && !reading.stays_away) {
            Some(reading) => {
                reading.is_lost = true;
                reading.waker = None;
            }
            None => self.readers[place] = None,
        }
        let lost = |reading: &&mut Option<Reading>| reading.as_ref().is_some_and(|it| it.is_lost);
        if self.readers.iter_mut().filter(lost).count() > LOST_MOST {
            let furthest = self.readers.iter_mut().filter(lost);
            let furthest = furthest.min_by_key(|reading| reading.as_ref().map(|it| it.next));
            furthest.into_iter().for_each(|reading| *reading = None);
        }
    }

    /// Somebody who has all before `next` is back: who was lost there, or shortly behind, is lost no longer. Where nobody was,
    /// its old connection is still there, as far as anybody knows: when that leaves, nothing is kept for it.
    pub(super) fn come_back(&mut self, next: u64) {
        let nearest = |is_lost: bool| {
            let readers = self.readers.iter().enumerate();
            let there = readers.filter_map(|(place, reading)| Some((place, reading.as_ref()?)));
            let there = there.filter(|(_, reading)| {
                reading.is_lost == is_lost && !reading.stays_away && reading.next >= next
            });
            there.min_by_key(|(_, reading)| reading.next).map(|(place, _)| place)
        };
        let (lost, old) = (nearest(true), nearest(false));
        match (lost, old.and_then(|place| self.readers[place].as_mut())) {
            (Some(place), _) => self.readers[place] = None,
            (None, Some(old)) => old.stays_away = true,
            (None, None) => {}
        }
    }

    /// Bytes of `lane` that every reader has taken and that are still there.
    pub(super) fn behind(&self, lane: Lane) -> usize {
        let Some(slowest) = self.slowest() else { return 0 };
        let taken = self.items.iter().take((slowest - self.first) as usize);
        taken.filter(|item| item.lane == lane).map(|item| item.bytes).sum()
    }

    /// Those that are here.
    pub(super) fn present(&self) -> impl Iterator<Item = &Reading> {
        let readers = self.readers.iter().flatten();
        readers.filter(|reading| !reading.is_cut && !reading.is_lost)
    }

    pub(super) fn slowest(&self) -> Option<u64> {
        self.present().map(|reading| reading.next).min()
    }

    pub(super) fn foremost(&self) -> u64 {
        self.present().map(|reading| reading.audio).max().unwrap_or(0)
    }

    /// Whether somebody who left may come back for `item`.
    pub(super) fn may_be_missed(&self, terms: &Terms, item: &Item<T>) -> bool {
        let mut lost = self.readers.iter().flatten().filter(|reading| reading.is_lost);
        lost.any(|lost| {
            lost.next <= item.position.number
                || lost.audio.saturating_sub(item.audio_to_here) < terms.lost_bytes as u64
        })
    }

    pub(super) fn audio_before(&self, at: usize) -> u64 {
        match self.items.get(at) {
            Some(item) if item.lane == Lane::Audio => item.audio_to_here - item.bytes as u64,
            Some(item) => item.audio_to_here,
            None => self.written,
        }
    }

    /// Takes out what every reader has taken, from the first on, until `lane` has room for `bytes`; what has to stay
    /// behind them stays.
    pub(super) fn make_room(&mut self, terms: &Terms, lane: Lane, bytes: usize) -> Vec<Item<T>> {
        let mut gone = Vec::new();
        let Some(slowest) = self.slowest() else { return gone };
        let wanted = bytes.min(terms.of(lane));
        let mut behind = self.behind(Lane::Audio);
        while self.first < slowest {
            let Some(item) = self.items.front() else { break };
            let audio = if item.lane == Lane::Audio { item.bytes } else { 0 };
            let is_spare = match terms.behind_bytes {
                0 => self.room(terms, lane) < wanted,
                kept => behind > kept && behind - audio >= kept,
            };
            if !is_spare || self.may_be_missed(terms, item) {
                break;
            }
            behind -= audio;
            self.first += 1;
            match item.lane {
                Lane::Text => self.text -= item.bytes,
                Lane::Audio => self.audio -= item.bytes,
            }
            gone.extend(self.items.pop_front());
        }
        gone
    }

    pub(super) fn clear(&mut self) -> VecDeque<Item<T>> {
        self.first = self.end();
        (self.audio, self.text) = (0, 0);
        let first = self.first;
        self.readers.iter_mut().flatten().for_each(|reading| reading.next = first);
        std::mem::take(&mut self.items)
    }

    pub(super) fn readers_wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().flatten().filter_map(|reading| reading.waker.take()).collect()
    }

    pub(super) fn writers_wakers(&mut self) -> Vec<Waker> {
        self.writers.iter_mut().filter_map(Option::take).collect()
    }
}
