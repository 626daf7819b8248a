//! Leaks on purpose, for the tests that show that they are named. They are in no build but those that ask for
//! the features, and there only requests whose id begins with the feature's name leak.

use std::sync::Arc;

use crate::bounds::Stake;

/// What a stream that was just admitted leaks.
pub fn admitted(owner: &str, stake: &Arc<Stake>) {
    #[cfg(feature = "leak-guards")]
    if owner.starts_with("leak-guards") {
        #[expect(clippy::disallowed_methods, reason = "this is the leak")]
        std::mem::forget(Arc::clone(stake));
    }
    #[cfg(feature = "leak-map")]
    if owner.starts_with("leak-map") {
        map::grow(owner);
    }
    let _ = (owner, stake);
}

#[cfg(feature = "leak-map")]
mod map {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// As large as the answers that a careless cache keeps for ever.
    const EACH_BYTES: usize = 4 << 20;

    static MAP: OnceLock<Mutex<HashMap<String, Vec<u8>>>> = OnceLock::new();

    pub fn grow(owner: &str) {
        let map = MAP.get_or_init(Mutex::default);
        let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{owner}/{}", map.len());
        map.insert(key, vec![1; EACH_BYTES]);
    }
}
