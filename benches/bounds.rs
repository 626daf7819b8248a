//! What the bounds cost: a reservation, a page through the ring, a line in the ledger. Run with
//! `cargo bench --bench bounds`; the figures are compared with one another and with a plain
//! `BytesMut` copy in the same run, since machines differ.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use divan::Bencher;
use evensong::bounds::memory::allocator;
use evensong::bounds::{Budget, Stake, ring};
use evensong::ledger::{Entry, Kind, Ledger};
use futures_util::FutureExt;

fn main() {
    divan::main();
    println!("\na thing in the ledger: {:.0} bytes, its owner's name among them", bytes_a_thing());
}

/// Allocated bytes for each of 10,000 things, whose owners have ids as requests do.
fn bytes_a_thing() -> f64 {
    const THINGS: usize = 10_000;
    let heap = || allocator::heap().expect("jemalloc is the allocator here, too").allocated;
    let (ledger, mut live) = (Ledger::new(), Vec::with_capacity(THINGS));
    let before = heap();
    for n in 0..THINGS {
        live.push(ledger.enter(Kind::SpeechStream, format!("req_{n:024x}"), 1));
    }
    let grown = heap() - before + (THINGS * size_of::<Entry>()) as u64;
    drop(live);
    grown as f64 / THINGS as f64
}

const PAGE: usize = 16 * 1024;

fn pipe(pages: usize) -> (ring::Writer, ring::Reader) {
    let budget = Budget::new((PAGE * pages) as u64);
    let reservation = budget.reserve((PAGE * pages) as u64).expect("it fits");
    ring::pipe(PAGE, pages, Stake::unlisted(reservation))
}

#[divan::bench]
fn reserve_and_give_back(bencher: Bencher) {
    let budget = Budget::new(1 << 30);
    bencher.bench(|| drop(divan::black_box(budget.reserve(448 * 1024))));
}

/// The peer: the copy into a fresh page that any buffer would make.
#[divan::bench(args = [512, 4096, PAGE])]
fn copy_into_a_page(bencher: Bencher, chunk: usize) {
    let data = vec![7u8; chunk];
    bencher.counter(divan::counter::BytesCount::new(chunk)).bench(|| {
        let mut page = BytesMut::with_capacity(PAGE);
        page.put_slice(&data);
        page.freeze()
    });
}

/// The same bytes through the ring: accounting, two locks and a wake more.
#[divan::bench(args = [512, 4096, PAGE])]
fn through_the_ring(bencher: Bencher, chunk: usize) {
    let (mut writer, mut reader) = pipe(4);
    let data = vec![7u8; chunk];
    bencher.counter(divan::counter::BytesCount::new(chunk)).bench_local(|| {
        let written = writer.write(&data).now_or_never();
        assert_eq!(written, Some(Ok(())), "there is room");
        reader.next().now_or_never()
    });
}

#[divan::bench]
fn enter_and_leave_the_ledger(bencher: Bencher) {
    let (ledger, owner) = (Ledger::new(), Arc::<str>::from("req_0123456789abcdef01234567"));
    bencher.bench(|| ledger.enter(Kind::SpeechStream, Arc::clone(&owner), 1));
}

/// What `/debug/ledger` does with so many things alive.
#[divan::bench(args = [100, 10_000])]
fn look_at_the_ledger(bencher: Bencher, things: usize) {
    let ledger = Ledger::new();
    let _live: Vec<Entry> =
        (0..things).map(|n| ledger.enter(Kind::Task, format!("owner {n}"), 1)).collect();
    bencher.bench(|| (ledger.kinds(), ledger.items(None)));
}
