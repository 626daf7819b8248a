//! The tokens of a GraphQL document (*GraphQL*, September 2025, 2.1). Invariant: each is a slice of the text or less, so
//! that reading one keeps nothing; what is no token is refused where it stands.

/// A token, as far as a shape needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A name, or a word of the language.
    Name(&'a str),
    /// `! $ & ( ) : = @ [ ] { | }`
    Mark(char),
    /// `...`
    Spread,
    /// A number, of either kind.
    Number,
    /// A string, of either kind.
    Text,
    /// Nothing more.
    End,
}

/// What is wrong with a document, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where.
    pub at: usize,
    /// What.
    pub what: String,
}

impl Wrong {
    /// At `at`.
    pub fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    /// Line and column of the place in `text`, in characters from 1.
    pub fn place(&self, text: &str) -> (usize, usize) {
        let before = &text[..self.at.min(text.len())];
        let lines = before.replace("\r\n", "\n").replace('\r', "\n");
        let last = lines.rsplit('\n').next().unwrap_or_default();
        (lines.matches('\n').count() + 1, last.chars().count() + 1)
    }
}

/// The rest of a document.
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Of `text`.
    pub fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Where the next token begins, and it.
    pub fn next(&mut self) -> Result<(usize, Token<'a>), Wrong> {
        self.pass_ignored();
        let start = self.at;
        let Some(byte) = self.byte(0) else { return Ok((start, Token::End)) };
        let token = match byte {
            b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|'
            | b'}' => {
                self.at += 1;
                Token::Mark(char::from(byte))
            }
            b'.' if self.text[self.at..].starts_with("...") => {
                self.at += 3;
                Token::Spread
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.pass(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                Token::Name(&self.text[start..self.at])
            }
            b'-' | b'0'..=b'9' => self.number(start)?,
            b'"' if self.text[self.at..].starts_with(r#"""""#) => self.block(start)?,
            b'"' => self.string(start)?,
            _ => {
                let odd = self.text[self.at..].chars().next().unwrap_or_default();
                return Err(Wrong::new(start, format!("{odd:?} has no meaning here")));
            }
        };
        Ok((start, token))
    }

    fn pass(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.byte(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }

    /// White space, commas, comments, and the mark that some files begin with.
    fn pass_ignored(&mut self) {
        loop {
            self.pass(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b','));
            if self.byte(0) == Some(b'#') {
                self.pass(|byte| !matches!(byte, b'\n' | b'\r'));
            } else if self.text[self.at..].starts_with('\u{feff}') {
                self.at += '\u{feff}'.len_utf8();
            } else {
                return;
            }
        }
    }

    fn number(&mut self, start: usize) -> Result<Token<'a>, Wrong> {
        let bad = || Wrong::new(start, "a number is not written so");
        self.at += usize::from(self.byte(0) == Some(b'-'));
        let is_zero = self.byte(0) == Some(b'0');
        let digits = self.pass(|byte| byte.is_ascii_digit());
        if digits == 0 || (is_zero && digits > 1) {
            return Err(bad());
        }
        if self.byte(0) == Some(b'.') {
            self.at += 1;
            if self.pass(|byte| byte.is_ascii_digit()) == 0 {
                return Err(bad());
            }
        }
        if matches!(self.byte(0), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(0), Some(b'+' | b'-')));
            if self.pass(|byte| byte.is_ascii_digit()) == 0 {
                return Err(bad());
            }
        }
        let glued = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.');
        if self.byte(0).is_some_and(glued) { Err(bad()) } else { Ok(Token::Number) }
    }

    /// `"…"`, on one line.
    fn string(&mut self, start: usize) -> Result<Token<'a>, Wrong> {
        self.at += 1;
        loop {
            self.pass(|byte| !matches!(byte, b'"' | b'\\' | b'\n' | b'\r'));
            match self.byte(0) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token::Text);
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(Wrong::new(start, "a string begins here and does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Wrong> {
        let start = self.at;
        let bad = || Wrong::new(start, "there is no such escape");
        self.at += 2;
        match self.text.as_bytes().get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') if self.byte(0) == Some(b'{') => {
                self.at += 1;
                let digits = self.pass(|byte| byte.is_ascii_hexdigit());
                self.at += 1;
                let closed = self.text.as_bytes().get(self.at - 1) == Some(&b'}');
                if closed && digits > 0 { Ok(()) } else { Err(bad()) }
            }
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4);
                self.at += 4;
                let fine = digits.is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit));
                if fine { Ok(()) } else { Err(bad()) }
            }
            _ => Err(bad()),
        }
    }

    /// `"""…"""`, on several lines.
    fn block(&mut self, start: usize) -> Result<Token<'a>, Wrong> {
        self.at += 3;
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(r#"""""#) else {
                return Err(Wrong::new(start, "a string begins here and does not end"));
            };
            self.at += end + 3;
            if !rest[..end].ends_with('\\') {
                return Ok(Token::Text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Token<'_>>, Wrong> {
        let mut tokens = Tokens::of(text);
        let mut found = Vec::new();
        loop {
            match tokens.next()?.1 {
                Token::End => return Ok(found),
                token => found.push(token),
            }
        }
    }

    #[test]
    fn what_is_ignored_divides_and_nothing_else() {
        let name = Token::Name;
        for text in ["a b_1", "a,,b_1", "\u{feff}a#x}\rb_1#", "\ta\r\n\u{feff} b_1 # \u{1F600}"] {
            assert_eq!(all(text), Ok(vec![name("a"), name("b_1")]), "{text:?}");
        }
        let text =
            "... \"a # \\\" \\u00e9 \\u{1F600}\" -0.5e+1 0 \"\"\"x \\\"\"\" \" y\n\"\"\" \"\" ä";
        let wrong = all(text).expect_err("a letter of no name");
        assert_eq!(wrong.place(text), (2, 8));
        let text = &text[..wrong.at];
        use Token::{Number, Spread, Text};
        assert_eq!(all(text), Ok(vec![Spread, Text, Number, Number, Text, Text]));
    }

    #[test]
    fn what_is_no_token_is_refused_where_it_stands() {
        for (text, place) in [
            ("a\n .. b", (2, 2)),
            ("a\r\n\r~", (3, 1)),
            ("1a", (1, 1)),
            (" 01", (1, 2)),
            ("-", (1, 1)),
            ("1.", (1, 1)),
            ("1e", (1, 1)),
            ("1.2.3", (1, 1)),
            ("é", (1, 1)),
            ("\"abc", (1, 1)),
            ("\"a\nb\"", (1, 1)),
            ("\"\\x\"", (1, 2)),
            ("\"\\u12\"", (1, 2)),
            ("\"\\u{}\"", (1, 2)),
            ("\"\\u{1F600\"", (1, 2)),
            ("\"\\", (1, 2)),
            ("\"\"\"a\\\"\"\"", (1, 1)),
            ("\u{0}", (1, 1)),
        ] {
            assert_eq!(all(text).expect_err("is none").place(text), place, "{text:?}");
        }
    }
}
