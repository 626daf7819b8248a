//! Tests of the pipe: against a simple model, and under loom every interleaving of its three sides
//! (writer, reader, and whoever still holds a slice). Invariant tested: bytes in order, none lost,
//! never more pages than promised, nobody left waiting.

use super::*;
use crate::bounds::Budget;

fn pipe_of(page_bytes: usize, pages: usize) -> (Writer, Reader, Budget) {
    let budget = Budget::new((page_bytes * pages) as u64);
    let stake = Stake::unlisted(budget.reserve((page_bytes * pages) as u64).expect("fits"));
    let (writer, reader) = pipe(page_bytes, pages, stake);
    (writer, reader, budget)
}

#[cfg(not(evensong_loom))]
mod plain {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    #[test]
    fn bytes_come_out_in_order_and_the_end_is_clean() {
        let (mut writer, mut reader, budget) = pipe_of(4, 2);
        assert_eq!(writer.write(b"abcdef").now_or_never(), Some(Ok(())));
        writer.finish();
        let mut got = Vec::new();
        while let Some(Some(Ok(bytes))) = reader.next().now_or_never() {
            got.extend_from_slice(&bytes);
        }
        assert_eq!(got, b"abcdef");
        assert_eq!(reader.next().now_or_never(), Some(None));
        drop(reader);
        assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
    }

    #[test]
    fn a_pinned_slice_keeps_its_page_and_the_writer_waits() {
        let (mut writer, mut reader, budget) = pipe_of(4, 1);
        assert_eq!(writer.write(b"ab").now_or_never(), Some(Ok(())));
        let slice = reader.next().now_or_never().flatten().expect("a slice").expect("no end");
        assert_eq!(writer.write(b"cde").now_or_never(), None, "the page has two bytes left");
        drop(reader.next().now_or_never());
        assert_eq!(writer.room_now(), 0, "one byte of the page is still held");
        drop(slice);
        assert_eq!((writer.room_now(), budget.state().held), (4, 0));
    }

    #[test]
    fn a_reader_that_leaves_frees_everything_and_tells_the_writer() {
        let (mut writer, reader, budget) = pipe_of(4, 2);
        assert_eq!(writer.write(b"abcdefg").now_or_never(), Some(Ok(())));
        assert_eq!(budget.state().held, 8);
        drop(reader);
        assert_eq!(budget.state().held, 0);
        assert_eq!(writer.closed().now_or_never(), Some(()));
        assert_eq!(writer.write(b"h").now_or_never(), Some(Err(Closed)));
        assert_eq!(writer.room(1).now_or_never(), Some(Err(Closed)));
        drop(writer);
        assert_eq!(budget.state().reserved, 0);
    }

    #[test]
    fn a_writer_that_is_dropped_or_fails_never_looks_finished() {
        let (mut writer, mut reader, _budget) = pipe_of(4, 1);
        assert_eq!(writer.write(b"ab").now_or_never(), Some(Ok(())));
        drop(writer);
        let first = reader.next().now_or_never().flatten().expect("what was queued");
        assert_eq!(first.as_deref(), Ok(&b"ab"[..]));
        assert!(matches!(reader.next().now_or_never(), Some(Some(Err(Broken(_))))));

        let (writer, mut reader, _budget) = pipe_of(4, 1);
        writer.fail("the engine died");
        let end = reader.next().now_or_never().flatten();
        assert_eq!(end, Some(Err(Broken("the engine died".into()))));
    }

    #[test]
    fn a_writer_can_wait_for_its_reader_to_come_nearer() {
        let (mut writer, mut reader, _budget) = pipe_of(4, 2);
        assert_eq!(writer.write(b"abcdef").now_or_never(), Some(Ok(())));
        assert_eq!(writer.lag_below(3).now_or_never(), None);
        let _slice = reader.next().now_or_never();
        assert_eq!(writer.lag_below(3).now_or_never(), Some(Ok(())), "two bytes are left");
        drop(reader);
        assert_eq!(writer.lag_below(3).now_or_never(), Some(Err(Closed)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(Vec<u8>),
        Read,
        Drop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Step::Write),
            Just(Step::Read),
            any::<usize>().prop_map(Step::Drop),
        ]
    }

    proptest! {
        /// The model is a plain queue of bytes. Writes that do not fit are given up half way, as a
        /// dropped future would, and the model takes as much as `progress` says.
        #[test]
        fn it_is_a_queue_that_never_has_more_pages_than_promised(
            page_bytes in 1usize..9,
            pages in 1usize..5,
            steps in prop::collection::vec(step(), 1..150),
        ) {
            let (mut writer, mut reader, budget) = pipe_of(page_bytes, pages);
            let mut model: VecDeque<u8> = VecDeque::new();
            let mut slices: Vec<Bytes> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(data) => {
                        let (before, _) = writer.progress();
                        let room = writer.room_now();
                        let whole = writer.write(&data).now_or_never().is_some();
                        let count = (writer.progress().0 - before) as usize;
                        prop_assert_eq!(whole, data.len() <= room);
                        prop_assert_eq!(count, data.len().min(room));
                        model.extend(&data[..count]);
                    }
                    Step::Read => match reader.next().now_or_never() {
                        Some(Some(Ok(bytes))) => {
                            prop_assert!(!bytes.is_empty());
                            let expected: Vec<u8> = model.drain(..bytes.len()).collect();
                            prop_assert_eq!(&bytes[..], &expected[..]);
                            slices.push(bytes);
                        }
                        Some(_) => prop_assert!(false, "no end was written"),
                        None => prop_assert!(model.is_empty()),
                    },
                    Step::Drop(which) => if !slices.is_empty() {
                        slices.swap_remove(which % slices.len());
                    },
                }
                let held = budget.state().held as usize;
                prop_assert!(held <= page_bytes * pages);
                let in_hand: usize = slices.iter().map(Bytes::len).sum();
                prop_assert!(model.len() + in_hand <= held, "bytes outside of counted pages");
            }
            drop((writer, reader, slices));
            prop_assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
        }
    }
}

#[cfg(evensong_loom)]
mod interleaved {
    use super::*;
    use loom::future::block_on;

    #[test]
    fn every_byte_arrives_while_slices_are_dropped_elsewhere() {
        loom::model(|| {
            let (mut writer, mut reader, budget) = pipe_of(1, 1);
            let producer = loom::thread::spawn(move || {
                block_on(async {
                    writer.write(b"ab").await.expect("the reader stays");
                    writer.finish();
                });
            });
            let mut got = Vec::new();
            while let Some(bytes) = block_on(reader.next()) {
                got.extend_from_slice(&bytes.expect("finished well"));
            }
            assert_eq!(got, b"ab");
            producer.join().expect("no panic");
            drop(reader);
            assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
        });
    }

    #[test]
    fn a_leaving_reader_wakes_a_writer_that_waits_for_room() {
        loom::model(|| {
            let (mut writer, reader, budget) = pipe_of(1, 1);
            let producer = loom::thread::spawn(move || {
                let _ = block_on(writer.write(b"ab"));
                block_on(writer.closed());
            });
            drop(reader);
            producer.join().expect("the writer was told");
            assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
        });
    }

    #[test]
    fn a_reader_that_takes_wakes_a_writer_that_waits_for_it() {
        loom::model(|| {
            let (mut writer, mut reader, _budget) = pipe_of(2, 1);
            block_on(writer.write(b"ab")).expect("room");
            let producer = loom::thread::spawn(move || {
                block_on(writer.lag_below(1)).expect("the reader stays");
                writer.finish();
            });
            assert!(block_on(reader.next()).is_some());
            assert!(block_on(reader.next()).is_none());
            producer.join().expect("the writer was woken");
        });
    }

    #[test]
    fn a_slice_that_is_dropped_by_a_third_lets_the_writer_on() {
        loom::model(|| {
            let (mut writer, mut reader, budget) = pipe_of(1, 1);
            block_on(writer.write(b"a")).expect("room");
            let slice = block_on(reader.next());
            let third = loom::thread::spawn(move || drop(slice));
            let producer = loom::thread::spawn(move || {
                block_on(writer.room(1)).expect("the reader stays");
                writer.finish();
            });
            assert!(block_on(reader.next()).is_none());
            third.join().expect("no panic");
            producer.join().expect("no panic");
            drop(reader);
            assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
        });
    }
}
