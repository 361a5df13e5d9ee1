//! Derives the layout of existing keys, as a template to suggest.

use std::{cmp::Reverse, collections::BTreeMap, sync::LazyLock};

use regex::Regex;

/// Maximum number of different layouts that are counted.
const MAX_SHAPES: usize = 1000;
/// Maximum number of layouts that a message has.
const SHOWN: usize = 3;

/// Year, month, day and hour, with one character, or a name of Hive's style, between them.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    const SEPARATOR: &str = "((?:[/_.-]|/?[A-Za-z_]+=|T)?)";
    regex(&format!(
        "(^|[^0-9])(?:19|20)[0-9]{{2}}{SEPARATOR}(?:0[1-9]|1[0-2])(?:{SEPARATOR}(?:0[1-9]|[12][0-9]|3[01])\
         (?:{SEPARATOR}(?:[01][0-9]|2[0-3]))?)?(?:[^0-9]|$)"
    ))
});
static ACCOUNT: LazyLock<Regex> = LazyLock::new(|| regex("^[0-9]{12}$"));
static REGION: LazyLock<Regex> = LazyLock::new(|| regex("^[a-z]{2}(?:-[a-z]+)+-[0-9]$"));

#[expect(clippy::expect_used, reason = "the expressions are constants, and a test uses each")]
fn regex(expression: &str) -> Regex {
    Regex::new(expression).expect("a constant regular expression is valid")
}

/// The layouts of many keys, with the number of keys that have each.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    counts: BTreeMap<String, (u64, Vec<Piece>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// In braces: a date, or a column with any value.
    Placeholder(String),
    /// A value of Hive's style: a column if it differs from key to key, otherwise text.
    Value {
        name: String,
        value: Option<String>,
    },
}

impl Shapes {
    pub(super) fn add(&mut self, key: &str) {
        let pieces = shape(key);
        let form = render(&pieces, |name, _| format!("{{{name}}}"));
        if let Some((count, known)) = self.counts.get_mut(&form) {
            *count += 1;
            for (known, new) in known.iter_mut().zip(pieces) {
                if let (Piece::Value { value, .. }, Piece::Value { value: other, .. }) = (known, new)
                    && *value != other
                {
                    *value = None;
                }
            }
        } else if self.counts.len() < MAX_SHAPES {
            self.counts.insert(form, (1, pieces));
        }
    }

    /// Returns the most frequent layouts, and the number of keys that have each.
    pub(super) fn most_frequent(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.counts.values().collect();
        all.sort_by_key(|(count, _)| Reverse(*count));
        let text = |pieces: &[Piece]| {
            render(pieces, |name, value| value.map_or_else(|| format!("{{{name}}}"), str::to_owned))
        };
        all.into_iter().take(SHOWN).map(|(count, pieces)| (text(pieces), *count)).collect()
    }
}

fn render(pieces: &[Piece], value: impl Fn(&str, Option<&str>) -> String) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Placeholder(inner) => format!("{{{inner}}}"),
        Piece::Value { name, value: of } => value(name, of.as_deref()),
    };
    pieces.iter().map(piece).collect()
}

/// Returns the layout of a key.
fn shape(key: &str) -> Vec<Piece> {
    let folder = &key[..key.rfind('/').map_or(0, |at| at + 1)];
    let mut pieces = Vec::new();
    let Some(date) = DATE.captures(folder) else {
        push_columns(folder, &mut pieces);
        return pieces;
    };
    let begin = date.get(1).map_or(0, |before| before.end());
    push_columns(&folder[..begin], &mut pieces);
    pieces.push(Piece::Placeholder("yyyy".to_owned()));
    let mut end = begin + 4;
    for (group, field) in (2..).zip(["MM", "dd", "HH"]) {
        let Some(separator) = date.get(group) else { break };
        // One pair of braces holds the date, unless it has names.
        match pieces.last_mut() {
            Some(Piece::Placeholder(inner))
                if !separator.as_str().contains('=') && separator.as_str() != "T" =>
            {
                inner.push_str(separator.as_str());
                inner.push_str(field);
            }
            _ => pieces
                .extend([Piece::Text(separator.as_str().to_owned()), Piece::Placeholder(field.to_owned())]),
        }
        end = separator.end() + 2;
    }
    push_columns(&folder[end..], &mut pieces);
    pieces
}

/// Adds the pieces of a path without a date. Accounts, regions and values of Hive's style become columns.
fn push_columns(path: &str, pieces: &mut Vec<Piece>) {
    for part in path.split_inclusive('/') {
        let is_folder = part.ends_with('/');
        let part = part.trim_end_matches('/');
        let (before, value) = part.split_once('=').map_or(("", part), |(name, value)| (name, value));
        let placeholder = |name: &str| Piece::Placeholder(unused_name(name, pieces));
        let piece = if ACCOUNT.is_match(value) {
            placeholder("account")
        } else if REGION.is_match(value) {
            placeholder("region")
        } else if is_folder && !before.is_empty() && !value.is_empty() {
            Piece::Value { name: unused_name(&identifier(before), pieces), value: Some(value.to_owned()) }
        } else {
            Piece::Text(value.to_owned())
        };
        if part.contains('=') {
            pieces.push(Piece::Text(format!("{before}=")));
        }
        pieces.push(piece);
        if is_folder {
            pieces.push(Piece::Text("/".to_owned()));
        }
    }
}

/// Returns the name, with a number appended if another piece has it.
fn unused_name(name: &str, pieces: &[Piece]) -> String {
    let is_used = |name: &str| {
        pieces.iter().any(|piece| match piece {
            Piece::Placeholder(other) | Piece::Value { name: other, .. } => other == name,
            Piece::Text(_) => false,
        })
    };
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !is_used(name)).unwrap_or_default()
}

fn identifier(name: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    let name: String = name.chars().map(letter).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::layout::Template;

    fn of(keys: &[&str]) -> String {
        let mut shapes = Shapes::default();
        keys.iter().for_each(|key| shapes.add(key));
        shapes.most_frequent().remove(0).0
    }

    #[test]
    fn the_layout_of_a_key_is_a_template_that_fits_it() {
        for (key, expected) in [
            ("firehose/2026/02/18/00/a", "firehose/{yyyy/MM/dd/HH}/"),
            ("2026/02/18/a", "{yyyy/MM/dd}/"),
            ("logs/2026/02/a", "logs/{yyyy/MM}/"),
            ("logs-2026/02/18/part-00/a", "logs-{yyyy/MM/dd}/part-00/"),
            ("a/2026-02-18/13/x.gz", "a/{yyyy-MM-dd/HH}/"),
            ("a/20260218/x.gz", "a/{yyyyMMdd}/"),
            ("dt=2026-02-18/hour=07/x", "dt={yyyy-MM-dd}/hour={HH}/"),
            ("dt=2026-02-18T07/x", "dt={yyyy-MM-dd}T{HH}/"),
            ("year=2026/month=02/day=18/hour=00/a", "year={yyyy}/month={MM}/day={dd}/hour={HH}/"),
            (
                "AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/02/18/x.log.gz",
                "AWSLogs/{account}/vpcflowlogs/{region}/{yyyy/MM/dd}/",
            ),
            (
                "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-gov-west-1/year=2026/month=02/\
                 day=18/hour=07/x.gz",
                "AWSLogs/aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/year={yyyy}/month={MM}/\
                 day={dd}/hour={HH}/",
            ),
            ("111111111111/210987654321/2026/02/18/x", "{account}/{account_2}/{yyyy/MM/dd}/"),
        ] {
            assert_eq!(of(&[key]), expected);
            let template = Template::parse(expected).unwrap();
            assert!(Regex::new(&template.regex()).unwrap().is_match(key), "{key}");
        }
        for (key, expected) in
            [("a/b", "a/"), ("b", ""), ("a/202602181234/x", "a/{account}/"), ("x/2026/13/y", "x/2026/13/")]
        {
            assert_eq!(of(&[key]), expected);
        }
    }

    #[test]
    fn a_value_that_differs_from_key_to_key_is_a_column() {
        let keys = ["env=prod/Team=a/2026/02/x", "env=prod/Team=b/2026/02/x", "other/2026/02/18/x"];
        assert_eq!(of(&keys), "env=prod/Team={team}/{yyyy/MM}/");
    }
}
