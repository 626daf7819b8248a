//! What is promised to a client, and what holds it to that. Invariant: nothing is held for a client
//! beyond a reservation made before it was admitted, and all of it is back when the client has gone.

pub mod budget;
pub mod lease;
pub mod limiter;
pub mod log;
pub mod memory;
pub mod replay;
pub mod ring;
pub mod signing;
mod stake;
mod sync;
pub mod websocket;

pub use budget::{Budget, Reservation};
pub use stake::Stake;
