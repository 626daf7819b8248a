//! Which of a file's forms a client gets: `Accept-Encoding`, RFC 9110, 12.5.3. Pure. Invariant: no form is chosen that
//! the client refuses; among those it likes best, the smallest is.

use http::{HeaderMap, header};

use super::files::{Coding, File};

/// Thousandths, as RFC 9110, 12.4.2 allows three digits; 0 refuses.
type Weight = u16;
const MOST: Weight = 1_000;

/// What a client takes: names of codings with their weights, in the order in which they came.
#[derive(Debug, Default)]
pub struct Accepted<'a> {
    weights: Vec<(&'a str, Weight)>,
}

/// A form: how it is coded, and its bytes.
type Form = (Option<Coding>, &'static [u8]);

impl<'a> Accepted<'a> {
    /// What the fields say, if there are any. A member that cannot be read counts as not there.
    pub fn parse(headers: &'a HeaderMap) -> Self {
        let fields = headers.get_all(header::ACCEPT_ENCODING).iter();
        let members = fields.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
        Self { weights: members.filter_map(member).collect() }
    }

    /// The form to send; `None` if each is refused. Without a wish it is the plain one, which every client reads.
    pub fn choose(&self, file: &'static File) -> Option<Form> {
        let plain = self.identity().map(|weight| (weight, (None, file.identity)));
        let coded = file.coded.iter().filter_map(|&(coding, form)| {
            let weight = self.weight(|name| coding.is(name)).filter(|weight| *weight > 0)?;
            Some((weight, (Some(coding), form)))
        });
        // Of equals the last is taken; the smallest stands in front of the table.
        let forms = plain.into_iter().chain(coded.rev());
        forms.max_by_key(|(weight, _)| *weight).map(|(_, form)| form)
    }

    /// What the plain form is worth: not named, it is taken where nothing else can be.
    fn identity(&self) -> Option<Weight> {
        match self.weight(|name| name.eq_ignore_ascii_case("identity")) {
            Some(0) => None,
            weight => Some(weight.unwrap_or(0)),
        }
    }

    /// The weight of what is named so; `*` stands for whatever is not named.
    fn weight(&self, is: impl Fn(&str) -> bool) -> Option<Weight> {
        let named = |is: &dyn Fn(&str) -> bool| {
            self.weights.iter().find(|(name, _)| is(name)).map(|(_, weight)| *weight)
        };
        named(&is).or_else(|| named(&|name| name == "*"))
    }
}

/// `name` or `name;q=weight`.
fn member(text: &str) -> Option<(&str, Weight)> {
    let (name, parameter) = match text.split_once(';') {
        Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
        None => (text.trim(), None),
    };
    let weight = match parameter {
        None => MOST,
        Some(parameter) => {
            let (key, value) = parameter.split_once('=')?;
            thousandths(value).filter(|_| key.eq_ignore_ascii_case("q"))?
        }
    };
    (!name.is_empty()).then_some((name, weight))
}

/// A qvalue: RFC 9110, 12.4.2.
fn thousandths(text: &str) -> Option<Weight> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match whole {
        "0" => 0,
        "1" => MOST,
        _ => return None,
    };
    // Three digits, with zeros in the places that were left out.
    let fraction: Weight = format!("{fraction:0<3}").parse().ok().filter(|_| is_digits)?;
    Some(whole + fraction).filter(|weight| *weight <= MOST)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use http::{HeaderMap, HeaderValue, header};

    use super::{Accepted, Coding, File};

    static TEXT: LazyLock<File> = LazyLock::new(|| File {
        name: "text.js",
        hash: "0",
        identity: b"plain plain",
        coded: vec![(Coding::Br, b"b"), (Coding::Zstd, b"zs"), (Coding::Gzip, b"gzi")],
    });
    static SOUND: File = File { name: "sound.mp3", hash: "1", identity: b"sound", coded: vec![] };

    fn chosen(file: &'static File, fields: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(field).expect("a value"));
        }
        match Accepted::parse(&headers).choose(file) {
            Some((coding, _)) => coding.map_or("identity", Coding::name),
            None => "none",
        }
    }

    #[test]
    fn a_client_gets_the_smallest_form_that_it_likes_best() {
        for (field, expected) in [
            ("br", "br"),
            ("gzip, deflate, br, zstd", "br"),
            ("gzip, deflate", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("zstd, gzip", "zstd"),
            ("gzip;q=1.0, br;q=0.8", "gzip"),
            ("br;q=0.001, zstd;q=0.002", "zstd"),
            ("br ; q=0.5 , gzip ; Q=0.7", "gzip"),
            ("br;q=0, gzip;q=0", "identity"),
            ("*", "br"),
            ("*;q=0.5, gzip;q=0.4", "br"),
            ("br;q=0, *", "zstd"),
            ("*;q=0, gzip", "gzip"),
            ("identity, gzip;q=0.5", "identity"),
            ("identity;q=0.5, gzip", "gzip"),
            ("identity;q=0, br", "br"),
            ("identity;q=0, *", "br"),
            ("deflate", "identity"),
            ("", "identity"),
            ("identity", "identity"),
            ("identity;q=0", "none"),
            ("identity;q=0, deflate", "none"),
            ("*;q=0", "none"),
            ("*;q=0, identity", "identity"),
            // What cannot be read is not there; the rest is.
            ("br;q=2, gzip", "gzip"),
            ("br;q=0.1234, zstd", "zstd"),
            ("br;q=, gzip;level=9, zstd;q=-1", "identity"),
            (";q=1,,;", "identity"),
        ] {
            assert_eq!(chosen(&TEXT, &[field]), expected, "{field:?}");
        }
        assert_eq!(chosen(&TEXT, &[]), "identity");
        assert_eq!(chosen(&TEXT, &["gzip;q=0.1", "zstd;q=0.2"]), "zstd", "two fields are one list");
    }

    #[test]
    fn what_is_compressed_already_has_one_form() {
        for field in ["br, gzip", "*", "identity", "gzip;q=1, *;q=0.1"] {
            assert_eq!(chosen(&SOUND, &[field]), "identity", "{field:?}");
        }
        assert_eq!(chosen(&SOUND, &["identity;q=0, gzip"]), "none");
    }
}
