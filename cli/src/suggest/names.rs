//! Globs that generalise keys and log groups, and valid names of rules, tables and columns.

use std::collections::BTreeSet;

/// Maximum bytes of a suggested name. Names may have 128 bytes; a suffix keeps them unique.
const MAX_NAME_BYTES: usize = 100;
/// Names that columns of the envelope and the record's own time have.
const RESERVED_COLUMNS: [&str; 7] =
    ["timestamp", "owner", "log_group", "log_stream", "event_id", "key", "datehour"];
/// Minimum bytes of a prefix that generalises log groups.
const MIN_PREFIX_BYTES: usize = 4;
/// Minimum log groups with different words that are generalised to a glob.
const MIN_GROUPS: usize = 3;

/// Replaces what varies between the keys of one kind of log by `*`: dates, hours, accounts, regions, ids.
pub(super) fn generalise(key: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in key.split('/') {
        let part = if is_region(part) { "*".to_owned() } else { generalise_part(part) };
        if part == "*" && parts.last().is_some_and(|last| last == "*") {
            continue;
        }
        parts.push(part);
    }
    parts.join("/")
}

/// Returns the glob of all keys in a key's folder, and the glob of the keys that also have its kind of name.
pub(super) fn key_globs(key: &str) -> (String, String) {
    let Some((folder, name)) = key.rsplit_once('/') else { return ("*".to_owned(), generalise_part(key)) };
    let folder = generalise(folder);
    let named = format!("{folder}/{}", generalise_part(name));
    // A part that varies also matches what follows it.
    let is_open = folder == "*" || folder.ends_with("/*");
    (if is_open { folder } else { folder + "/*" }, named)
}

/// Replaces each word that has a digit, or is a long hexadecimal number, by `*`. Joins neighbouring `*`.
fn generalise_part(part: &str) -> String {
    let mut glob = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, glob: &mut String| {
        let varies = word.chars().any(|character| character.is_ascii_digit())
            || (word.len() >= 8 && word.chars().all(|character| character.is_ascii_hexdigit()));
        if !varies {
            glob.push_str(word);
        } else if glob.ends_with('*') {
        } else if glob.len() > 1
            && glob[..glob.len() - 1].ends_with('*')
            && glob.ends_with(['-', '_', '.', ':'])
        {
            glob.pop();
        } else {
            glob.push('*');
        }
        word.clear();
    };
    for character in part.chars() {
        if character.is_alphanumeric() {
            word.push(character);
        } else {
            flush(&mut word, &mut glob);
            glob.push(character);
        }
    }
    flush(&mut word, &mut glob);
    glob
}

fn is_region(part: &str) -> bool {
    let mut words = part.split('-');
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let (Some(first), Some(last)) = (words.next(), words.next_back()) else { return false };
    let middle: Vec<&str> = words.collect();
    first.len() == 2
        && is_word(first)
        && !middle.is_empty()
        && middle.into_iter().all(is_word)
        && last.len() == 1
        && last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a glob with the special characters `*` and `?` matches a value.
pub(super) fn matches(glob: &str, value: &str) -> bool {
    let (glob, value): (Vec<char>, Vec<char>) = (glob.chars().collect(), value.chars().collect());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < value.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == value[from] => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((star_at, star_from)) = star else { return false };
                star = Some((star_at, star_from + 1));
                (at, from) = (star_at + 1, star_from + 1);
            }
        }
    }
    glob[at..].iter().all(|character| *character == '*')
}

/// Returns the number of characters of a glob that are not special.
pub(super) fn literal_length(glob: &str) -> usize {
    glob.chars().filter(|character| !matches!(character, '*' | '?')).count()
}

/// Returns one glob for several log groups that share a prefix and their shape, unless it would match one of `others`.
pub(super) fn common_glob<'a>(groups: &[&str], mut others: impl Iterator<Item = &'a str>) -> Option<String> {
    let [first, rest @ ..] = groups else { return None };
    if rest.is_empty() {
        return None;
    }
    let shape = generalise(first);
    let glob = if rest.iter().all(|group| generalise(group) == shape) {
        shape
    } else if groups.len() >= MIN_GROUPS {
        format!("{}*", common_prefix(groups))
    } else {
        return None;
    };
    let is_safe = glob.find('*').is_some_and(|prefix| prefix >= MIN_PREFIX_BYTES)
        && !others.any(|other| matches(&glob, other));
    is_safe.then_some(glob)
}

/// Returns the common prefix up to a separator.
pub(super) fn common_prefix<'a>(values: &[&'a str]) -> &'a str {
    let Some((first, rest)) = values.split_first() else { return "" };
    let mut length = first.len();
    for value in rest {
        length = first.bytes().zip(value.bytes()).take(length).take_while(|(one, two)| one == two).count();
    }
    let end = first.as_bytes()[..length].iter().rposition(|byte| matches!(byte, b'/' | b'-' | b'_' | b'.'));
    // The separators are ASCII, so this is a character boundary.
    &first[..end.map_or(0, |end| end + 1)]
}

/// Returns lower-case words joined by underscores: `httpRequest.clientIp` gives `http_request_client_ip`.
pub(super) fn snake_case(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut name = String::new();
    for (at, character) in characters.iter().enumerate() {
        if !character.is_ascii_alphanumeric() {
            if !name.is_empty() && !name.ends_with('_') {
                name.push('_');
            }
            continue;
        }
        if character.is_ascii_uppercase() && at > 0 {
            let before = characters[at - 1];
            let begins_word = before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase()
                    && characters.get(at + 1).is_some_and(char::is_ascii_lowercase));
            if begins_word && !name.ends_with('_') {
                name.push('_');
            }
        }
        name.push(character.to_ascii_lowercase());
        if name.len() == MAX_NAME_BYTES {
            break;
        }
    }
    name.trim_end_matches('_').to_owned()
}

/// Gives unique column names.
#[derive(Debug)]
pub(super) struct Columns {
    taken: BTreeSet<String>,
}

impl Default for Columns {
    fn default() -> Self {
        Self { taken: RESERVED_COLUMNS.map(str::to_owned).into() }
    }
}

impl Columns {
    /// Returns a valid column name that resembles `text`.
    pub(super) fn name(&mut self, text: &str) -> String {
        let mut name = snake_case(text);
        if name.is_empty() {
            "column".clone_into(&mut name);
        }
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            name.insert_str(0, "c_");
        }
        if RESERVED_COLUMNS.contains(&name.as_str()) {
            name.insert_str(0, "record_");
        }
        unique(&mut self.taken, &name, '_')
    }
}

/// Adds a number to the name if it is taken.
pub(super) fn unique(taken: &mut BTreeSet<String>, name: &str, separator: char) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}{separator}{number}");
        number += 1;
    }
    candidate
}

/// Returns a table's name for a glob of keys or log groups: its last three constant words.
pub(super) fn table_name(glob: &str) -> String {
    let constant = glob.split('/').filter(|part| !part.is_empty() && !part.contains('='));
    let words: Vec<String> = constant
        .map(|part| snake_case(strip_extensions(&part.replace(['*', '?'], " "))))
        .filter(|word| !word.is_empty() && word != "aws")
        .collect();
    let name = words[words.len().saturating_sub(3)..].join("_");
    match name.chars().next() {
        None => "logs".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("t_{name}"),
        Some(_) => name,
    }
}

fn strip_extensions(name: &str) -> &str {
    const EXTENSIONS: [&str; 13] = [
        ".gz", ".zst", ".bz2", ".xz", ".lz4", ".snappy", ".zip", ".log", ".json", ".jsonl", ".ndjson",
        ".txt", ".csv",
    ];
    let mut name = name.trim_end();
    while let Some(short) = EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)) {
        name = short.trim_end();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_accounts_regions_and_ids_of_a_key_become_wildcards() {
        for (key, folder, name) in [
            (
                "AWSLogs/123456789012/WAFLogs/us-east-1/acl/2026/02/18/00/00/123_waflogs_us-east-1_acl_20260218T0000Z_a1.log.gz",
                "AWSLogs/*/WAFLogs/*/acl/*",
                "AWSLogs/*/WAFLogs/*/acl/*/*_waflogs_us-east-*_acl_*.log.gz",
            ),
            ("app/2026-02-18/orders.json", "app/*", "app/*/orders.json"),
            ("app/orders.json", "app/*", "app/orders.json"),
            ("orders-2026-02-18T10.json", "*", "orders-*.json"),
            ("x", "*", "x"),
        ] {
            assert_eq!(key_globs(key), (folder.to_owned(), name.to_owned()));
            assert!(matches(folder, key) && matches(name, key), "{key}");
        }
    }

    #[test]
    fn a_glob_matches_as_the_rules_do() {
        for (glob, value, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*/x/*", "a/x/b", true),
            ("[$LATEST]*", "[$LATEST]0", true),
            ("a?c", "abc", true),
            ("", "a", false),
            ("*ab", "aab", true),
        ] {
            assert_eq!(matches(glob, value), expected, "{glob} {value}");
        }
    }

    #[test]
    fn log_groups_share_a_glob_only_with_a_prefix_and_without_other_groups() {
        let none = || [].into_iter();
        assert_eq!(common_glob(&["/app/orders-1", "/app/orders-2"], none()), Some("/app/orders-*".into()));
        assert_eq!(common_glob(&["/app/orders", "/app/users"], none()), None);
        assert_eq!(common_glob(&["/app/orders", "/app/users", "/app/x"], none()), Some("/app/*".into()));
        assert_eq!(common_glob(&["/app/a", "/app/b", "/app/c"], ["/app/d"].into_iter()), None);
        assert_eq!(common_glob(&["a", "b", "c"], none()), None);
        assert_eq!(common_glob(&["/app/a"], none()), None);
    }

    #[test]
    fn column_names_are_valid_and_unique_whatever_the_key() {
        let mut columns = Columns::default();
        let names =
            ["clientIp", "client-ip", "HTTPStatus", "2xx", "timestamp", "", "日本", "a\"\n]", "ipV4Addr"]
                .map(|text| columns.name(text));
        assert_eq!(
            names,
            [
                "client_ip",
                "client_ip_2",
                "http_status",
                "c_2xx",
                "record_timestamp",
                "column",
                "column_2",
                "a",
                "ip_v4_addr"
            ]
        );
        assert!(columns.name(&"x".repeat(1000)).len() <= 128);
    }

    #[test]
    fn a_table_is_named_by_the_constant_parts_of_its_glob() {
        for (glob, name) in [
            ("AWSLogs/*/WAFLogs/*/acl/*", "aws_logs_waf_logs_acl"),
            ("/aws/lambda/orders-api", "lambda_orders_api"),
            ("orders-*.json.gz", "orders"),
            ("*", "logs"),
            ("app/dt=*/*", "app"),
            ("app/404/*", "app_404"),
        ] {
            assert_eq!(table_name(glob), name);
        }
    }
}
