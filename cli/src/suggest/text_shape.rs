//! Formats of text: pairs of keys and values, and delimited fields. A limited part of the lines may not fit.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use flowherd_shared::table::ColumnType;

use super::{
    names::Columns,
    toml_text::{literal, string},
    values::Values,
};

/// Minimum lines that show a format.
const MIN_LINES: usize = 5;
/// Minimum fields of a delimited line. Prose also has a comma in many lines.
const MIN_FIELDS: usize = 3;
/// Maximum fields or pairs. A regular expression holds about a hundred groups.
const MAX_FIELDS: usize = 100;
/// Separators of fields, each with its pattern.
const DELIMITERS: [(&str, &str); 5] = [("\t", r"\t"), (" | ", r" \| "), ("|", r"\|"), (";", ";"), (",", ",")];

/// A text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextFormat {
    /// What the lines are, for a comment.
    pub(super) what: String,
    /// The beginning of lines that are no records.
    pub(super) comments: Option<String>,
    /// The value of `timestamp` for records outside of envelopes.
    pub(super) timestamp: Option<String>,
    /// The section `[rule.format]` without its heading.
    pub(super) format: String,
}

/// One named value of a line.
struct Field {
    column: String,
    pattern: String,
    values: Values,
}

/// Returns the format of lines such as `level=info msg="a b"`. At most `max_unfit` percent have another form, another first key
/// or another order of the keys.
pub(super) fn pairs(lines: &[&str], max_unfit: usize) -> Option<TextFormat> {
    let parsed: Vec<Vec<Pair<'_>>> = lines.iter().filter_map(|line| parse_pairs(line)).collect();
    let (order, parsed) = common_order(parsed)?;
    if !show_a_format(parsed.len(), lines.len(), max_unfit) {
        return None;
    }
    let mut columns = Columns::default();
    let mut pattern = String::from("^");
    let mut fields = Vec::new();
    for (at, key) in order.iter().enumerate() {
        let of_key: Vec<&Pair<'_>> =
            parsed.iter().flat_map(|line| line.iter().filter(|pair| pair.key == *key)).collect();
        let is_optional = of_key.len() < parsed.len();
        let column = columns.name(key);
        let quoted = of_key.iter().filter(|pair| pair.is_quoted).count();
        let value = match quoted {
            0 => format!("(?P<{column}>[^ ]*)"),
            _ if quoted == of_key.len() => format!(r#""(?P<{column}>(?:[^"\\]|\\.)*)""#),
            _ => format!(r#"(?P<{column}>"(?:[^"\\]|\\.)*"|[^ ]*)"#),
        };
        let separator = if at == 0 { "" } else { " +" };
        let pair = format!("{separator}{}={value}", escape(key));
        pattern += &if is_optional { format!("(?:{pair})?") } else { pair };
        let mut values = Values::default();
        of_key.iter().for_each(|pair| values.add_text(pair.value));
        fields.push(Field { column, pattern: String::new(), values });
    }
    pattern.push('$');
    Some(finish("lines of key=value pairs".to_owned(), None, &pattern, &fields))
}

#[derive(Debug)]
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
    is_quoted: bool,
}

fn parse_pairs(line: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let is_key = key.starts_with(|first: char| first.is_ascii_alphabetic() || "_@".contains(first))
            && key.chars().all(|character| character.is_ascii_alphanumeric() || "_@.-".contains(character));
        if !is_key || pairs.iter().any(|pair| pair.key == key) || pairs.len() == MAX_FIELDS {
            return None;
        }
        let (value, is_quoted, after) = if let Some(quoted) = after.strip_prefix('"') {
            let end = closing_quote(quoted)?;
            (&quoted[..end], true, &quoted[end + 1..])
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (&after[..end], false, &after[end..])
        };
        if value.contains('"') && !is_quoted {
            return None;
        }
        pairs.push(Pair { key, value, is_quoted });
        let next = after.trim_start_matches(' ');
        if next.len() == after.len() && !next.is_empty() {
            return None;
        }
        rest = next;
        // The pattern accepts no spaces at the end.
        if rest.is_empty() && !after.is_empty() {
            return None;
        }
    }
    (pairs.len() > 1).then_some(pairs)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// Returns the order of all keys, and the lines that keep it and begin with its first key. The most frequent sequence of keys is
/// the first to determine the order.
fn common_order<'a>(lines: Vec<Vec<Pair<'a>>>) -> Option<(Vec<&'a str>, Vec<Vec<Pair<'a>>>)> {
    let mut sequences: BTreeMap<Vec<&str>, Vec<Vec<Pair<'a>>>> = BTreeMap::new();
    for line in lines {
        sequences.entry(line.iter().map(|pair| pair.key).collect()).or_default().push(line);
    }
    let mut sequences: Vec<_> = sequences.into_iter().collect();
    sequences.sort_by_key(|(_, lines)| Reverse(lines.len()));
    let first = *sequences.first()?.0.first()?;
    let mut order = Vec::new();
    let mut kept = Vec::new();
    for (keys, lines) in sequences {
        if keys.first() == Some(&first)
            && let Some(extended) = extended_order(&order, &keys)
        {
            order = extended;
            kept.extend(lines);
        }
    }
    (order.len() <= MAX_FIELDS).then_some((order, kept))
}

/// Returns an order with the keys of one more line; `None` if the line has another order.
fn extended_order<'a>(order: &[&'a str], keys: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut order = order.to_vec();
    let mut next = 0;
    for key in keys {
        match order.iter().position(|other| other == key) {
            Some(at) if at >= next => next = at + 1,
            Some(_) => return None,
            None => {
                order.insert(next, *key);
                next += 1;
            }
        }
    }
    Some(order)
}

/// Returns whether enough lines have a format.
fn show_a_format(fit: usize, lines: usize, max_unfit: usize) -> bool {
    fit >= MIN_LINES && (lines - fit) * 100 <= lines * max_unfit
}

/// Lines that may be a header.
#[derive(Debug, Default)]
pub(super) struct HeadLines<'a> {
    /// The first line of each file.
    pub(super) first: Vec<&'a str>,
    /// The lines after these, for files that begin with a malformed line.
    pub(super) second: Vec<&'a str>,
}

/// Returns the format of lines with the same number of fields between tabs, pipes, semicolons or commas. At most `max_unfit` percent
/// have another number.
pub(super) fn delimited(lines: &[&str], heads: &HeadLines<'_>, max_unfit: usize) -> Option<TextFormat> {
    DELIMITERS
        .iter()
        .find_map(|(delimiter, pattern)| delimited_by(delimiter, pattern, lines, heads, max_unfit))
}

fn delimited_by(
    delimiter: &str,
    pattern: &str,
    lines: &[&str],
    heads: &HeadLines<'_>,
    max_unfit: usize,
) -> Option<TextFormat> {
    let has_quotes = matches!(delimiter, "," | ";") && lines.iter().any(|line| line.contains('"'));
    let split = |line: &'_ str| -> Vec<String> {
        if has_quotes {
            split_quoted(line, delimiter)
        } else {
            line.split(delimiter).map(str::to_owned).collect()
        }
    };
    let count = most_frequent(lines.iter().map(|line| split(line).len()))?;
    if !(MIN_FIELDS..=MAX_FIELDS).contains(&count) {
        return None;
    }
    let fits = |line: &&&str| split(line).len() == count;
    let fitting: Vec<&&str> = lines.iter().filter(fits).collect();
    let mut first_lines: Vec<&&str> = heads.first.iter().filter(fits).collect();
    if first_lines.is_empty() {
        first_lines = heads.second.iter().filter(fits).collect();
    }
    let header = first_lines.first().copied().filter(|first| {
        let is_first_of_all = first_lines.iter().all(|other| other == first);
        is_first_of_all
            && is_header(
                &split(first),
                &fitting.iter().filter(|line| *line != first).map(|line| split(line)).collect::<Vec<_>>(),
                first_lines.len(),
            )
    });
    let rows: Vec<&&str> = fitting.iter().copied().filter(|line| header != Some(line)).collect();
    if !show_a_format(fitting.len(), lines.len(), max_unfit) || rows.is_empty() {
        return None;
    }
    let mut columns = Columns::default();
    let names = header.map(|header| split(header));
    let mut fields: Vec<Field> = (0..count)
        .map(|at| {
            let name = names.as_ref().map_or_else(|| format!("field_{}", at + 1), |names| names[at].clone());
            let column = columns.name(&name);
            let excluded = if delimiter.contains('|') { "|" } else { pattern };
            let pattern = if has_quotes {
                format!(r#"(?P<{column}>"(?:[^"]|"")*"|[^{excluded}]*)"#)
            } else {
                format!("(?P<{column}>[^{excluded}]*)")
            };
            Field { column, pattern, values: Values::default() }
        })
        .collect();
    for row in &rows {
        fields.iter_mut().zip(split(row)).for_each(|(field, cell)| field.values.add_text(&cell));
    }
    // Columns of free text only may be prose with commas.
    if header.is_none()
        && matches!(delimiter, "," | ";")
        && !fields.iter().any(|field| field.values.is_typed())
    {
        return None;
    }
    let patterns: Vec<&str> = fields.iter().map(|field| &*field.pattern).collect();
    let name = match delimiter {
        "\t" => "tabs",
        "," => "commas",
        ";" => "semicolons",
        _ => "pipes",
    };
    let what = match header {
        Some(_) => format!("lines of {count} fields between {name}, named by a header line"),
        None => format!("lines of {count} fields between {name}, without names"),
    };
    let comments = header.map(|header| (*header).to_owned());
    Some(finish(what, comments, &format!("^{}$", patterns.join(pattern)), &fields))
}

/// Returns the most frequent number, and the greatest of several.
fn most_frequent(numbers: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    numbers.for_each(|number| *counts.entry(number).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(number, _)| number)
}

/// Splits a line whose fields may be in quotes, as RFC 4180 writes them.
fn split_quoted(line: &str, delimiter: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut in_quotes = false;
    for character in line.chars() {
        in_quotes ^= character == '"';
        if !in_quotes && delimiter.starts_with(character) {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            field.push(character);
        }
    }
    fields
}

/// Returns whether a line names the columns of others. It has unique names, and either a column with types below, or it begins
/// more than one file.
fn is_header(cells: &[String], others: &[Vec<String>], files: usize) -> bool {
    let mut seen = BTreeSet::new();
    let is_name = |cell: &str| {
        let cell = cell.trim_matches('"');
        cell.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && cell.len() <= 64
            && cell.chars().all(|character| character.is_alphanumeric() || " _-.()/%".contains(character))
    };
    if !cells.iter().all(|cell| is_name(cell) && seen.insert(cell.to_lowercase())) {
        return false;
    }
    let has_typed_column = (0..cells.len()).any(|at| {
        let mut values = Values::default();
        others.iter().filter_map(|cells| cells.get(at)).for_each(|cell| values.add_text(cell));
        values.is_typed()
    });
    has_typed_column || files > 1
}

fn finish(what: String, comments: Option<String>, pattern: &str, fields: &[Field]) -> TextFormat {
    let types: Vec<String> = fields
        .iter()
        .filter_map(|field| {
            type_name(field.values.column_type()).map(|name| format!("{} = \"{name}\"", field.column))
        })
        .collect();
    let types =
        if types.is_empty() { String::new() } else { format!("types = {{ {} }}\n", types.join(", ")) };
    let timestamp = fields.iter().find_map(|field| {
        let form = match field.values.time_format() {
            Some(format) => format!("format = {}", string(format)),
            None if field.values.column_type() == ColumnType::Timestamp => "unit = \"iso\"".to_owned(),
            None => return None,
        };
        Some(format!("{{ columns = [\"{}\"], {form} }}", field.column))
    });
    TextFormat {
        what,
        comments,
        timestamp,
        format: format!("kind = \"regex\"\npattern = {}\n{types}", literal(pattern)),
    }
}

/// Returns the name of a type in `flowherd.toml`; `None` for text, the default.
pub(super) fn type_name(kind: ColumnType) -> Option<&'static str> {
    match kind {
        ColumnType::String => None,
        ColumnType::Int => Some("int"),
        ColumnType::BigInt => Some("bigint"),
        ColumnType::Double => Some("double"),
        ColumnType::Boolean => Some("boolean"),
        ColumnType::Timestamp => Some("timestamp"),
        ColumnType::Ip => Some("ip"),
    }
}

/// Escapes what is special in a regular expression. Keys have letters, digits and `_@.-` only.
fn escape(key: &str) -> String {
    key.replace('.', r"\.")
}

#[cfg(test)]
mod tests {
    use super::{super::w3c_shape::w3c, *};

    fn heads<'a>(lines: &[&'a str]) -> HeadLines<'a> {
        HeadLines { first: vec![lines[0]], second: vec![lines[1]] }
    }

    #[test]
    fn pairs_in_one_order_are_columns_and_optional_ones_may_be_missing() {
        let lines = ["ts=1771372800 msg=\"a \\\"b\\\" c\" n=1.5", "ts=1771372801 level=info msg=\"\" n=2.5"]
            .repeat(3);
        let format = pairs(&lines, 0).unwrap();
        assert_eq!(
            format.format,
            "kind = \"regex\"\npattern = '^ts=(?P<ts>[^ ]*)(?: +level=(?P<level>[^ ]*))? +msg=\"(?P<msg>(?:[^\"\\\\]|\\\\.)*)\" \
             +n=(?P<n>[^ ]*)$'\ntypes = { ts = \"bigint\", n = \"double\" }\n"
        );
        for other in
            ["a=1 b=2", "x", "level=info ts=1", "ts=1 text after", "ts=1 ts=2", "ts=\"open", "ts=1 n=2 "]
        {
            let lines: Vec<&str> = lines.iter().copied().chain([other]).collect();
            assert_eq!(pairs(&lines, 14), None, "{other}");
            let fits = pairs(&lines, 15).unwrap();
            assert_eq!(fits.format, format.format, "{other}");
        }
        assert_eq!(pairs(&lines[..2], 0), None, "two lines show no format");
    }

    #[test]
    fn delimited_lines_have_the_names_of_their_header() {
        let lines = [
            "Time|user id|status",
            "2026-02-18 00:00:00|a|200",
            "2026-02-18 00:00:01||404",
            "2026-02-18 00:00:01|b|1",
            "2026-02-18 00:00:09|b|2",
        ];
        let format = delimited(&lines, &heads(&lines), 0).unwrap();
        assert_eq!(format.comments.as_deref(), Some("Time|user id|status"));
        assert_eq!(
            format.format,
            "kind = \"regex\"\npattern = '^(?P<time>[^|]*)\\|(?P<user_id>[^|]*)\\|(?P<status>[^|]*)$'\ntypes = { status = \"bigint\" }\n"
        );
        assert_eq!(
            format.timestamp.as_deref(),
            Some("{ columns = [\"time\"], format = \"%Y-%m-%d %H:%M:%S\" }")
        );
        let without = delimited(&["1\ta\tb"; 5], &heads(&["1\ta\tb"; 5]), 0).unwrap();
        assert_eq!(without.comments, None);
        assert!(without.format.contains(r"(?P<field_1>[^\t]*)\t(?P<field_2>[^\t]*)"), "{}", without.format);
    }

    #[test]
    fn lines_of_another_form_do_not_hide_a_format_wherever_they_are() {
        let mut delimited_lines: Vec<String> = (0..9).map(|number| format!("x,{number},y")).collect();
        delimited_lines.insert(0, "user,bytes,name".to_owned());
        let mut w3c_lines: Vec<String> = (0..10).map(|number| format!("x {number}")).collect();
        w3c_lines.insert(0, "#Fields: user bytes".to_owned());
        for at in [0, 5, 10] {
            let with = |lines: &[String]| [&lines[..at], &["started".to_owned()], &lines[at..]].concat();
            let lines = with(&delimited_lines);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(delimited(&lines, &heads(&lines), 9), None);
            let found = delimited(&lines, &heads(&lines), 10).unwrap();
            assert_eq!(found.comments.as_deref(), Some("user,bytes,name"));
            assert!(found.format.ends_with("types = { bytes = \"bigint\" }\n"), "{}", found.format);
            let lines = with(&w3c_lines);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(w3c(&[], &lines, 9), None);
            let found = w3c(&[], &lines, 10).unwrap();
            assert!(found.format.ends_with("types = { bytes = \"bigint\" }\n"), "{}", found.format);
        }
    }

    #[test]
    fn fields_in_quotes_may_hold_the_delimiter() {
        let lines = ["1,\"a, \"\"b\"\"\",x", "2,c,y", "3,d,z", "4,e,z", "5,f,z"];
        let format = delimited(&lines, &heads(&lines), 0).unwrap();
        assert!(format.format.contains(r#"(?P<field_2>"(?:[^"]|"")*"|[^,]*),"#), "{}", format.format);
    }

    #[test]
    fn prose_is_not_delimited_text() {
        let prose = ["Hello, dear, world", "One, two, three", "a, b, c", "d, e, f", "g, h, i"];
        assert_eq!(delimited(&prose, &HeadLines::default(), 10), None);
        assert_eq!(delimited(&["a,1,2", "b,1"], &HeadLines::default(), 10), None);
        assert_eq!(delimited(&[], &HeadLines::default(), 10), None);
    }
}
