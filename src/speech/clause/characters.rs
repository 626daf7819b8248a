//! The characters and words by which text is cut: ends, quotes, abbreviations, scripts. Invariant:
//! every question about a single character is answered here, once.

/// A Han, kana or Hangul character counts as so many: it is a syllable, not a letter.
pub(super) const WIDE_CHARS: usize = 3;
/// Ends that need no space after them, and are never anything else.
pub(super) const SURE_ENDS: &str = "。！？｡‼⁇⁈⁉؟۔।॥։።፧။།";
pub(super) const ENDS: &str = ".!?…";
pub(super) const CLOSERS: &str = ")]}”’」』）】》〉〕］｝";
/// Open in one language and close in the next, or both, as Markdown's do: they close where no word
/// follows.
pub(super) const QUOTES: &str = "\"'“‘«‹»›*_`";
pub(super) const OPENERS: &str = "([{“‘„‚«‹¿¡「『（【《〈〔［｛";
pub(super) const DASHES: &str = "—―–-";
/// Stand before the items of a list, with a space behind them.
pub(super) const BULLETS: &str = "-–*+•#";
/// Small kana, length and repeat marks, Thai vowels: never the first of a clause.
pub(super) const NOT_FIRST: &str = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮーｰ々ゝゞヽヾ・％ะาๅๆฯ";
/// Thai vowels that are written before their consonant.
pub(super) const NOT_LAST: &str = "เแโใไ";
/// Signs that engines read out; other punctuation alone is nothing to say.
pub(super) const SAID_SIGNS: &str = "%&+=@#$€£¥₹¢°§©®™×÷±√∞♭♮♯";

/// Never the end of a sentence. A capital here asks for one in the text; a small letter takes both.
pub(super) const ABBREVIATIONS: &str = "\
    Mr Mrs Ms Dr Prof St Mt Sgt Capt Lt Gen Col Rev Hon Messrs Gov Sen vs approx cf viz resp dept \
    ca bzw vgl ggf evtl inkl exkl zzgl sog Hr Fr Dipl Ing Mme Mmes Mlle MM Sr Sra Srta Dra Ud Uds \
    ej aprox EE डॉ";
/// The end of a sentence only where a capital follows.
pub(super) const CLOSING_ABBREVIATIONS: &str =
    "etc usw Inc Ltd Co Corp Jr Bros al ff a.m p.m u.s.w";
/// Not the end where a number follows.
pub(super) const COUNTED: &str = "\
    no nos nr núm fig figs p pp pág vol art sec ch abs ver tel Jan Feb Mar Apr Jun Jul Aug Sep \
    Sept Oct Nov Dec";
/// After these, a German number with a full stop is an ordinal: "am 3. Mai".
pub(super) const BEFORE_ORDINAL: &str = "am vom zum zur im der die das dem den des bis ab seit";
/// Words before which a long sentence may be cut.
pub(super) const CONJUNCTIONS: &str = "\
    and or but because which while although und oder aber weil dass sondern et ou mais parce car \
    y o pero porque aunque और लेकिन क्योंकि لكن لأن";

pub(super) fn is_listed(list: &str, word: &str) -> bool {
    let lower = word.to_lowercase();
    list.split(' ').any(|listed| listed == word || listed == lower)
}

/// What a word that a full stop may belong to is made of; marks have no test in std.
pub(super) fn is_abbreviation_part(c: char) -> bool {
    let breaks = c.is_whitespace() || c.is_ascii_punctuation() || DASHES.contains(c);
    c == '.' || !(breaks || OPENERS.contains(c) || CLOSERS.contains(c) || QUOTES.contains(c))
}

pub(super) fn is_said(c: char) -> bool {
    c.is_alphanumeric() || SAID_SIGNS.contains(c)
}

/// Punctuation that a cut or a gap must not part from what stands before it.
pub(super) fn belongs_before(c: char) -> bool {
    ENDS.contains(c)
        || SURE_ENDS.contains(c)
        || CLOSERS.contains(c)
        || ",;:，；：、､،؛»%".contains(c)
}

pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Control, format, variation, tag, private-use and replacement characters.
pub(super) fn is_unseen(c: char) -> bool {
    let listed = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{20dd}'..='\u{20e4}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{10ffff}');
    (listed || c.is_control()) && !c.is_whitespace()
}

/// Emoji and other drawn signs: boxes, shapes, dingbats. Digits in circles stay, and so do the
/// musical signs.
pub(super) fn is_drawn(c: char) -> bool {
    let listed = matches!(c,
        '\u{231a}' | '\u{231b}' | '\u{2328}' | '\u{23cf}' | '\u{23e9}'..='\u{23fa}'
        | '\u{2500}'..='\u{266c}' | '\u{2670}'..='\u{27bf}' | '\u{2934}' | '\u{2935}'
        | '\u{2b05}'..='\u{2b07}' | '\u{2b1b}' | '\u{2b1c}' | '\u{2b50}' | '\u{2b55}'
        | '\u{3030}' | '\u{303d}' | '\u{1f000}'..='\u{1fbff}');
    listed && !c.is_numeric()
}

/// Scripts without spaces between words: kana, Han, Thai, Lao, Myanmar, Khmer.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '々'
        | '〇' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}' | '\u{20000}'..='\u{3ffff}')
}

pub(super) fn spoken_chars(c: char) -> usize {
    let wide = is_unspaced(c) && c >= '\u{3000}' || matches!(c, '가'..='힣');
    if wide { WIDE_CHARS } else { 1 }
}

pub(super) fn spoken_length(text: &str) -> usize {
    text.chars().map(spoken_chars).sum()
}
