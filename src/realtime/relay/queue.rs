//! What waits to be passed on. Invariant: it is bounded in bytes; what finds no room is not taken, in part or whole.

use std::collections::VecDeque;

use crate::limits::{OUTBOX_PLACE_BYTES, RELAY_QUEUE_BYTES};

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    /// What goes before: its size is bounded by what it tells of.
    first: VecDeque<String>,
    messages: VecDeque<String>,
    bytes: usize,
    /// Whether what came last found no room.
    is_dropping: bool,
}

impl Queue {
    /// Puts these before all that waits.
    pub fn put_before(&mut self, messages: Vec<String>) {
        self.first = messages.into();
    }

    /// Takes one more. False where there is no room.
    pub fn push(&mut self, message: &str) -> bool {
        let bytes = message.len() + OUTBOX_PLACE_BYTES;
        if self.bytes + bytes > RELAY_QUEUE_BYTES {
            return false;
        }
        self.is_dropping = false;
        self.bytes += bytes;
        self.messages.push_back(message.to_string());
        true
    }

    /// What came found no room. True for the first of such a row.
    pub fn drops(&mut self) -> bool {
        !std::mem::replace(&mut self.is_dropping, true)
    }

    /// Gives the next.
    pub fn pop(&mut self) -> Option<String> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        let next = self.messages.pop_front()?;
        self.bytes -= next.len() + OUTBOX_PLACE_BYTES;
        if self.messages.is_empty() {
            // A queue that was long once keeps no room for it.
            (self.first, self.messages) = Default::default();
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_burst_and_no_more_and_says_so_once() {
        let mut queue = Queue::default();
        let second = "x".repeat(64_000);
        assert_eq!((0..9).filter(|_| queue.push(&second)).count(), 6);
        assert!(queue.drops() && !queue.drops());
        assert!(queue.push("small"), "what fits is taken");
        assert!(queue.drops(), "another row");
        queue.put_before(vec!["before".into()]);
        assert_eq!(queue.pop().as_deref(), Some("before"));
        assert_eq!((0..9).filter_map(|_| queue.pop()).count(), 7);
        assert_eq!(queue.bytes, 0);
    }
}
