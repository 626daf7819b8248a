//! The framing of HTTP/1 as it comes in, stricter than the parser behind it. Invariant: no request
//! whose end two readers could see in different places reaches a handler: both lengths at once, a
//! length twice, a line that ends in a bare LF (RFC 9112, 2.2, 6.1, 6.3, 7.1).
//!
//! What is ambiguous is cut off, and [`POISON`] put in its place, which no head and no chunk size may
//! contain: so the parser itself refuses it with 400 and closes, in its place behind earlier answers.

use crate::limits::HYPER_BUFFER_BYTES;

/// No part of a head or a chunk's size, and with the two line ends a head is looked at for certain.
pub const POISON: &[u8] = b"\0\n\n";

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Framing {
    state: State,
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    /// Bytes of the request line so far; none behind it.
    request_line: Option<usize>,
}

/// What is wrong with a request, and from which byte on nothing of it may be passed on, nor of what
/// comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its end could be seen in two places.
    Ambiguous(usize),
    /// Its target does not end within what a head may be.
    TargetTooLong(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between requests, or in a request line or a field.
    #[default]
    Head,
    /// In a body of so many more bytes.
    Body(u64),
    /// In the line that says the size of a chunk.
    Size,
    /// In a chunk, with so many bytes and its line end to come.
    Chunk(u64),
    /// Behind a chunk.
    ChunkEnd,
    /// In the fields behind the last chunk.
    Trailer,
}

/// Longest line that is kept to be looked at: no length needs more, and nothing else is asked for.
const LINE_BYTES: usize = 256;
/// A target of this length still fits into the buffer with a short head; the gate wants less.
const REQUEST_LINE_BYTES: usize = HYPER_BUFFER_BYTES - 512;

impl Default for Framing {
    fn default() -> Self {
        let (line, request_line) = (Vec::new(), Some(0));
        Self { state: State::Head, line, length: None, chunked: false, request_line }
    }
}

impl Framing {
    /// Looks at what came in, for what is wrong with it.
    pub fn check(&mut self, bytes: &[u8]) -> Option<Fault> {
        let mut at = 0;
        while at < bytes.len() {
            if self.request_line.is_some_and(|length| length >= REQUEST_LINE_BYTES) {
                return Some(Fault::TargetTooLong(at));
            }
            match self.state {
                State::Body(left) | State::Chunk(left) => {
                    let count = left.min((bytes.len() - at) as u64);
                    at += count as usize;
                    self.passed(left - count);
                }
                _ => match self.byte(bytes[at]) {
                    true => at += 1,
                    false => return Some(Fault::Ambiguous(at)),
                },
            }
        }
        None
    }

    fn passed(&mut self, left: u64) {
        self.state = match (self.state, left) {
            (State::Body(_), 0) => State::Head,
            (State::Body(_), left) => State::Body(left),
            (_, 0) => State::ChunkEnd,
            (_, left) => State::Chunk(left),
        };
    }

    /// One byte of a line; false where it may not stand.
    fn byte(&mut self, byte: u8) -> bool {
        let after_cr = self.line.last() == Some(&b'\r');
        if byte != b'\n' {
            self.request_line = self.request_line.map(|length| length + 1);
            // A CR stands before an LF and nowhere else; a line longer than is kept ends in none.
            if after_cr && self.line.len() < LINE_BYTES {
                return false;
            }
            self.line.truncate(LINE_BYTES - 1);
            self.line.push(byte);
            return true;
        }
        if !after_cr {
            return false;
        }
        self.line.pop();
        let line = std::mem::take(&mut self.line);
        let fine = self.end_of_line(&line);
        self.line = line;
        self.line.clear();
        fine
    }

    fn end_of_line(&mut self, line: &[u8]) -> bool {
        match self.state {
            State::Head if line.is_empty() => self.end_of_head(),
            State::Head if self.request_line.take().is_some() => true,
            State::Head => self.field(line),
            State::Size => match size(line) {
                Some(0) => {
                    self.state = State::Trailer;
                    true
                }
                Some(size) => {
                    self.state = State::Chunk(size);
                    true
                }
                None => false,
            },
            State::ChunkEnd => {
                self.state = State::Size;
                line.is_empty()
            }
            State::Trailer if line.is_empty() => {
                self.state = State::Head;
                true
            }
            _ => true,
        }
    }

    fn end_of_head(&mut self) -> bool {
        self.request_line = Some(0);
        let (chunked, length) = (std::mem::take(&mut self.chunked), self.length.take());
        self.state = match (chunked, length) {
            (true, Some(_)) => return false,
            (true, None) => State::Size,
            (false, Some(length)) if length > 0 => State::Body(length),
            (false, _) => State::Head,
        };
        true
    }

    fn field(&mut self, line: &[u8]) -> bool {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return true };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let frames = [&b"content-length"[..], b"transfer-encoding"];
        // Of a longer line only a part is known; no length of a body needs one.
        if line.len() + 1 >= LINE_BYTES && frames.iter().any(|f| name.eq_ignore_ascii_case(f)) {
            return false;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            let (first, known) = (self.length.is_none(), length.filter(|_| digits));
            self.length = known;
            return first && known.is_some() && !self.chunked;
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let once = !self.chunked && self.length.is_none();
            self.chunked = true;
            return once && value.eq_ignore_ascii_case(b"chunked");
        }
        true
    }
}

/// The size of a chunk, whatever extensions follow it.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let fine = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| fine)?;
    u64::from_str_radix(text, 16).ok()
}

const _: () = assert!(LINE_BYTES < HYPER_BUFFER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text` is refused, the same whichever way it is cut.
    fn is_refused(text: &str) -> bool {
        let refused = |step: usize| {
            let mut framing = Framing::default();
            text.as_bytes().chunks(step).any(|part| framing.check(part).is_some())
        };
        let whole = refused(text.len());
        for step in [1, 2, 3, 7] {
            assert_eq!(refused(step), whole, "{text:?} by {step}");
        }
        whole
    }

    #[test]
    fn what_has_one_end_passes() {
        let long = format!("GET /{} HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(900), "b".repeat(900));
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n\r\rGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n4;a=\"b\"\r\n\n\n\n\n\r\n\
             0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            &long,
        ] {
            assert!(!is_refused(text), "{text:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        for fields in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "Content-Length: 4\r\nContent-Length: 5",
            "Content-Length: 4\r\nContent-Length: 4",
            "Content-Length: 4, 4",
            "Content-Length: +4",
            "Content-Length: 0x4",
            "Content-Length: -1",
            "Content-Length: 99999999999999999999999",
            &format!("Content-Length: {}44", "0".repeat(300)),
            &format!("Content-Length: {}44", " ".repeat(300)),
            &format!("Transfer-Encoding: {}chunked", " ".repeat(300)),
            "Content-Length:",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "X: a\nContent-Length: 4",
            "X: a\rY: b",
        ] {
            assert!(is_refused(&post(fields)), "{fields:?}");
        }
        let chunked = post("Transfer-Encoding: chunked");
        for body in [
            "4\nabcd\r\n",
            "x\r\n",
            "4 4\r\nabcd\r\n",
            "4\r\nabcde\r\n",
            "4\r\nabcd\n",
            "-1\r\n",
            "\r\n",
            "00000000000000000\r\n",
            "0\r\nx: y\n\r\n",
        ] {
            assert!(is_refused(&format!("{chunked}{body}")), "{body:?}");
        }
        let body = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\n\r\n";
        assert!(is_refused(body), "the request behind a body is looked at as well");
    }

    #[test]
    fn it_is_refused_from_the_byte_at_which_that_is_known() {
        let head = b"GET / HTTP/1.1\nHost: a\r\n\r\n";
        assert_eq!(Framing::default().check(head), Some(Fault::Ambiguous(14)));
        let long = [&b"GET /"[..], &vec![b'a'; 20_000], b" HTTP/1.1\r\n"].concat();
        let fault = Fault::TargetTooLong(REQUEST_LINE_BYTES);
        assert_eq!(Framing::default().check(&long), Some(fault));
    }
}
