//! Tests of the log: each reader gets everything, a stalled one delays nobody, the last one frees
//! it; and under loom, that no reader is left waiting.

use super::*;
use crate::bounds::Budget;

fn log_of(bytes: usize) -> (Writer, Reader, Budget) {
    let budget = Budget::new(bytes as u64);
    let stake = Stake::unlisted(budget.reserve(bytes as u64).expect("fits"));
    let (writer, reader) = log(bytes, stake);
    (writer, reader, budget)
}

#[cfg(not(evensong_loom))]
mod plain {
    use super::*;
    use futures_util::FutureExt;

    fn read(reader: &mut Reader) -> Option<Option<Result<Bytes, Broken>>> {
        poll_fn(|cx| reader.poll_next(cx)).now_or_never()
    }

    fn write(writer: &mut Writer, data: &[u8]) {
        assert_eq!(writer.write(data).now_or_never(), Some(Ok(())));
    }

    fn all(reader: &mut Reader) -> Vec<u8> {
        let mut got = Vec::new();
        while let Some(Some(Ok(bytes))) = read(reader) {
            got.extend_from_slice(&bytes);
        }
        got
    }

    /// Leaves as soon as it is woken, as a reader on another thread may.
    struct Leaves(std::sync::Mutex<Option<Reader>>);

    impl std::task::Wake for Leaves {
        fn wake(self: std::sync::Arc<Self>) {
            drop(self.0.lock().expect("no panic").take());
        }
    }

    #[test]
    fn what_was_whole_is_kept_however_soon_its_last_reader_leaves_at_the_end() {
        let (mut writer, mut reader, _budget) = log_of(6);
        write(&mut writer, b"abc");
        assert_eq!(all(&mut reader), b"abc");
        let leaves = std::sync::Arc::new(Leaves(std::sync::Mutex::new(None)));
        let waker = Waker::from(std::sync::Arc::clone(&leaves));
        assert!(reader.poll_next(&mut Context::from_waker(&waker)).is_pending());
        *leaves.0.lock().expect("no panic") = Some(reader);
        assert_eq!(writer.content(), Some(vec![Bytes::from_static(b"abc")]));
        writer.finish();
        assert!(leaves.0.lock().expect("no panic").is_none(), "it has left");
    }

    #[test]
    fn early_and_late_readers_get_everything_and_a_stalled_one_delays_nobody() {
        let (mut writer, stalled, budget) = log_of(6);
        let mut early = writer.door().enter().expect("it is read");
        write(&mut writer, b"abc");
        assert_eq!(all(&mut early), b"abc");
        write(&mut writer, b"def");
        let mut late = writer.door().enter().expect("it is read");
        let door = writer.door();
        assert_eq!(writer.content().expect("whole").concat(), b"abcdef");
        writer.finish();
        assert_eq!((all(&mut early), all(&mut late)), (b"def".to_vec(), b"abcdef".to_vec()));
        assert_eq!(read(&mut late), Some(None));
        assert_eq!(budget.state().held, 6);
        drop((early, late, stalled));
        assert!(door.enter().is_none());
        assert_eq!((budget.state().held, budget.state().reserved), (0, 0));
    }

    #[test]
    fn the_last_reader_ends_it() {
        let (mut writer, reader, budget) = log_of(6);
        write(&mut writer, b"abc");
        let other = writer.door().enter().expect("it is read");
        drop(reader);
        assert_eq!(writer.closed().now_or_never(), None);
        drop(other);
        assert_eq!(writer.closed().now_or_never(), Some(()));
        assert_eq!(writer.write(b"d").now_or_never(), Some(Err(Closed)));
        assert_eq!(budget.state().held, 0);
        assert!(writer.door().enter().is_none());
    }

    #[test]
    fn a_full_log_is_a_pipe_at_the_pace_of_its_slowest_reader() {
        let (mut writer, mut slow, budget) = log_of(4);
        let mut quick = writer.door().enter().expect("it is read");
        let door = writer.door();
        write(&mut writer, b"abc");
        assert_eq!(all(&mut quick), b"abc");
        assert_eq!(writer.write(b"de").now_or_never(), None, "it never holds more than reserved");
        assert!(door.enter().is_none(), "it is no longer whole");
        assert_eq!(budget.state().held, 3);
        assert_eq!(all(&mut slow), b"abc");
        assert_eq!((budget.state().held, writer.room_now()), (0, 4));
        write(&mut writer, b"def");
        assert_eq!(writer.room(4).now_or_never(), None);
        assert_eq!(all(&mut quick), b"def");
        drop(slow);
        assert_eq!(writer.room(4).now_or_never(), Some(Ok(())));
        assert_eq!(writer.content(), None, "what is left is not the whole");
        writer.finish();
        assert_eq!(read(&mut quick), Some(None));
    }

    #[test]
    fn a_writer_that_fails_says_so_to_everybody_and_nobody_joins_it() {
        let (mut writer, mut reader, _budget) = log_of(4);
        write(&mut writer, b"a");
        let door = writer.door();
        writer.fail("the engine died");
        assert_eq!(all(&mut reader), b"a");
        assert_eq!(read(&mut reader), Some(Some(Err(Broken("the engine died".into())))));
        assert!(door.enter().is_none());
    }
}

#[cfg(evensong_loom)]
mod interleaved {
    use super::*;
    use loom::future::block_on;

    #[test]
    fn every_reader_is_woken_by_bytes_and_by_the_end() {
        loom::model(|| {
            let (mut writer, mut reader, budget) = log_of(1);
            let producer = loom::thread::spawn(move || {
                block_on(writer.write(b"a")).expect("the reader stays");
                writer.finish();
            });
            let first = block_on(poll_fn(|cx| reader.poll_next(cx)));
            assert_eq!(first.and_then(Result::ok).as_deref(), Some(&b"a"[..]));
            assert!(block_on(poll_fn(|cx| reader.poll_next(cx))).is_none());
            producer.join().expect("no panic");
            drop(reader);
            assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
        });
    }

    #[test]
    fn the_last_of_two_leaving_readers_tells_the_writer() {
        loom::model(|| {
            let (mut writer, reader, budget) = log_of(1);
            let other = writer.door().enter().expect("it is read");
            let leaver = loom::thread::spawn(move || drop(other));
            let producer = loom::thread::spawn(move || block_on(writer.closed()));
            drop(reader);
            leaver.join().expect("no panic");
            producer.join().expect("the writer was told");
            assert_eq!((budget.state().reserved, budget.state().held), (0, 0));
        });
    }

    #[test]
    fn a_writer_that_waits_for_a_full_log_is_woken_by_its_reader() {
        loom::model(|| {
            let (mut writer, mut reader, _budget) = log_of(1);
            let producer = loom::thread::spawn(move || {
                block_on(writer.write(b"a")).expect("the reader stays");
                block_on(writer.write(b"b")).expect("the reader stays");
                writer.finish();
            });
            let mut got = Vec::new();
            while let Some(bytes) = block_on(poll_fn(|cx| reader.poll_next(cx))) {
                got.extend_from_slice(&bytes.expect("finished well"));
            }
            assert_eq!(got, b"ab");
            producer.join().expect("no panic");
        });
    }
}
