//! A request's id: the client's, if it is sane, else one of ours; in every answer.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use axum::extract::Request;
use axum::response::Response;
use http::{HeaderName, HeaderValue};

use crate::limits::REQUEST_ID_BYTES;

const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// The id, as an extension of the request.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// Gives a request its id.
pub fn give(request: &mut Request) -> Arc<str> {
    let given = request.headers().get(NAME).and_then(|value| value.to_str().ok());
    let id: Arc<str> = match given.filter(|id| is_sane(id)) {
        Some(id) => id.into(),
        None => fresh().into(),
    };
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    id
}

/// Tells its answer the same.
pub fn tell(id: &str, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(NAME, value);
    }
}

/// Nothing that could break a line of a log or a terminal.
fn is_sane(id: &str) -> bool {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.chars().all(sane)
}

/// One that this server has not given before, and most likely no other one either. It can be guessed: no secret hangs on it, and
/// asking the kernel for chance with each request would cost more than the rest of this.
fn fresh() -> String {
    static BEGAN_WITH: LazyLock<[u64; 2]> = LazyLock::new(|| {
        let mut bytes = [0; 16];
        // One that repeats is a nuisance, not a danger.
        let _ = getrandom::fill(&mut bytes);
        let half = |from: usize| std::array::from_fn(|at| bytes[from + at]);
        [u64::from_le_bytes(half(0)), u64::from_le_bytes(half(8))]
    });
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let [server, first] = *BEGAN_WITH;
    let number = first.wrapping_add(NEXT.fetch_add(1, Relaxed));
    format!("req_{:08x}{:016x}", server as u32, mixed(number))
}

/// SplitMix64 (Steele, Lea and Flood, 2014), in which no two numbers become the same: neighbours in a log look different.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_plain_short_ids_are_taken_over() {
        assert!(is_sane("a1-B2_c3.d4:e/f"));
        let long = "x".repeat(REQUEST_ID_BYTES + 1);
        for bad in ["", "a b", "a\n", "\x1b[31m", "ä", &long] {
            assert!(!is_sane(bad), "{bad:?}");
        }
        let given: HashSet<String> = (0..10_000).map(|_| fresh()).collect();
        assert_eq!(given.len(), 10_000);
        assert!(given.iter().all(|id| is_sane(id) && id.len() == 28));
    }
}
