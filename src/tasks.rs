//! The only place that spawns. Invariant: every task, thread and child process has an owner that
//! ends it: a task ends with its [`Scope`], a child with its [`Child`] handle, and all of them stand
//! in the ledger for as long as they live.
//!
//! A scope stops in two steps: *soft* asks (tasks see it at [`Spawner::stopping`]), *hard* drops
//! every future where it waits. Dropping the scope is the hard step.

// Here, and only here, is what the rest of the code is not allowed to call.
#![allow(clippy::disallowed_methods)]

mod child;
mod cleanup;
pub mod manager;
mod signals;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio_util::sync::{
    CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned,
};
use tokio_util::task::TaskTracker;

use crate::ledger::{Departure, Entry, Kind, Ledger};

pub use child::Child;
pub use cleanup::Cleanup;
pub use signals::{Signal, Signals, leave_signals_to_the_server};

/// Owns tasks; they do not outlive it.
pub struct Scope {
    spawner: Spawner,
}

/// Spawns into a scope. Clones spawn into the same one; after its end they spawn nothing.
#[derive(Clone)]
pub struct Spawner(Arc<Inner>);

struct Inner {
    name: &'static str,
    ledger: Ledger,
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

/// How a scope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every task ended by itself after the soft stop.
    Softly,
    /// This many tasks had to be dropped.
    Hard(usize),
}

impl Scope {
    /// An empty scope; its `name` stands in logs.
    pub fn new(name: &'static str, ledger: Ledger) -> Self {
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let tracker = TaskTracker::new();
        Self { spawner: Spawner(Arc::new(Inner { name, ledger, tracker, soft, hard })) }
    }

    /// A handle that spawns into this scope.
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Asks the tasks to end; see [`Spawner::stopping`].
    pub fn stop_softly(&self) {
        self.spawner.0.soft.cancel();
    }

    /// Asks the tasks to end, waits at most `patience`, then drops those that are left.
    pub async fn stop(self, patience: Duration) -> Stopped {
        let inner = &self.spawner.0;
        let started = tokio::time::Instant::now();
        inner.soft.cancel();
        inner.tracker.close();
        let softly = tokio::time::timeout(patience, inner.tracker.wait()).await.is_ok();
        let left = inner.tracker.len();
        inner.hard.cancel();
        inner.tracker.wait().await;
        let stopped = if softly { Stopped::Softly } else { Stopped::Hard(left) };
        let took_ms = started.elapsed().as_millis() as u64;
        tracing::info!(scope = inner.name, ?stopped, took_ms, "scope ended");
        stopped
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.spawner.0.soft.cancel();
        self.spawner.0.hard.cancel();
    }
}

impl Spawner {
    /// Runs `future` as a task of the scope, in the ledger as `kind` of `owner`.
    pub fn spawn<F>(&self, kind: Kind, owner: impl Into<Arc<str>>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.run(self.0.ledger.enter(kind, owner, 0), future);
    }

    /// As [`Spawner::spawn`], for `client`: a task that outlives it is seen.
    pub fn spawn_for<F>(
        &self,
        client: &Departure,
        kind: Kind,
        owner: impl Into<Arc<str>>,
        future: F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = self.0.ledger.enter(kind, owner, 0);
        entry.belongs_to(client);
        self.run(entry, future);
    }

    fn run<F>(&self, entry: Entry, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        debug_assert!(entry.kind().is_task(), "{} is not a kind of task", entry.kind().name());
        let over = self.0.hard.clone().cancelled_owned();
        self.0.tracker.spawn(Until { over, future, entry });
    }

    /// Runs `work` every `period` until the scope stops; a late tick is not made up for.
    pub fn every<F, Fut>(&self, name: &'static str, period: Duration, mut work: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let this = self.clone();
        self.spawn(Kind::Timer, name, async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = this.stopping() => return,
                    _ = ticks.tick() => work().await,
                }
            }
        });
    }

    /// Runs `work`, which blocks, on one of the runtime's threads for it. Once begun it ends by itself
    /// only, so it must be bounded; it stands in the ledger until then, whoever still waits for it.
    pub async fn blocking<T: Send + 'static>(
        &self,
        owner: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.block(Kind::Blocking, owner, work).await
    }

    /// As [`Spawner::blocking`], for what the server does for itself: it is nobody's that outlives its client.
    pub async fn errand<T: Send + 'static>(
        &self,
        owner: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.block(Kind::Errand, owner, work).await
    }

    async fn block<T: Send + 'static>(
        &self,
        kind: Kind,
        owner: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let entry = self.0.ledger.enter(kind, owner, 0);
        let work = move || {
            let _entry = entry;
            work()
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Ready as soon as the scope was asked to stop.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.0.soft.cancelled()
    }

    /// As [`Spawner::stopping`], for what may outlive this handle.
    pub fn stopping_owned(&self) -> WaitForCancellationFutureOwned {
        self.0.soft.clone().cancelled_owned()
    }

    /// Whether the scope was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.soft.is_cancelled()
    }

    /// The books in which this scope's tasks stand.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// hyper's executor: its HTTP/2 tasks are tasks of this scope, for `client`.
    pub fn executor(&self, owner: Arc<str>, client: Departure) -> Executor {
        Executor { spawner: self.clone(), owner, client }
    }
}

/// See [`Spawner::executor`].
#[derive(Clone)]
pub struct Executor {
    spawner: Spawner,
    owner: Arc<str>,
    client: Departure,
}

tokio::task_local! {
    static CURRENT: CancellationToken;
}

/// Ends the task of an [`Executor`] in which it was asked for: for HTTP/2, one stream of a connection,
/// whatever it waits for. `None` in other tasks.
pub fn current_stream() -> Option<CancellationToken> {
    CURRENT.try_with(CancellationToken::clone).ok()
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let ended = CancellationToken::new();
        let future = CURRENT.scope(ended.clone(), future);
        let future = Until { over: ended.cancelled_owned(), future, entry: () };
        self.spawner.spawn_for(&self.client, Kind::Task, Arc::clone(&self.owner), future);
    }
}

pin_project! {
    /// A future that is over when it is, or when it is told to be, and not polled then. An async block that selects would hold it
    /// twice, once as it was given and once as it is waited for: a connection's 7 KiB would be 16.
    struct Until<F, T> {
        #[pin]
        over: WaitForCancellationFutureOwned,
        #[pin]
        future: F,
        // Dropped last, after the future and all that it owned.
        entry: T,
    }
}

impl<F: Future, T> Future for Until<F, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        match this.over.poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => this.future.poll(cx).map(drop),
        }
    }
}

/// Starts a thread of a worker *process*, which ends with the process; the server has none.
pub fn process_thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn scope() -> (Scope, Ledger) {
        let ledger = Ledger::new();
        (Scope::new("test", ledger.clone()), ledger)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_listens_ends_softly() {
        let (scope, ledger) = scope();
        let spawner = scope.spawner();
        scope.spawner().spawn(Kind::Task, "t", async move { spawner.stopping().await });
        assert_eq!(ledger.live(Kind::Task), 1);
        assert_eq!(scope.stop(Duration::from_secs(1)).await, Stopped::Softly);
        assert!(ledger.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_is_dropped_where_it_waits() {
        let (scope, ledger) = scope();
        scope.spawner().spawn(Kind::Task, "deaf", std::future::pending());
        assert_eq!(scope.stop(Duration::from_secs(1)).await, Stopped::Hard(1));
        assert!(ledger.is_idle());
    }

    #[tokio::test]
    async fn what_the_server_does_for_itself_is_no_clients_that_has_gone() {
        let (scope, ledger) = scope();
        let spawner = scope.spawner();
        let books = ledger.clone();
        let seen = spawner.errand("t", move || (books.is_idle(), books.live(Kind::Errand)));
        assert_eq!(seen.await, Some((true, 1)));
        let books = ledger.clone();
        let seen = spawner.blocking("t", move || (books.is_idle(), books.live(Kind::Blocking)));
        assert_eq!(seen.await, Some((false, 1)));
        assert_eq!((ledger.live(Kind::Errand), ledger.live(Kind::Blocking)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_scope_ends_its_tasks_and_later_ones() {
        let (scope, ledger) = scope();
        let spawner = scope.spawner();
        spawner.spawn(Kind::Task, "t", std::future::pending());
        drop(scope);
        spawner.spawn(Kind::Task, "late", std::future::pending());
        spawner.0.tracker.close();
        spawner.0.tracker.wait().await;
        assert!(ledger.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_ticks_until_its_scope_stops_and_never_after() {
        let (scope, ledger) = scope();
        let ticks = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ticks);
        scope.spawner().every("tick", Duration::from_secs(1), move || {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        });
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 4, "at once, and after 1, 2 and 3 s");
        assert_eq!(scope.stop(Duration::from_secs(1)).await, Stopped::Softly);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((ticks.load(Ordering::SeqCst), ledger.live(Kind::Timer)), (4, 0));
    }
}
