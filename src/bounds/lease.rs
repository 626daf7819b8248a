//! Things that are lent for a time: an unguessable token leads to a thing until its deadline, or until it is given back,
//! and only for the owner that it was lent to. Invariant: no more stand than the terms allow, for one owner or in all; what
//! has passed its deadline cannot be had, whether it was swept yet or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What holds for every lease of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// From the grant to the deadline.
    pub lasts: Duration,
    /// Most at once for one owner.
    pub per_owner: usize,
    /// Most at once.
    pub most: usize,
}

/// No more can be lent at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When a lease in the way ends at the latest.
    pub retry_after: Duration,
    /// Whether it is the owner's own share that is used up.
    pub by_owner: bool,
}

/// 128 bits that nobody guesses.
pub type Id = [u8; 16];

/// Leases of one kind. Clones share them.
pub struct Leases<T>(Arc<Inner<T>>);

impl<T> Clone for Leases<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<T> {
    terms: Terms,
    book: Mutex<Book<T>>,
}

struct Book<T> {
    leases: HashMap<Id, Lease<T>>,
    owners: HashMap<Arc<str>, usize>,
}

struct Lease<T> {
    thing: T,
    owner: Arc<str>,
    /// None while somebody else sees to its end.
    until: Option<Instant>,
}

impl<T> Lease<T> {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl<T> Leases<T> {
    /// None yet.
    pub fn new(terms: Terms) -> Self {
        let book = Mutex::new(Book { leases: HashMap::new(), owners: HashMap::new() });
        Self(Arc::new(Inner { terms, book }))
    }

    /// Lends `thing` to `owner`; the token leads to it.
    pub fn grant(&self, owner: Arc<str>, thing: T) -> Result<String, Full> {
        let id = self.id()?;
        let until = Some(Instant::now() + self.0.terms.lasts);
        self.lock().insert(self.0.terms, id, owner, until, || thing)?;
        Ok(hex(&id))
    }

    /// Lends what `make` makes, of its token, until it is taken back.
    pub fn hold(&self, owner: Arc<str>, make: impl FnOnce(&str) -> T) -> Result<T, Full>
    where
        T: Clone,
    {
        let id = self.id()?;
        self.lock().insert(self.0.terms, id, owner, None, || make(&hex(&id))).cloned()
    }

    /// What is lent under `id`, which is somebody's own; what `make` makes where nothing is. It stands until it is taken
    /// back, or given a deadline.
    pub fn named(&self, id: Id, owner: Arc<str>, make: impl FnOnce() -> T) -> Result<T, Full>
    where
        T: Clone,
    {
        let mut book = self.lock();
        let there = book.leases.get(&id).filter(|lease| !lease.is_over(Instant::now()));
        if let Some(lease) = there {
            return Ok(lease.thing.clone());
        }
        book.remove(&id);
        book.insert(self.0.terms, id, owner, None, make).cloned()
    }

    /// Takes back what is lent under `id`.
    pub fn drop_named(&self, id: &Id) {
        let lease = self.lock().remove(id);
        drop(lease);
    }

    /// What `token` leads to; it stays lent.
    pub fn find(&self, token: &str) -> Option<T>
    where
        T: Clone,
    {
        let id = unhex(token)?;
        let book = self.lock();
        let lease = book.leases.get(&id).filter(|lease| !lease.is_over(Instant::now()))?;
        Some(lease.thing.clone())
    }

    /// All that is lent.
    pub fn all(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.lock().leases.values().map(|lease| lease.thing.clone()).collect()
    }

    /// Looks at each, and at its deadline, which may be changed.
    pub fn for_each(&self, mut look: impl FnMut(&T, &mut Option<Instant>)) {
        self.lock().leases.values_mut().for_each(|lease| look(&lease.thing, &mut lease.until));
    }

    fn id(&self) -> Result<Id, Full> {
        let mut id = Id::default();
        // Without randomness a token could be guessed: then none is lent.
        let full = Full { retry_after: self.0.terms.lasts, by_owner: false };
        getrandom::fill(&mut id).map_err(|_| full)?;
        Ok(id)
    }

    /// Ends the lease that `token` leads to, and gives its thing; a token works once.
    pub fn take(&self, token: &str) -> Option<T> {
        let id = unhex(token)?;
        let mut book = self.lock();
        let lease = book.remove(&id)?;
        (!lease.is_over(Instant::now())).then_some(lease.thing)
    }

    /// Ends what has passed its deadline.
    pub fn sweep(&self) {
        self.lock().sweep();
    }

    /// How many stand.
    pub fn len(&self) -> usize {
        self.lock().leases.len()
    }

    /// Whether none stands.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Book<T>> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Book<T> {
    /// Where there is room for one more of `owner`.
    fn insert(
        &mut self,
        terms: Terms,
        id: Id,
        owner: Arc<str>,
        until: Option<Instant>,
        make: impl FnOnce() -> T,
    ) -> Result<&T, Full> {
        let Terms { lasts, per_owner, most } = terms;
        let own = |book: &Self| book.owners.get(&owner).copied().unwrap_or(0);
        if own(self) >= per_owner || self.leases.len() >= most {
            self.sweep();
        }
        let by_owner = own(self) >= per_owner;
        if by_owner || self.leases.len() >= most {
            return Err(Full { retry_after: lasts, by_owner });
        }
        *self.owners.entry(Arc::clone(&owner)).or_default() += 1;
        let lease = Lease { thing: make(), owner, until };
        Ok(&self.leases.entry(id).insert_entry(lease).into_mut().thing)
    }

    fn remove(&mut self, id: &Id) -> Option<Lease<T>> {
        let lease = self.leases.remove(id)?;
        if let Some(count) = self.owners.get_mut(&lease.owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&lease.owner);
            }
        }
        Some(lease)
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        let over = self.leases.iter().filter(|(_, lease)| lease.is_over(now));
        let over: Vec<Id> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.remove(&id);
        }
    }
}

fn hex(id: &Id) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

fn unhex(token: &str) -> Option<Id> {
    if token.len() != 32 || !token.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(token, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const TERMS: Terms = Terms { lasts: Duration::from_secs(30), per_owner: 3, most: 5 };

    #[tokio::test(start_paused = true)]
    async fn a_token_works_once_and_not_after_its_time() {
        let leases = Leases::new(TERMS);
        let (first, second) = (
            leases.grant("a".into(), 1).expect("room"),
            leases.grant("a".into(), 2).expect("room"),
        );
        assert_eq!(leases.take(&first), Some(1));
        assert_eq!(leases.take(&first), None);
        advance(Duration::from_secs(30)).await;
        assert_eq!(leases.take(&second), None);
        assert!(leases.is_empty());
        for nonsense in ["", "x", &"0".repeat(32), &"ä".repeat(16), &"+".repeat(32)] {
            assert_eq!(leases.take(nonsense), None, "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_owner_has_a_share_and_all_have_one() {
        let leases = Leases::new(TERMS);
        let grant = |owner: &str| leases.grant(owner.into(), ());
        for _ in 0..3 {
            grant("a").expect("room");
        }
        assert!(grant("a").expect_err("the share is used up").by_owner);
        grant("b").expect("room");
        let last = grant("c").expect("room");
        assert!(!grant("d").expect_err("all are lent").by_owner);
        assert_eq!(leases.take(&last), Some(()));
        grant("d").expect("room again");
        advance(Duration::from_secs(30)).await;
        grant("a").expect("what is over makes room without a sweep");
        assert_eq!(leases.len(), 1);
        advance(Duration::from_secs(30)).await;
        leases.sweep();
        assert!(leases.is_empty() && leases.lock().owners.is_empty());
    }
}
