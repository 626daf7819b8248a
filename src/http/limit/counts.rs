//! How many of something each address or key has at once. Invariant: a place goes back when it is
//! dropped, and who has none is not remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Key;

/// How many of something each key has; a key is in it only while it has some. Clones share it.
#[derive(Clone, Default)]
pub struct Counts(Arc<Mutex<HashMap<Key, usize>>>);

impl Counts {
    /// One more of `key`, unless that would be more than `most`.
    pub fn enter(&self, key: Key, most: usize) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.get(&key).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        drop(counts);
        Some(Place(Some((self.clone(), key))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those of an address or a key, or none that is counted.
#[derive(Default)]
pub struct Place(Option<(Counts, Key)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((counts, key)) = self.0.take() else { return };
        let mut counts = counts.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
                // A flood's map is given back once the flood is over.
                if counts.is_empty() {
                    counts.shrink_to_fit();
                }
            }
        }
    }
}
