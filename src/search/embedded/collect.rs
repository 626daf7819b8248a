//! Gathers the best hits behind a place, and counts all of them. Invariants: memory is that of one page, however deep it
//! lies; every document has a place of its own in the order, so that pages neither repeat nor leave out one.

use std::collections::BinaryHeap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader};

use super::schema::{CREATED_MS, TIE};
use crate::search::Sort;

/// A place in the order: the least comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    first: i64,
    /// See `Document::tie`.
    pub tie: i64,
}

impl Rank {
    /// By relevance. Scores are not negative, so their bits are in order as they are.
    pub fn by_score(score: f32, tie: i64) -> Self {
        Self { first: -i64::from(score.max(0.0).to_bits()), tie }
    }

    /// By time.
    pub fn by_time(sort: Sort, ms: i64, tie: i64) -> Self {
        Self { first: if sort == Sort::Oldest { ms } else { ms.saturating_neg() }, tie }
    }

    /// Its score, where it is one by relevance.
    pub fn score(&self) -> f32 {
        f32::from_bits((-self.first) as u32)
    }

    /// Its time, where it is one by time.
    pub fn ms(&self, sort: Sort) -> i64 {
        if sort == Sort::Oldest { self.first } else { self.first.saturating_neg() }
    }
}

/// What is gathered.
pub struct Ranked {
    /// The order.
    pub sort: Sort,
    /// Only what comes behind this.
    pub after: Option<Rank>,
    /// So many.
    pub limit: usize,
}

/// What was gathered.
#[derive(Default)]
pub struct Collected {
    /// The best, in order.
    pub best: Vec<(Rank, DocAddress)>,
    /// All that fit, whatever their place.
    pub total: u64,
}

/// See [`Ranked`].
pub struct InSegment {
    sort: Sort,
    after: Option<Rank>,
    limit: usize,
    segment: SegmentOrdinal,
    created: Column<i64>,
    ties: Column<i64>,
    /// The worst on top.
    best: BinaryHeap<(Rank, DocId)>,
    total: u64,
}

impl Collector for Ranked {
    type Fruit = Collected;
    type Child = InSegment;

    fn for_segment(
        &self,
        segment: SegmentOrdinal,
        reader: &SegmentReader,
    ) -> tantivy::Result<InSegment> {
        let (sort, after, limit) = (self.sort, self.after.clone(), self.limit);
        let created = reader.fast_fields().i64(CREATED_MS)?;
        let ties = reader.fast_fields().i64(TIE)?;
        let best = BinaryHeap::with_capacity(limit + 1);
        Ok(InSegment { sort, after, limit, segment, created, ties, best, total: 0 })
    }

    fn requires_scoring(&self) -> bool {
        self.sort == Sort::Relevance
    }

    fn merge_fruits(&self, fruits: Vec<Collected>) -> tantivy::Result<Collected> {
        let mut all = Collected::default();
        for fruit in fruits {
            all.total += fruit.total;
            all.best.extend(fruit.best);
        }
        all.best.sort_unstable();
        all.best.truncate(self.limit);
        Ok(all)
    }
}

impl SegmentCollector for InSegment {
    type Fruit = Collected;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        let first = match self.sort {
            Sort::Relevance => Rank::by_score(score, 0).first,
            sort => Rank::by_time(sort, self.created.first(doc).unwrap_or_default(), 0).first,
        };
        // Most are no better than what is there, and that is seen without their tie.
        if let Some((worst, _)) = self.best.peek()
            && self.best.len() == self.limit
            && first > worst.first
        {
            return;
        }
        let rank = Rank { first, tie: self.ties.first(doc).unwrap_or_default() };
        if self.after.as_ref().is_some_and(|after| rank <= *after) {
            return;
        }
        self.best.push((rank, doc));
        if self.best.len() > self.limit {
            self.best.pop();
        }
    }

    fn harvest(self) -> Collected {
        let address = |doc| DocAddress::new(self.segment, doc);
        let best = self.best.into_iter().map(|(rank, doc)| (rank, address(doc))).collect();
        Collected { best, total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order_and_say_what_they_are_of() {
        let scores = [0.0, 0.1, 1.0, 1.000_000_1, 7.5, f32::MAX];
        for pair in scores.windows(2) {
            assert!(Rank::by_score(pair[1], 9) < Rank::by_score(pair[0], 0));
        }
        assert!(Rank::by_score(1.0, -1) < Rank::by_score(1.0, 1));
        assert_eq!(Rank::by_score(1.25, 0).score(), 1.25);
        for ms in [i64::MIN + 1, -5, 0, 1_795_305_600_000] {
            for sort in [Sort::Newest, Sort::Oldest] {
                assert_eq!(Rank::by_time(sort, ms, 3).ms(sort), ms);
            }
        }
        assert!(Rank::by_time(Sort::Newest, 2, 0) < Rank::by_time(Sort::Newest, 1, 0));
        assert!(Rank::by_time(Sort::Oldest, 1, 0) < Rank::by_time(Sort::Oldest, 2, 0));
    }
}
