//! Detects a flow log's header line that is not usable: joined to another line, partly unknown, or in another format. The lines
//! after it are in its order and must not be read in another, so the object fails.

use crate::{
    error::ObjectError,
    flow_fields::{FLOW_FIELDS, FlowField, TGW_FIELDS, is_field},
    limits::MAX_HEADER_WORDS,
};

/// Maximum characters of a word that an error quotes: enough to find it, and short for the ledger and the log.
const QUOTED_CHARS: usize = 80;
/// Maximum words that an error quotes.
const QUOTED_WORDS: usize = 20;
/// Bytes at each end of a line that are searched. The longest header line is shorter.
const SEARCHED_BYTES: usize = 2 << 10;

/// The context of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It is not a row. It is the first record of its file.
    FirstReject,
    /// It is not a row.
    Reject,
    /// It is the end of a longer line, and may begin within a word.
    End,
    /// It is a row of a layout that accepts any text.
    Row,
}

/// Fails the object if this line of it looks like a header line that cannot be used.
pub(super) fn refuse(line: &[u8], kind: Line) -> Result<(), ObjectError> {
    if line.len() <= 2 * SEARCHED_BYTES {
        refuse_part(line, kind)?;
        // A part has at most this many words.
        let has_more = kind != Line::Row && line.len() > 2 * MAX_HEADER_WORDS;
        return if has_more { refuse_part(line, Line::End) } else { Ok(()) };
    }
    refuse_part(&line[..SEARCHED_BYTES], kind)?;
    refuse_part(&line[line.len() - SEARCHED_BYTES..], Line::End)
}

fn refuse_part(line: &[u8], kind: Line) -> Result<(), ObjectError> {
    let line = String::from_utf8_lossy(line);
    let words = part(line.split_ascii_whitespace(), kind);
    if kind == Line::Row {
        let is_header = words.len() > 1 && words.iter().all(is_likely);
        let has_distinctive = words.iter().any(|word| is_known(word) && is_distinctive(word));
        return if is_header && has_distinctive { Err(unknown_fields(&unknown(&words))) } else { Ok(()) };
    }
    if words.iter().any(is_known) {
        if kind != Line::End {
            refuse_unknown(&words, kind)?;
        }
        refuse_joined(&words)?;
    }
    refuse_other_form(&line, kind)
}

/// Returns the first words of a line, or its last ones.
fn part<'a>(words: impl DoubleEndedIterator<Item = &'a str>, kind: Line) -> Vec<&'a str> {
    if kind != Line::End {
        return words.take(MAX_HEADER_WORDS + 1).collect();
    }
    let mut last: Vec<&str> = words.rev().take(MAX_HEADER_WORDS + 1).collect();
    last.reverse();
    last
}

/// Returns the error of a header line with these unknown names.
pub(super) fn unknown_fields(names: &[&str]) -> ObjectError {
    let why = "which is not a flow-log field that this version knows; give its rule unknown_fields = \"text\" and the name in \
               fields, or update Flowherd"
        .to_owned();
    ObjectError::Header { field: shown(names), why }
}

/// Returns the different names, cut to what an error quotes.
pub(super) fn shown(names: &[&str]) -> String {
    let quoted = |name: &&str| name.chars().take(QUOTED_CHARS).collect::<String>();
    let mut shown: Vec<String> = Vec::new();
    for name in names.iter().map(quoted) {
        if shown.len() < QUOTED_WORDS && !shown.contains(&name) {
            shown.push(name);
        }
    }
    shown.join(" ")
}

/// Refuses a line of names if some are unknown.
fn refuse_unknown(words: &[&str], kind: Line) -> Result<(), ObjectError> {
    let likely = words.iter().filter(|word| is_likely(word)).count();
    let is_mostly_likely = words.len() > 1 && likely * 2 > words.len();
    let is_first = kind == Line::FirstReject && is_probably_header(words);
    if words.iter().all(is_name) && (is_mostly_likely || is_first) {
        return Err(unknown_fields(&unknown(words)));
    }
    Ok(())
}

/// Refuses names that are joined to other text.
fn refuse_joined(words: &[&str]) -> Result<(), ObjectError> {
    let first = words.iter().take_while(|word| is_likely(word)).count();
    let last = words.iter().rev().take_while(|word| is_likely(word)).count();
    let is_at_an_end =
        is_probably_header(&words[..first]) || is_probably_header(&words[words.len() - last..]);
    // The first name may have a value before it that belongs to the line before.
    let ends_with_name = |word: &str| {
        let name = all_fields().find(|field| word.len() > field.name.len() && word.ends_with(field.name));
        name.map(|field| field.name)
    };
    let is_joined = (0..words.len()).any(|at| {
        let known = words[at + 1..].iter().take_while(|word| is_known(word)).copied();
        let first = if is_known(&words[at]) { Some(words[at]) } else { ends_with_name(words[at]) };
        first
            .is_some_and(|first| is_probably_header(&std::iter::once(first).chain(known).collect::<Vec<_>>()))
    });
    if is_at_an_end || is_joined {
        let why = "but is joined to other text, so the lines after it cannot be read; join files with a line feed \
                   between them";
        return Err(error(words.iter().filter(|word| is_known(word)).copied(), why));
    }
    Ok(())
}

/// Refuses names in another form: with other characters between or around them, in upper case, or with other characters
/// than hyphens in them.
fn refuse_other_form(line: &str, kind: Line) -> Result<(), ObjectError> {
    let is_between = |c: char| c.is_whitespace() || [',', ';', '|'].contains(&c);
    let is_around = |c: char| "\"'`${}#\u{feff}".contains(c);
    let words =
        line.split(is_between).map(|word| word.trim_matches(is_around)).filter(|word| !word.is_empty());
    let words = part(words, kind);
    let letters = |word: &str| -> String {
        word.chars().filter(|c| !['-', '_'].contains(c)).map(|c| c.to_ascii_lowercase()).collect()
    };
    let name = |word: &&str| {
        let word = letters(word);
        all_fields().map(|field| field.name).find(|name| letters(name) == word)
    };
    let known: Vec<&str> = words.iter().filter_map(name).collect();
    if words.len() >= 3 && known.len() * 2 > words.len() && is_probably_header(&known) {
        let why = "in a header line in another form than AWS writes, so the lines after it cannot be read; write the \
                   names in lower case, with hyphens in them and one space between them";
        return Err(error(known.into_iter(), why));
    }
    Ok(())
}

fn error<'a>(known: impl Iterator<Item = &'a str>, why: &str) -> ObjectError {
    let known: Vec<&str> = known.take(QUOTED_WORDS).collect();
    ObjectError::Header { field: known.join(" "), why: why.to_owned() }
}

/// Returns whether these words are probably a header. Field names such as `start`, `end`, `type` and `action` are also English
/// words: three of them count, or one that is not a word and any other.
fn is_probably_header(words: &[&str]) -> bool {
    let known = words.iter().filter(|word| is_known(word)).count();
    known > 2 || known > 0 && words.len() > 1 && words.iter().any(is_distinctive)
}

/// Returns whether a name is not an English word.
fn is_distinctive(word: &&str) -> bool {
    let ends = |ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    ends(&["-id", "-arn"]) || is_known(word) && (word.contains('-') || ends(&["addr", "port"]))
}

fn is_known(word: &&str) -> bool {
    is_field(word)
}

fn all_fields() -> impl Iterator<Item = &'static FlowField> {
    FLOW_FIELDS.iter().chain(TGW_FIELDS)
}

fn is_name(word: &&str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Returns whether a word is known, or has the form of AWS's names of several words.
fn is_likely(word: &&str) -> bool {
    is_known(word) || word.contains('-') && is_name(word)
}

fn unknown<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().filter(|word| !is_known(word)).copied().collect()
}
