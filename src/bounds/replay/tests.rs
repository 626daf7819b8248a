//! The log of numbered items: by hand, against a model, and in every interleaving.

use super::*;
use crate::bounds::Budget;

const TERMS: Terms = Terms { audio_bytes: 100, text_bytes: 40, behind_bytes: 0, lost_bytes: 0 };

#[cfg(not(evensong_loom))]
mod usual {
    use super::super::state::LOST_MOST;
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    fn replay(terms: Terms) -> (Replay<u32>, Budget) {
        let budget = Budget::new(10_000);
        let stake = Stake::unlisted(budget.reserve(1000).expect("fits"));
        (Replay::new(terms, 1, stake), budget)
    }

    fn next(reader: &mut Reader<u32>) -> Option<Option<Result<u32, TooSlow>>> {
        let next = poll_fn(|cx| reader.poll_next(cx)).now_or_never()?;
        Some(next.map(|item| item.map(|(_, thing)| thing)))
    }

    fn drain(reader: &mut Reader<u32>) -> Vec<u32> {
        std::iter::from_fn(|| next(reader).flatten()?.ok()).collect()
    }

    fn fits(replay: &Replay<u32>, epoch: u32, lane: Lane, bytes: usize) -> Option<bool> {
        match replay.room(epoch, lane, bytes).now_or_never() {
            Some(Ok(())) => Some(true),
            Some(Err(Closed)) => None,
            None => Some(false),
        }
    }

    #[test]
    fn who_comes_late_gets_what_is_there_and_a_full_lane_waits_for_the_slowest() {
        let (replay, budget) = replay(TERMS);
        for thing in 0..4 {
            assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(true));
            replay.push(1, Lane::Audio, thing, 25).expect("open");
        }
        assert_eq!(fits(&replay, 1, Lane::Audio, 1), Some(false), "nobody reads");
        assert_eq!(fits(&replay, 1, Lane::Text, 40), Some(true), "text has room of its own");
        let (mut first, mut second) =
            (replay.reader(None).expect("held"), replay.reader(None).expect("held"));
        assert_eq!(drain(&mut first), [0, 1, 2, 3]);
        assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(false), "the second has taken nothing");
        assert_eq!(next(&mut second), Some(Some(Ok(0))));
        assert_eq!(replay.len(), 4, "nothing goes before room is wanted");
        assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(true));
        replay.push(1, Lane::Audio, 4, 25).expect("open");
        let mut late = replay.reader(None).expect("held");
        assert_eq!(drain(&mut late), [1, 2, 3, 4]);
        assert_eq!(replay.reader(Some(Position { epoch: 1, number: 1 })).map(drop), Ok(()));
        drop((first, second, late));
        assert_eq!(budget.state().held, 100);
        assert_eq!(replay.close(), 4);
        assert_eq!(budget.state().held, 0);
    }

    #[test]
    fn one_that_goes_on_gets_every_item_once_or_hears_that_it_is_gone() {
        let (replay, _budget) = replay(TERMS);
        let mut reader = replay.reader(None).expect("held");
        for thing in 0..8 {
            assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(true));
            replay.push(1, Lane::Audio, thing, 25).expect("open");
            assert_eq!(next(&mut reader), Some(Some(Ok(thing))));
        }
        let at = |number| Some(Position { epoch: 1, number });
        assert_eq!(drain(&mut replay.reader(at(6)).expect("held")), [6, 7]);
        assert_eq!(drain(&mut replay.reader(at(8)).expect("at the end")), [0u32; 0]);
        assert_eq!(replay.reader(at(3)).map(drop), Err(Gone));
        assert_eq!(replay.reader(at(9)).map(drop), Err(Gone), "it never was");
        assert_eq!(
            replay.reader(Some(Position { epoch: 2, number: 1 })).map(drop),
            Err(Gone),
            "nor was this"
        );
    }

    #[test]
    fn what_must_stay_behind_stays_and_takes_no_room() {
        let (replay, _budget) = replay(Terms { behind_bytes: 75, ..TERMS });
        let mut reader = replay.reader(None).expect("held");
        for thing in 0..40 {
            assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(true));
            replay.push(1, Lane::Audio, thing, 25).expect("open");
            assert_eq!(next(&mut reader), Some(Some(Ok(thing))));
            assert!(replay.len() <= 5, "{}", replay.len());
        }
        assert_eq!(fits(&replay, 1, Lane::Audio, 100), Some(true), "all of its room");
        let again =
            replay.reader(Some(Position { epoch: 1, number: 37 })).map(|mut r| drain(&mut r));
        assert_eq!(again, Ok(vec![37, 38, 39]));
    }

    #[test]
    fn what_one_that_left_may_come_back_for_stays_until_it_does_or_is_given_up() {
        let at = |number| Some(Position { epoch: 1, number });
        for comes_back in [true, false] {
            let terms = Terms { behind_bytes: 75, lost_bytes: 50, ..TERMS };
            let (replay, budget) = replay(terms);
            let (mut lost, mut stays) =
                (replay.reader(None).expect("held"), replay.reader(None).expect("held"));
            replay.push(1, Lane::Audio, 1, 25).expect("open");
            replay.push(1, Lane::Audio, 2, 25).expect("open");
            assert_eq!(drain(&mut lost), [1, 2]);
            drop(lost);
            let mut pushed = 2;
            while fits(&replay, 1, Lane::Audio, 25) == Some(true) {
                pushed += 1;
                replay.push(1, Lane::Audio, pushed, 25).expect("open");
                drain(&mut stays);
                assert!(budget.state().held <= 175 + 25, "{}", budget.state().held);
            }
            assert!(pushed > 5, "what is kept is waited for, and not before: {pushed}");
            if comes_back {
                // It had half of what it took.
                let mut back = replay.reader(at(1)).expect("what it missed is there");
                assert_eq!(drain(&mut back), Vec::from_iter(2..=pushed));
                back.stays_away();
            } else {
                let standings = replay.standings();
                let lost: Vec<_> = standings.iter().filter(|standing| standing.is_lost).collect();
                assert!(lost[0].waits && lost.len() == 1, "{standings:?}");
                replay.cut(lost[0].place);
            }
            assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(true));
            assert!(replay.standings().iter().all(|standing| !standing.is_lost));
            assert_eq!(replay.reader(at(1)).map(drop), Err(Gone));
        }
    }

    #[test]
    fn one_that_comes_back_before_it_has_left_leaves_no_place_behind() {
        let at = |number| Some(Position { epoch: 1, number });
        let terms = Terms { behind_bytes: 75, lost_bytes: 50, ..TERMS };
        let (replay, _budget) = replay(terms);
        let mut old = replay.reader(None).expect("held");
        let other = replay.reader(None).expect("held");
        (1..=3).for_each(|thing| replay.push(1, Lane::Audio, thing, 25).expect("open"));
        assert_eq!(drain(&mut old), [1, 2, 3]);
        // Its connection is there still, as far as anybody knows.
        let mut back = replay.reader(at(2)).expect("held");
        assert_eq!(drain(&mut back), [3]);
        drop(old);
        assert!(replay.standings().iter().all(|standing| !standing.is_lost), "nobody comes back");
        // Whoever else leaves is expected, and so is whoever came back once more.
        drop(other);
        drop(back);
        let lost = replay.standings().iter().filter(|standing| standing.is_lost).count();
        assert_eq!(lost, 2);
    }

    #[test]
    fn one_that_heard_the_end_is_not_waited_for_and_few_others_are() {
        let (replay, _budget) = replay(Terms { behind_bytes: 75, lost_bytes: 50, ..TERMS });
        let mut reader = replay.reader(None).expect("held");
        reader.stays_away();
        drop(reader);
        assert!(replay.standings().is_empty());
        for _ in 0..20 {
            drop(replay.reader(None).expect("held"));
        }
        assert_eq!(replay.standings().len(), LOST_MOST);
        replay.seal();
        drop(replay.reader(None).expect("held"));
        assert_eq!(replay.standings().len(), LOST_MOST);
    }

    #[test]
    fn nothing_of_an_older_epoch_comes_after_the_next_has_begun() {
        let (replay, budget) = replay(TERMS);
        let mut reader = replay.reader(None).expect("held");
        replay.push(1, Lane::Audio, 1, 30).expect("open");
        replay.push(1, Lane::Text, 2, 10).expect("open");
        assert_eq!(next(&mut reader), Some(Some(Ok(1))));
        assert_eq!(replay.begin(2), 2);
        assert_eq!(replay.push(1, Lane::Audio, 3, 30), Err(Closed));
        assert_eq!(fits(&replay, 1, Lane::Audio, 1), None);
        assert_eq!((replay.progress(1), replay.progress(2)), (None, Some((0, 0))));
        replay.push(2, Lane::Audio, 4, 30).expect("open");
        assert_eq!(drain(&mut reader), [4]);
        assert_eq!(replay.progress(2), Some((30, 30)));
        let behind_the_old = replay.reader(Some(Position { epoch: 1, number: 1 }));
        assert_eq!(behind_the_old.map(|mut r| drain(&mut r)), Ok(vec![4]));
        replay.seal();
        assert_eq!(next(&mut reader), Some(None));
        drop(replay);
        drop(reader);
        assert_eq!(budget.state().reserved, 0);
    }

    #[test]
    fn one_that_is_cut_delays_nobody_and_hears_of_it() {
        let (replay, _budget) = replay(TERMS);
        let (slow, mut quick) =
            (replay.reader(None).expect("held"), replay.reader(None).expect("held"));
        let mut slow = slow;
        for thing in 0..4 {
            replay.push(1, Lane::Audio, thing, 25).expect("open");
        }
        drain(&mut quick);
        let standings = replay.standings();
        assert_eq!(
            standings.iter().map(|s| (s.taken, s.waits)).collect::<Vec<_>>(),
            [(0, true), (100, false)]
        );
        assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(false));
        replay.cut(standings[0].place);
        assert_eq!(fits(&replay, 1, Lane::Audio, 25), Some(true));
        assert_eq!(next(&mut slow), Some(Some(Err(TooSlow))));
    }

    #[test]
    fn a_pause_stops_whoever_fills_it_and_nobody_who_reads() {
        let (replay, _budget) = replay(TERMS);
        let mut reader = replay.reader(None).expect("held");
        replay.push(1, Lane::Audio, 1, 10).expect("open");
        replay.pause(true);
        assert_eq!(fits(&replay, 1, Lane::Audio, 1), Some(false));
        assert_eq!(drain(&mut reader), [1]);
        replay.pause(false);
        assert_eq!(fits(&replay, 1, Lane::Audio, 1), Some(true));
    }

    proptest! {
        /// Against a model: a list of all that was pushed. A reader gets a run of it without a gap, and what is held never
        /// passes what the terms say, as long as whoever fills it asks for room.
        #[test]
        fn readers_get_runs_without_gaps_and_the_bound_holds(
            (behind, lost) in prop_oneof![Just((0usize, 0usize)), Just((60, 0)), Just((60, 30))],
            steps in prop::collection::vec((0u8..7, 1usize..30, any::<usize>()), 1..200),
        ) {
            let (replay, budget) = replay(Terms { behind_bytes: behind, lost_bytes: lost, ..TERMS });
            let mut readers: Vec<(Reader<u32>, Option<u32>)> = Vec::new();
            let mut pushed = 0u32;
            for (step, bytes, which) in steps {
                match step {
                    0 | 1 if fits(&replay, 1, Lane::Audio, bytes) == Some(true) => {
                        replay.push(1, Lane::Audio, pushed, bytes).expect("open");
                        pushed += 1;
                    }
                    2 if fits(&replay, 1, Lane::Text, bytes) == Some(true) => {
                        replay.push(1, Lane::Text, pushed, bytes).expect("open");
                        pushed += 1;
                    }
                    3 if readers.len() < 4 => readers.push((replay.reader(None).expect("held"), None)),
                    4 if !readers.is_empty() => drop(readers.swap_remove(which % readers.len())),
                    5 if which % 4 == 0 => {
                        let lost = replay.standings().into_iter().find(|standing| standing.is_lost);
                        lost.into_iter().for_each(|lost| replay.cut(lost.place));
                    }
                    _ if !readers.is_empty() => {
                        let count = readers.len();
                        let (reader, last) = &mut readers[which % count];
                        if let Some(Some(Ok(thing))) = next(reader) {
                            prop_assert!(last.is_none_or(|last| thing == last + 1));
                            *last = Some(thing);
                        }
                    }
                    _ => {}
                }
                // What stays behind: the audio, one item more, and the text between.
                let most = TERMS.audio_bytes + TERMS.text_bytes + if behind == 0 { 0 } else { 2 * (behind + 60) + 200 };
                prop_assert!(budget.state().held <= most as u64, "{}", budget.state().held);
            }
        }
    }
}

#[cfg(evensong_loom)]
mod loom_tests {
    use super::*;

    fn replay(terms: Terms) -> Replay<u32> {
        let budget = Budget::new(10_000);
        Replay::new(terms, 1, Stake::unlisted(budget.reserve(1000).expect("fits")))
    }

    /// A waiting writer is woken by a reader that takes, or leaves, or by the next epoch, in every interleaving.
    #[test]
    fn a_writer_that_waits_is_always_woken() {
        loom::model(|| {
            let replay = replay(Terms { audio_bytes: 1, text_bytes: 1, ..TERMS });
            let mut reader = replay.reader(None).expect("held");
            replay.push(1, Lane::Audio, 1, 1).expect("open");
            let writer = replay.clone();
            let thread = loom::thread::spawn(move || {
                loom::future::block_on(writer.room(1, Lane::Audio, 1)).is_ok()
            });
            let first = loom::future::block_on(poll_fn(|cx| reader.poll_next(cx)));
            assert!(matches!(first, Some(Ok((_, 1)))));
            assert!(thread.join().expect("no panic"));
        });
    }

    #[test]
    fn the_next_epoch_ends_who_waits_for_the_one_before() {
        loom::model(|| {
            let replay = replay(Terms { audio_bytes: 1, text_bytes: 1, ..TERMS });
            let reader = replay.reader(None).expect("held");
            replay.push(1, Lane::Audio, 1, 1).expect("open");
            let writer = replay.clone();
            let thread = loom::thread::spawn(move || {
                loom::future::block_on(writer.room(1, Lane::Audio, 1)).is_ok()
            });
            replay.begin(2);
            assert!(!thread.join().expect("no panic"));
            drop(reader);
        });
    }

    #[test]
    fn a_reader_that_waits_gets_the_item_or_the_end() {
        loom::model(|| {
            let replay = replay(Terms { audio_bytes: 1, text_bytes: 1, ..TERMS });
            let mut reader = replay.reader(None).expect("held");
            let writer = replay.clone();
            let thread = loom::thread::spawn(move || {
                writer.push(1, Lane::Text, 7, 1).expect("open");
                writer.seal();
            });
            let first = loom::future::block_on(poll_fn(|cx| reader.poll_next(cx)));
            assert!(matches!(first, Some(Ok((_, 7)))));
            assert!(loom::future::block_on(poll_fn(|cx| reader.poll_next(cx))).is_none());
            thread.join().expect("no panic");
        });
    }
}
