//! The locks and atomics of the bounds, swapped for loom's when the bounds are model-checked.
//! Invariant: `budget` and `ring` take their synchronisation from here and nowhere else.
//!
//! The cfg is our own: `--cfg loom` would also hide parts of tokio.

#[cfg(not(evensong_loom))]
pub use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(evensong_loom)]
pub use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
