//! Server-sent events, read as their bytes come (WHATWG HTML, 9.2.6). Invariants: however the bytes are cut, the
//! events are the same; a line and an event are each at most [`EVENT_BYTES`] long, or reading ends with an error.
//!
//! `id` and `retry` are for those who connect again, which nobody does here. A field `error` is none of the standard's:
//! llama.cpp's server said its errors so until late in 2025, and `[DONE]` behind them, as if all were well.

use bytes::{Buf, Bytes};

use crate::limits::EVENT_BYTES;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty where none is said.
    pub kind: String,
    /// Its lines of data, with newlines between them.
    pub data: String,
}

/// A line or an event is longer than it may be; nothing behind it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES} bytes")]
pub struct EventTooLong;

/// Reads events; see the module.
#[derive(Debug, Default)]
pub struct Events {
    /// The beginning of a line whose end did not come yet.
    line: Vec<u8>,
    /// Of the event whose end did not come yet; each line of its data ends with a newline.
    event: Event,
    /// The next byte is no line of its own if it is LF.
    after_cr: bool,
    /// The first line, which may begin with a byte order mark, is over.
    begun: bool,
    failed: bool,
}

impl Events {
    /// The next event, if its end is in `bytes`, of which what was read is taken off.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Event>, EventTooLong> {
        while !bytes.is_empty() && !self.failed {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes.advance(1);
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let part = bytes.split_to(end.unwrap_or(bytes.len()));
            if self.line.len() + part.len() > EVENT_BYTES {
                self.failed = true;
                break;
            }
            self.line.extend_from_slice(&part);
            if end.is_none() {
                break;
            }
            self.after_cr = bytes[0] == b'\r';
            bytes.advance(1);
            // Taken and put back, so that its room is used again.
            let mut line = std::mem::take(&mut self.line);
            let event = self.read(&line);
            line.clear();
            self.line = line;
            if event.is_some() {
                return Ok(event);
            }
        }
        if self.failed { Err(EventTooLong) } else { Ok(None) }
    }

    /// Reads a whole line; an empty one ends an event.
    fn read(&mut self, line: &[u8]) -> Option<Event> {
        let is_first = !std::mem::replace(&mut self.begun, true);
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| is_first).unwrap_or(line);
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            // Only what has data is an event, be it an empty line of it.
            return event.data.pop().map(|_| event);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event.kind = String::from_utf8_lossy(value).into_owned(),
            b"data" => self.add(value),
            b"error" => {
                self.event.kind = "error".into();
                self.add(value);
            }
            _ => {}
        }
        None
    }

    fn add(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        if self.event.data.len() + value.len() > EVENT_BYTES {
            self.failed = true;
            return;
        }
        self.event.data.push_str(&value);
        self.event.data.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(String, String)>, Option<EventTooLong>);

    /// All events of bytes that come in slices of these lengths, over and over.
    fn read(bytes: &[u8], slices: &[usize]) -> Read {
        let (mut events, mut read, mut rest) = (Events::default(), Vec::new(), bytes);
        for slice in slices.iter().cycle() {
            let (now, later) = rest.split_at((*slice).clamp(1, rest.len().max(1)).min(rest.len()));
            let mut now = Bytes::copy_from_slice(now);
            loop {
                match events.next(&mut now) {
                    Ok(Some(Event { kind, data })) => read.push((kind, data)),
                    Ok(None) => break,
                    Err(error) => return (read, Some(error)),
                }
            }
            assert!(now.is_empty(), "what is not read is kept");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        (read, None)
    }

    fn whole(text: &str) -> Vec<(String, String)> {
        let (events, error) = read(text.as_bytes(), &[text.len().max(1)]);
        assert_eq!(error, None);
        events
    }

    #[test]
    fn events_are_read_as_the_standard_has_them() {
        let event = |kind: &str, data: &str| (kind.to_string(), data.to_string());
        for (text, events) in [
            ("data: a\n\n", vec![event("", "a")]),
            ("data:a\r\rdata:b\r\n\r\ndata:c\n\r\n", ["a", "b", "c"].map(|d| event("", d)).into()),
            ("\u{feff}data: a\n\n", vec![event("", "a")]),
            ("\u{feff}\ndata: a\n\n\u{feff}data: b\n\n", vec![event("", "a")]),
            ("data: a\ndata\ndata:  b\n\n", vec![event("", "a\n\n b")]),
            (": a comment\ndata: a\n:\n\n:\n\n", vec![event("", "a")]),
            ("event: x\ndata: a\n\ndata: b\n\n", vec![event("x", "a"), event("", "b")]),
            ("event: x\n\ndata: a\n\n", vec![event("", "a")]),
            ("id: 7\nretry: 1\nDATA: x\ndata : x\n\n", vec![]),
            ("data\n\ndata:\n\n", vec![event("", ""), event("", "")]),
            ("error: {\"code\":400}\n\ndata: [DONE]\n\n", {
                vec![event("error", "{\"code\":400}"), event("", "[DONE]")]
            }),
            ("data: a\n\ndata: not ended\n", vec![event("", "a")]),
            ("", vec![]),
        ] {
            assert_eq!(whole(text), events, "{text:?}");
        }
        let (events, _) = read(b"data: a\xffb\xe2\n\n", &[64]);
        assert_eq!(events, [event("", "a\u{fffd}b\u{fffd}")]);
    }

    #[test]
    fn a_line_and_an_event_are_bounded() {
        let line = |bytes: usize| format!("data: {}", "x".repeat(bytes - 6));
        assert_eq!(whole(&format!("{}\n\n", line(EVENT_BYTES)))[0].1.len(), EVENT_BYTES - 6);
        let endless = |text: &str| read(text.as_bytes(), &[1000]);
        let (before, error) = endless(&format!("data: a\n\n{}", line(EVENT_BYTES + 1)));
        assert_eq!((before.len(), error), (1, Some(EventTooLong)));
        for text in [": ".repeat(EVENT_BYTES), "data: xxx\n".repeat(EVENT_BYTES / 4 + 1)] {
            assert_eq!(endless(&text), (vec![], Some(EventTooLong)));
        }
        let mut events = Events::default();
        for _ in 0..EVENT_BYTES / 1024 {
            assert_eq!(events.next(&mut Bytes::from("x".repeat(1024))), Ok(None));
        }
        for _ in 0..10_000 {
            assert_eq!(events.next(&mut Bytes::from("data: a\n\n")), Err(EventTooLong), "over");
        }
        assert!(events.line.capacity() <= 2 * EVENT_BYTES, "{}", events.line.capacity());
    }

    /// Bytes of which events are made more often than by chance.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            prop::sample::select(&[
                "data:", "data: ", "event: ", "error: ", ":", "\r", "\n", "\r\n", "\n\n", "[DONE]",
                "\u{feff}", "ü", "🎵",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..9),
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn however_they_are_cut_the_events_are_the_same(
            bytes in bytes(),
            slices in prop::collection::vec(1usize..20, 1..8),
        ) {
            let at_once = read(&bytes, &[bytes.len().max(1)]);
            prop_assert_eq!(&read(&bytes, &slices), &at_once);
            prop_assert_eq!(read(&bytes, &[1]), at_once);
        }
    }
}
