//! What lives elsewhere: asked within deadlines, answered within bounds. Invariants: nothing that is held for an
//! upstream outlives its generation or the request that it is held for; what was not wholly received is
//! never taken for whole; a key is sent to its upstream and written down nowhere.
//!
//! Streams and searches go through a client over hyper's connections ([`Upstream::open`]), whose buffers can be bounded;
//! short JSON through reqwest ([`Exchange`]).

pub mod address;
pub mod aged;
mod body;
pub mod breaker;
mod client;
pub mod dial;
mod error;
pub mod events;
mod exchange;
pub mod graphql;
mod policy;
pub mod retry;
mod roll;
mod secret;
mod socket;
mod stream;
mod tls;

pub use body::Body;
pub use error::{Fault, UpstreamError};
pub use exchange::Exchange;
pub use roll::{Roll, Rolled, UpstreamRow};
pub use secret::{Scheme, Secret};
pub use socket::{Socket, SocketConfig, Sockets};
pub use stream::{Answer, Ask, JSON, Parts, Upstream, UpstreamConfig};
pub use tls::Tls;
