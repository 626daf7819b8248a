//! Clients of what lives elsewhere. Invariant: nothing that is held for an upstream outlives its generation
//! or the request that it is held for.

pub mod aged;
pub mod breaker;
pub mod retry;
